"""BrainMRI and Br35H as published: `yes/` and `no/`; `pred/` has no labels and is left alone."""

from collections.abc import Iterator
from pathlib import Path

from datasets.catalog import Dataset
from datasets.files import child, images_in
from datasets.prepare.item import Item
from datasets.schema import Record


def shape(entry: Dataset) -> str:
    """Say what `fits` looks for."""
    return "yes/ and no/"


def fits(folder: Path, entry: Dataset) -> bool:
    """Say whether both folders are there."""
    return child(folder, "yes") is not None and child(folder, "no") is not None


def read(folder: Path, entry: Dataset, protocol: str | None) -> Iterator[Item]:
    """Yield all images of both folders."""
    for label, species in enumerate(("no", "yes")):
        for image in images_in(child(folder, species) or folder):
            record = Record(f"{species}/{image.name}", "", entry.classes[0].key, species, label)
            yield Item("test", record, image)
