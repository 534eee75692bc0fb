"""Reads every image of a class once, for all tasks that look at it together."""

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from bench.run.features import Encoder
from bench.run.machine import FAILURES
from bench.run.plan import Settings
from datasets.images import head, read_image, resize_mask
from datasets.samples import Sample
from datasets.truth import Remark, read_truth
from methods.pictures import AnyInput

NATIVE = 0
"""In place of a side: the mask's own size."""


@dataclass(frozen=True)
class Mask:
    """A mask as bits; those of a class may have to wait until it is judged."""

    shape: tuple[int, ...]
    bits: np.ndarray | None
    """None: all are zero."""

    @classmethod
    def of(cls, mask: np.ndarray) -> "Mask":
        """Pack a mask (H, W) of 0 and 1."""
        return cls(mask.shape, np.packbits(mask) if mask.any() else None)

    @property
    def array(self) -> np.ndarray:
        """The mask (H, W) of 0 and 1, uint8; read-only, and without memory of its own, if all are zero."""
        if self.bits is None:
            return np.broadcast_to(np.uint8(0), self.shape)
        return np.unpackbits(self.bits, count=math.prod(self.shape)).reshape(self.shape)


@dataclass(frozen=True)
class Shown:
    """One image as read: what the methods of a pass are shown, and the truth at the sizes of their maps."""

    sample: Sample
    digest: str | None
    """The image's SHA-256; None if no task asks for it."""
    inputs: Mapping[AnyInput, Tensor | BaseException]
    """Each input that was made, not yet normalised; or why it could not be. Kept features need none."""
    masks: Mapping[int, Mask]
    """By the side of the square, or at its own size under `NATIVE`; empty without pixel level."""
    remarks: tuple[Remark, ...]
    seconds: float
    """Of one thread."""

    def mask(self, side: int) -> np.ndarray:
        """Return the mask (side, side) of 0 and 1, uint8, or at its own size for `NATIVE`."""
        return self.masks[side].array

    def without_inputs(self) -> "Shown":
        """Return what has to be known of the image once it is encoded."""
        return replace(self, inputs={})


class Reader:
    """Reads samples; may be called by several threads at once."""

    def __init__(
        self,
        encoders: Sequence[Encoder],
        sides: Collection[int],
        settings: Settings | None,
        digest: Callable[[Path], str] | None = None,
    ) -> None:
        """Make what `encoders` want, and masks of the given `sides`; no settings: without truth.

        `digest` gives the images' SHA-256, where features are kept or a task asks for them.
        """
        self._encoders, self._sides, self._settings = encoders, frozenset(sides), settings
        self._digest = digest

    def __call__(self, sample: Sample) -> Shown:
        """Return the sample as read.

        Raises `OSError` or `ValueError` naming a file that cannot be read. What a method's own `preprocess`
        raises is kept for the tasks that need its input.
        """
        started = time.perf_counter()
        digest = self._digest(sample.image) if self._digest else None
        wanted = {each.input for each in self._encoders if digest is None or not each.has(digest)}
        image = read_image(sample.image) if wanted else None
        inputs = {each: _made(each, image) for each in wanted if image is not None}
        masks, remarks = self._truth(sample, image)
        return Shown(sample, digest, inputs, masks, remarks, time.perf_counter() - started)

    def _truth(
        self, sample: Sample, image: Image.Image | None
    ) -> tuple[Mapping[int, Mask], tuple[Remark, ...]]:
        if self._settings is None:
            return {}, ()
        if sample.mask is not None:
            mask, remarks = read_truth(sample, self._settings.mask_threshold)
            return {side: Mask.of(_sized(mask, side)) for side in self._sides}, tuple(remarks)
        masks = {side: Mask((side, side), None) for side in self._sides}
        if NATIVE in masks:
            width, height = image.size if image else head(sample.image)[0]
            masks[NATIVE] = Mask((height, width), None)
        return masks, ()


def _made(wanted: AnyInput, image: Image.Image) -> Tensor | BaseException:
    try:
        return wanted.resize(image)
    except FAILURES as error:
        return error


def _sized(mask: np.ndarray, side: int) -> np.ndarray:
    return mask if side == NATIVE else resize_mask(mask, side)
