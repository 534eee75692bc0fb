"""KolektorSDD2 as published: `test/NNNNN.png` beside `NNNNN_GT.png`; normal where the mask is all zero."""

from collections.abc import Iterator
from pathlib import Path

from datasets.catalog import Dataset
from datasets.files import bare_stem, child, images_in, pair_masks
from datasets.images import read_mask
from datasets.prepare.item import Item
from datasets.schema import Record


def shape(entry: Dataset) -> str:
    """Say what `fits` looks for."""
    return "test/NNNNN.png beside test/NNNNN_GT.png"


def fits(folder: Path, entry: Dataset) -> bool:
    """Say whether numbered images lie beside masks."""
    test = child(folder, "test")
    return bool(test and any(bare_stem(path) != path.stem for path in _numbered(test)))


def read(folder: Path, entry: Dataset, protocol: str | None) -> Iterator[Item]:
    """Yield all images; raises `ValueError` for one without a mask, or the reverse."""
    for split in ("train", "test"):
        place = child(folder, split)
        files = _numbered(place) if place else []
        images = [path for path in files if path.stem.isdecimal()]
        masks = pair_masks(images, [path for path in files if path not in images])
        for image in images:
            if image not in masks:
                raise ValueError(f"{image}: no {image.stem}_GT.png beside it; restore the masks")
            anomalous = int(read_mask(masks[image]).any())
            mask = f"{split}/{masks[image].name}" if anomalous else ""
            record = Record(
                f"{split}/{image.name}",
                mask,
                entry.classes[0].key,
                "defect" if anomalous else "good",
                anomalous,
            )
            yield Item(split, record, image, masks[image] if anomalous else None)


def _numbered(folder: Path) -> list[Path]:
    """Return images and masks; the archive also holds stray copies, such as `10301 (copy).png`."""
    return [path for path in images_in(folder) if bare_stem(path).isdecimal()]
