"""KolektorSDD as published: `kosNN/PartM.jpg` beside `PartM_label.bmp`, without a split.

Protocol `thirds` cuts every image at H//3 and 2H//3; a strip is anomalous if its part of the label is not
all zero. All anomalous strips and a quarter of the normal ones are the test set. The draw is
scikit-learn's `train_test_split(test_size=0.25, random_state=42)` on the sorted names; AdaCLIP drew
likewise, but from an unsorted listing that cannot be had again. Protocol `whole` takes the images as they
are.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.catalog import Dataset
from datasets.files import images_in, pair_masks, subfolders
from datasets.images import read_image, read_mask
from datasets.prepare.item import Item, raw_item, refuse_bare
from datasets.schema import Record

_STRIPS = 3
# Not compressed: the bytes, and with them the fingerprint, are then the same whichever zlib is installed.
_FORMAT = ".bmp"


def shape(entry: Dataset) -> str:
    """Say what `fits` looks for."""
    return "kosNN/PartM.jpg beside PartM_label.bmp"


def fits(folder: Path, entry: Dataset) -> bool:
    """Say whether folders kosNN are there."""
    return bool(_commutators(folder))


def read(folder: Path, entry: Dataset, protocol: str | None) -> Iterator[Item]:
    """Yield the samples of `protocol`; raises `ValueError` for an image without a label, or the reverse."""
    pairs = dict(_pairs(folder))
    cls = entry.classes[0].key
    return _whole(folder, cls, pairs) if protocol == "whole" else _thirds(cls, pairs)


def _commutators(folder: Path) -> list[Path]:
    return [it for it in subfolders(folder) if it.name.startswith("kos") and it.name[3:].isdecimal()]


def _pairs(folder: Path) -> Iterator[tuple[Path, Path]]:
    for commutator in _commutators(folder):
        files = images_in(commutator)
        labels = [file for file in files if file.stem.endswith("_label")]
        images = [file for file in files if file not in labels]
        pairs = pair_masks(images, labels)
        refuse_bare(images, pairs, commutator)
        yield from pairs.items()


def _whole(folder: Path, cls: str, pairs: dict[Path, Path]) -> Iterator[Item]:
    for image, label in pairs.items():
        if read_mask(label).any():
            yield raw_item(folder, "test", cls, "defect", 1, image, label)
        else:
            yield raw_item(folder, "test", cls, "good", 0, image)


def _thirds(cls: str, pairs: dict[Path, Path]) -> Iterator[Item]:
    normal = [name for label in pairs.values() for name, mask in _cut(label) if not mask.any()]
    test = draw(sorted(normal))
    for image, label in pairs.items():
        picture = read_image(image).convert("L")
        masks = _cut(label)
        if sum(len(mask) for _, mask in masks) != picture.height or masks[0][1].shape[1] != picture.width:
            raise ValueError(f"{label}: not the size of {image.name}; restore both")
        top = 0
        for name, mask in masks:
            strip = picture.crop((0, top, picture.width, top + len(mask)))
            top += len(mask)
            if mask.any():
                paths = (
                    f"{cls}/test/defect/{name}{_FORMAT}",
                    f"{cls}/ground_truth/defect/{name}_mask{_FORMAT}",
                )
                yield Item("test", Record(*paths, cls, "defect", 1), strip, Image.fromarray(mask * 255))
            else:
                split = "test" if name in test else "train"
                yield Item(split, Record(f"{cls}/{split}/good/{name}{_FORMAT}", "", cls, "good", 0), strip)


def _cut(label: Path) -> list[tuple[str, NDArray[np.uint8]]]:
    """Return (name, mask) of the strips of a label, top to bottom."""
    mask = read_mask(label)
    edges = [len(mask) * part // _STRIPS for part in range(_STRIPS + 1)]
    stem = f"{label.parent.name}_{label.stem.removesuffix('_label')}"
    return [(f"{stem}_{part}", mask[edges[part] : edges[part + 1]]) for part in range(_STRIPS)]


def draw(names: list[str]) -> set[str]:
    """Return the quarter (rounded up) of `names` that scikit-learn's split with seed 42 puts into test."""
    order = np.random.RandomState(42).permutation(len(names))
    return {names[index] for index in order[: math.ceil(len(names) / 4)]}
