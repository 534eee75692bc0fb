"""DAGM 2007 as published: `ClassK/<Train|Test>/NNNN.PNG`, defective if `Label/NNNN_label.PNG` exists.

Protocol `test` is the Test split as it is. Protocol `balanced` pools both splits: all defects, and per class
and split as many normal images, the first ones by name; the rest is train.
"""

from collections.abc import Iterator
from pathlib import Path

from datasets.catalog import Dataset
from datasets.files import child, images_in, pair_masks
from datasets.prepare.item import Item
from datasets.schema import Record

_Samples = list[tuple[Path, Path | None]]
"""Images with their labels, None where normal."""


def shape(entry: Dataset) -> str:
    """Say what `fits` looks for."""
    return "ClassK/Test/NNNN.PNG"


def fits(folder: Path, entry: Dataset) -> bool:
    """Say whether a class with a Test folder of images is there."""
    return any(_classes(folder, entry))


def read(folder: Path, entry: Dataset, protocol: str | None) -> Iterator[Item]:
    """Yield the samples of `protocol`; raises `ValueError` where labels and images do not belong together."""
    for cls, place in _classes(folder, entry):
        for split in ("train", "test"):
            images = child(place, split)
            samples = _read_split(images) if images else []
            kept = _balanced(samples) if protocol == "balanced" else set()
            for image, label in samples:
                part = split
                if protocol == "balanced":
                    part = "test" if image in kept else "train"
                path = f"{cls}/{split.capitalize()}"
                mask = f"{path}/Label/{label.name}" if label else ""
                species = "defect" if label else "good"
                yield Item(
                    part, Record(f"{path}/{image.name}", mask, cls, species, int(bool(label))), image, label
                )


def _classes(folder: Path, entry: Dataset) -> Iterator[tuple[str, Path]]:
    for known in entry.classes:
        # The original site's archives nest the folder in one of the same name.
        for path in (known.key, f"{known.key}/{known.key}"):
            place = child(folder, path)
            test = child(place, "Test") if place else None
            if place and test and images_in(test):
                yield known.key, place
                break


def _balanced(samples: _Samples) -> set[Path]:
    defective = [image for image, label in samples if label]
    normal = [image for image, label in samples if not label]
    return {*defective, *normal[: len(defective)]}


def _read_split(folder: Path) -> _Samples:
    images, labels = images_in(folder), child(folder, "Label")
    pairs = pair_masks(images, images_in(labels)) if labels else {}
    if labels:
        _compare(labels / "Labels.txt", {label.name for label in pairs.values()})
    return [(image, pairs.get(image)) for image in images]


def _compare(listing: Path, labels: set[str]) -> None:
    """Raise `ValueError` if the listing names a label that is absent: its image would pass for normal.

    Rows hold index, flag, image, flag and label, separated by tabs; what else the file holds is not known.
    """
    if not listing.is_file():
        return
    rows = (line.split("\t") for line in listing.read_text(encoding="utf-8", errors="replace").splitlines())
    named = [row[4].strip() for row in rows if len(row) == 5 and row[1] == row[3] == "1"]
    absent = sorted(set(named) - labels)
    if absent:
        raise ValueError(f"{listing}: label {absent[0]!r} is absent ({len(absent)} such); restore the labels")
