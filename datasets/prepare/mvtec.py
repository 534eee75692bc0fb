"""MVTec AD, MPDD, BTAD, DTD-Synthetic, and every dataset re-arranged in that layout."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from datasets.catalog import Dataset
from datasets.layout import class_folders, read_layout
from datasets.prepare.item import Item


def shape(entry: Dataset) -> str:
    """Say what `fits` looks for."""
    return f"<class>/test/<species> with classes such as {entry.classes[0].key}"


def fits(folder: Path, entry: Dataset) -> bool:
    """Say whether `folder` holds a class of the dataset in MVTec layout."""
    return any(found != folder and entry.class_of(found.name) for found in class_folders(folder))


def read(folder: Path, entry: Dataset, protocol: str | None) -> Iterator[Item]:
    """Yield all samples; raises `ValueError` for a class that the dataset does not have."""
    for split, classes in read_layout(folder)[0].items():
        for name, records in classes.items():
            known = entry.class_of(name)
            if known is None:
                raise ValueError(f"{folder / name}: not a class of {entry.key}; move the folder elsewhere")
            for record in records:
                mask = folder / record.mask_path if record.mask_path else None
                yield Item(split, replace(record, cls_name=known.key), folder / record.img_path, mask)
