"""VisA as published: only `split_csv/1cls.csv` says what is test."""

import csv
from collections.abc import Iterator
from pathlib import Path

from datasets.catalog import Dataset
from datasets.files import EscapeError, Tree
from datasets.prepare.item import Item, raw_item

_SPLIT = "split_csv/1cls.csv"
_LABELS = {"normal": 0, "anomaly": 1}


def shape(entry: Dataset) -> str:
    """Say what `fits` looks for."""
    return _SPLIT


def fits(folder: Path, entry: Dataset) -> bool:
    """Say whether the split file is there."""
    return (folder / _SPLIT).is_file()


def read(folder: Path, entry: Dataset, protocol: str | None) -> Iterator[Item]:
    """Yield the rows whose images are there; raises `ValueError` for a row that is not as published."""
    tree, source = Tree(folder), folder / _SPLIT
    with source.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        absent = {"object", "split", "label", "image", "mask"} - set(rows.fieldnames or ())
        if absent:
            raise ValueError(f"{source}: no column {', '.join(sorted(absent))}; restore the published file")
        for row in rows:
            where = f"{source}, line {rows.line_num}"
            known = entry.class_of(row["object"] or "")
            if known is None or row["split"] not in ("train", "test") or row["label"] not in _LABELS:
                raise ValueError(f"{where}: not as published; restore the file")
            try:
                image, mask = tree.find(row["image"] or ""), tree.find(row["mask"] or "")
            except EscapeError as error:
                raise ValueError(f"{where}: the path {error}; restore the published file") from None
            if image is None:
                continue
            if mask is None and row["label"] == "anomaly":
                raise ValueError(f"{folder / image}: its mask {row['mask']!r} is absent; restore it")
            truth, label = folder / mask if mask else None, _LABELS[row["label"]]
            yield raw_item(folder, row["split"], known.key, "", label, folder / image, truth)
