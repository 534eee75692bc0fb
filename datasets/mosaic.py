"""The 2 x 2 mosaic of pictures of one class that two recipes train on (VAND, AdaCLIP)."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from datasets.images import read_image, read_mask
from datasets.samples import ClassData, Sample


def draw_four(data: ClassData, rng: np.random.Generator, *, of: str) -> list[Sample]:
    """Draw four samples of the class, with repetition.

    `of` says from which: "all" images are equally likely, as with AdaCLIP; "defects" draws a kind of defect
    first (normal is one of them), then one of its images, as VAND does; or "anomalous" images alone.
    """
    if of != "defects":
        among = [sample for sample in data.samples if of == "all" or sample.label]
        return [among[index] for index in rng.integers(len(among), size=4)]
    species = sorted({(sample.label, sample.species) for sample in data.samples})
    drawn = []
    for index in rng.integers(len(species), size=4):
        members = [sample for sample in data.samples if (sample.label, sample.species) == species[index]]
        drawn.append(members[int(rng.integers(len(members)))])
    return drawn


def mosaic(samples: Sequence[Sample]) -> tuple[Image.Image, np.ndarray]:
    """Paste four pictures unresized, rows first, onto a canvas twice the size of the first.

    Returns the RGB picture and its mask, uint8 (H, W) of 0 and 1.
    """
    images = [read_image(sample.image) for sample in samples]
    width, height = images[0].size
    canvas = Image.new("RGB", (2 * width, 2 * height))
    truth = Image.new("L", canvas.size)
    for index, (sample, image) in enumerate(zip(samples, images, strict=True)):
        corner = (index % 2 * width, index // 2 * height)
        tile = (0, 0, min(width, image.width), min(height, image.height))
        canvas.paste(image.crop(tile), corner)
        if sample.mask is not None:
            truth.paste(Image.fromarray(read_mask(sample.mask)).crop(tile), corner)
    return canvas, np.asarray(truth)
