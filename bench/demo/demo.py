"""The demo: the main job from raw folders to the paper's table, offline, on generated data.

Its data, weights, cells and tables live in a folder of their own and never meet real ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.demo.standin import stand_in_folders
from bench.predict import LoadedMethod, load_request
from bench.run.library import Library
from bench.run.machine import Machine
from bench.run.plan import Plan
from bench.run.planner import make_plan
from bench.run.protocol import MethodRequest, setup
from bench.show.gallery import GalleryRow, draw_gallery
from bench.store.cells import CellStore
from bench.store.digests import DigestCache
from datasets.images import read_image, read_mask
from datasets.samples import ClassData, Folder, Sample
from methods import registry
from methods.backbones import mini
from methods.registry import keys

HEADLINE = "demo: generated data, small models; not the paper's numbers"


@dataclass(frozen=True)
class Demo:
    """Where the demo keeps its things."""

    root: Path

    @property
    def data(self) -> Path:
        """The generated datasets, raw and prepared."""
        return self.root / "data"

    @property
    def weights(self) -> Path:
        """Weights of the small models."""
        return self.root / "weights"

    @property
    def store(self) -> CellStore:
        """The demo's cells."""
        return CellStore(self.root / "runs")

    @property
    def tables(self) -> Path:
        """The demo's rendered tables."""
        return self.root / "tables"

    @property
    def page(self) -> Path:
        """The demo's results page."""
        return self.root / "report.html"

    def prepare(self) -> Plan:
        """Generate and prepare data and weights (what is there stays); plan all methods on all datasets."""
        folders = stand_in_folders(self.data)
        mini.install(self.weights)
        return make_plan(
            demo_requests(),
            folders,
            self.store,
            weights_root=self.weights,
            digest=DigestCache(),
            save_maps=True,
        )

    def draw_gallery(self, machine: Machine, path: Path, count: int = 6) -> None:
        """Draw images, masks and heat maps of `count` datasets under all methods to `path`."""
        chosen = [each for folder in stand_in_folders(self.data) if (each := _anomalous(folder))][:count]
        requests = [request for request in demo_requests() if request.preset]
        library = Library(self.weights, DigestCache())
        columns = [_maps(request, chosen, library, machine) for request in requests]
        rows = [
            GalleryRow(folder.title, data.prompt, read_image(sample.image), read_mask(mask), maps)
            for (folder, data, sample, mask), *maps in zip(chosen, *columns, strict=True)
        ]
        draw_gallery(rows, [request.detector.title for request in requests], path, "--root")


_Chosen = tuple[Folder, ClassData, Sample, Path]


def _anomalous(folder: Folder) -> _Chosen | None:
    """Return an anomalous image of a dataset, with its class and mask."""
    for data in folder.classes:
        masked = [(sample, sample.mask) for sample in data.samples if sample.mask is not None]
        if data.has_pixel_level and masked:
            return folder, data, *masked[len(masked) // 2]
    return None


def _maps(
    request: MethodRequest, chosen: Sequence[_Chosen], library: Library, machine: Machine
) -> list[np.ndarray]:
    """Return the method's anomaly map of each chosen image, with the weights of the protocol."""
    loaded: dict[str, LoadedMethod] = {}
    maps = []
    for folder, data, sample, _ in chosen:
        name = repr(setup(request, folder.target)[:2])
        if name not in loaded:
            loaded[name] = load_request(request, library, machine.device, target=folder.target)
        # A transductive method compares the images of a class.
        samples = data.samples if loaded[name].transductive else (sample,)
        answers = loaded[name].many([each.image for each in samples], data.prompt, machine.batch_size)
        maps.append(answers[samples.index(sample)].map)
    return maps


def demo_requests() -> list[MethodRequest]:
    """Return every method that has a small version, and the two baselines that bound the scale."""
    unusable = registry.failures()
    small = [key for key in keys() if "mini" in registry.card(key).presets and key not in unusable]
    return [*(MethodRequest(key, "mini") for key in small), MethodRequest("chance"), MethodRequest("oracle")]
