"""HeadCT as published: one folder of images, and `labels.csv`."""

import csv
from collections.abc import Iterator
from pathlib import Path

from datasets.catalog import Dataset
from datasets.files import child, images_in
from datasets.prepare.item import Item
from datasets.schema import Record

_IMAGES, _LABELS = "head_ct", "labels.csv"


def shape(entry: Dataset) -> str:
    """Say what `fits` looks for."""
    return f"{_IMAGES}/ beside {_LABELS}"


def fits(folder: Path, entry: Dataset) -> bool:
    """Say whether images and labels are there."""
    return child(folder, _IMAGES) is not None and (folder / _LABELS).is_file()


def read(folder: Path, entry: Dataset, protocol: str | None) -> Iterator[Item]:
    """Yield all images; raises `ValueError` for one without a label, or a broken label file."""
    labels = _read_labels(folder / _LABELS)
    # The Kaggle archive nests the folder in one of the same name.
    images = child(folder, f"{_IMAGES}/{_IMAGES}") or child(folder, _IMAGES) or folder
    for image in images_in(images):
        label = labels.get(int(image.stem)) if image.stem.isdecimal() else None
        if label is None:
            raise ValueError(f"{image}: no row in {folder / _LABELS}; restore the label file")
        species = "hemorrhage" if label else "normal"
        record = Record(f"{_IMAGES}/{image.name}", "", entry.classes[0].key, species, label)
        yield Item("test", record, image)


def _read_labels(path: Path) -> dict[int, int]:
    # Columns by position: the published header has a blank in front of its second name.
    labels = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file, skipinitialspace=True)
        next(rows, None)
        for row in rows:
            if len(row) != 2 or not row[0].isdecimal() or row[1] not in ("0", "1"):
                raise ValueError(f"{path}, line {rows.line_num}: not `id,0` or `id,1`; restore the file")
            labels[int(row[0])] = int(row[1])
    return labels
