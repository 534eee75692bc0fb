"""The images and masks of cells, found again in the datasets' folders, and the maps that lie beside cells."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.errors import BenchError
from bench.store.cells import Cell, CellStore, identify
from bench.store.digests import DigestCache
from bench.store.maps import KeptMaps
from datasets.images import read_image, read_mask
from datasets.meta import open_dataset, own_key
from datasets.samples import ClassData, Folder, Sample


class Images:
    """Reads what the cells of a store were measured on, and the maps kept of it."""

    def __init__(
        self,
        store: CellStore,
        cells: Iterable[Cell],
        data_root: Path,
        digest: Callable[[Path], str] | None = None,
    ) -> None:
        """Know these cells, as read; look for their datasets below `data_root`.

        `digest` gives a file's SHA-256 (default: `DigestCache`).
        """
        # Chosen cells have printable names; files are found by those that were read.
        self._cells = {cell["key"]: cell for cell in cells}
        self._store, self._root = store, data_root
        self._digest = digest or DigestCache()
        self._class = cache(self._find_class)
        self._folder = cache(self._find_folder)
        self._kept = cache(self._find_maps)

    def image(self, cell: Cell, name: str) -> Image.Image:
        """Return an image of a cell as RGB; raises `BenchError` if it is not here any more, or unreadable."""
        sample = self._sample(cell, name)
        try:
            return read_image(sample.image)
        except (OSError, ValueError) as error:
            raise BenchError(str(error)) from error

    def mask(self, cell: Cell, name: str) -> NDArray[np.uint8] | None:
        """Return its mask as evaluated, 0 and 1, (H, W); None where the class has none.

        Raises `BenchError` as `image`.
        """
        sample = self._sample(cell, name)
        if cell["not_applicable"]["pixel"] is not None:
            return None
        if sample.mask is None:
            return np.zeros(self.image(cell, name).size[::-1], np.uint8)
        try:
            return read_mask(sample.mask, cell["config"]["protocol"]["mask_threshold"])
        except (OSError, ValueError) as error:
            raise BenchError(str(error)) from error

    def keeps_maps(self, cell: Cell) -> bool:
        """Return whether the cell has kept maps that are whole and its own."""
        try:
            return self.maps(cell).side > 0
        except BenchError:
            return False

    def maps(self, cell: Cell) -> KeptMaps:
        """Return the cell's kept maps; raises `BenchError` where there are none that fit."""
        return self._kept(cell["key"])

    def heat(self, cell: Cell, name: str) -> NDArray[np.float32]:
        """Return the kept map (S, S) of one of its images; raises `BenchError` where there is none."""
        return self.maps(cell).read(self._name(cell, name))

    def _find_maps(self, key: str) -> KeptMaps:
        own = self._cells[key]
        return KeptMaps(self._store.maps_path(identify(own)), own)

    def _name(self, cell: Cell, name: str) -> str:
        place = [row["image"] for row in cell["scores"]].index(name)
        return str(self._cells[cell["key"]]["scores"][place]["image"])

    def _sample(self, cell: Cell, name: str) -> Sample:
        own, name = self._cells[cell["key"]], self._name(cell, name)
        where = f"{own['dataset']}/{own['class']}"
        data, fingerprint = self._class(own["dataset"], own["target"], own["dataset_protocol"], own["class"])
        if data is None:
            raise BenchError(f"{where} is not below {self._root}: name the datasets' folder with --data-root")
        if fingerprint != own["config"]["data"]:
            raise BenchError(
                f"files of {where} below {self._root} changed since it was measured: run it again"
            )
        return next(sample for sample in data.samples if sample.name == name)

    def _find_class(
        self, dataset: str, target: str, protocol: str | None, class_key: str
    ) -> tuple[ClassData | None, str]:
        folder = self._folder(dataset, target, protocol)
        for data in folder.classes if folder else ():
            if data.key == class_key:
                return data, data.fingerprint(self._digest)
        return None, ""

    def _find_folder(self, dataset: str, target: str, protocol: str | None) -> Folder | None:
        own = [path for path in self._root.glob("*/") if path.is_dir() and own_key(path) == dataset]
        named = [f"{target}:{protocol}"] if protocol else []
        specs: list[str | Path] = [*own, *named, target]
        for spec in specs:
            with suppress(OSError, ValueError):  # not here
                folder = open_dataset(spec, self._root, missing_ok=True)
                if folder.key == dataset:
                    return folder
        return None
