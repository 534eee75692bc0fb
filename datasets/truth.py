"""Ground truth that cannot be right, or is read otherwise than it looks.

The numbers stay those of the published protocol (any grey above 0 is anomalous, pixels as stored); what is
noticed here is said beside them.
"""

import filecmp
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.files import escaped_name
from datasets.images import binarise, decode, head, join_parts
from datasets.samples import Sample

KINDS = {
    "size": "masks of another size than the image",
    "turned": "images with a mask that a camera marks as turned (EXIF orientation), read as stored",
    "empty": "empty masks of anomalous images",
    "full": "masks that cover the whole image",
    "grey": "masks with grey values (JPEG, soft edges): the area depends on --mask-threshold, 127 is half",
    "alpha": "masks drawn in the transparency, which is not read",
    "palette": "masks whose palette shows other pixels than those of index 0 as black",
    "image": "masks that are the image itself",
}
"""Kind of remark -> what it is about, in the plural."""
_HALF = 127
_UPRIGHT = 1


@dataclass(frozen=True)
class Remark:
    """One thing that is odd about one sample."""

    kind: str
    """One of `KINDS`."""
    detail: str
    """The file, and what was measured."""


Truth = tuple[NDArray[np.uint8], list[Remark]]
"""A mask as evaluated, 0 and 1, (H, W), as `datasets.images.read_mask` returns it; what is odd about it."""


def read_truth(sample: Sample, threshold: int = 0) -> Truth:
    """Read the mask of a sample that has one; of its picture only the head is read.

    Raises:
        FileNotFoundError, ValueError: As `datasets.images.read_mask`.
    """
    if sample.mask is None:
        raise ValueError(f"{sample.name}: has no mask")
    name = escaped_name("/".join(sample.mask.parts[-2:]))
    parts = [_read_part(path, sample.image, threshold) for path in sample.mask_files]
    mask = join_parts([part for part, _ in parts], sample.mask)
    remarks = [it for _, found in parts for it in found]
    if not mask.any():
        remarks.append(Remark("empty", name))
    if mask.all():
        remarks.append(Remark("full", name))
    (width, height), orientation = head(sample.image)
    if mask.shape != (height, width):
        sizes = f"{mask.shape[1]} x {mask.shape[0]}, its image {sample.name} {width} x {height}"
        remarks.append(Remark("size", f"{name} is {sizes}"))
    if orientation != _UPRIGHT:
        remarks.append(Remark("turned", f"{sample.name}: orientation {orientation}"))
    return mask, remarks


def _read_part(path: Path, image: Path, threshold: int) -> Truth:
    name = escaped_name("/".join(path.parts[-2:]))
    picture, _ = decode(path)
    mask = binarise(picture, threshold, path)
    remarks = []
    if threshold == 0:
        half = binarise(picture, _HALF, path)
        if half.any() and half.sum() != mask.sum():
            remarks.append(Remark("grey", f"{name}: {mask.sum()} pixels above 0, {half.sum()} above {_HALF}"))
        if picture.mode == "P" and ((np.asarray(picture) > 0) != (mask > 0)).any():
            remarks.append(Remark("palette", name))
    if picture.has_transparency_data and (mask.all() or not mask.any()):
        low, high = picture.convert("RGBA").getchannel("A").getextrema()
        if low != high:
            remarks.append(Remark("alpha", name))
    if filecmp.cmp(path, image, shallow=False):
        remarks.append(Remark("image", name))
    return mask, remarks


def summarise(remarks: Iterable[Remark]) -> list[str]:
    """Return one line a kind: how many, of what, and the first of them."""
    found: dict[str, list[str]] = {}
    for remark in remarks:
        found.setdefault(remark.kind, []).append(remark.detail)
    return [f"{len(found[kind])} {text} ({found[kind][0]})" for kind, text in KINDS.items() if kind in found]
