"""Data sets that are a folder of anomalous images and a folder of their masks."""

from collections.abc import Iterator
from pathlib import Path

from datasets.catalog import Dataset
from datasets.files import child, images_in, pair_masks
from datasets.prepare.item import Item
from datasets.schema import Record


def shape(entry: Dataset) -> str:
    """Say what `fits` looks for."""
    return " or ".join(f"{images}/ and {masks}/" for images, masks in entry.raw.pairs)


def fits(folder: Path, entry: Dataset) -> bool:
    """Say whether one of the data set's pairs of folders is there."""
    return _folders(folder, entry) is not None


def read(folder: Path, entry: Dataset, protocol: str | None) -> Iterator[Item]:
    """Yield all images; raises `ValueError` for an image without a mask, or a mask without an image."""
    found = _folders(folder, entry)
    if found is None:
        raise ValueError(f"{folder}: no {shape(entry)}")
    images = images_in(found[0])
    masks = pair_masks(images, images_in(found[1]))
    bare = [image for image in images if image not in masks]
    if bare:
        raise ValueError(f"{bare[0]}: no mask in {found[1]} ({len(bare)} such); restore the masks")
    for image, mask in masks.items():
        paths = (f"{found[0].name}/{image.name}", f"{found[1].name}/{mask.name}")
        yield Item("test", Record(*paths, entry.classes[0].key, "", 1), image, mask)


def _folders(folder: Path, entry: Dataset) -> tuple[Path, Path] | None:
    for images, masks in entry.raw.pairs:
        # Without images it is the mask half of two downloads, or an empty shell: look on.
        if (left := child(folder, images)) and (right := child(folder, masks)) and images_in(left):
            return left, right
    return None
