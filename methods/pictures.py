"""How a picture becomes a network input: a value, so that methods with equal ones share it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class NetworkInput:
    """A picture squashed to a square, scaled to [0, 1], then normalised a channel."""

    size: int
    """Side in pixels."""
    resample: Image.Resampling = Image.Resampling.BILINEAR
    """Pillow's filter, anti-aliased as Pillow does."""
    mean: tuple[float, ...] | None = None
    """Of each channel, of values in [0, 1]; None: they stay in [0, 1]."""
    deviation: tuple[float, ...] | None = None

    def resize(self, image: Image.Image) -> Tensor:
        """Return an RGB picture squashed to (3, S, S), uint8; on the CPU, and without Python's lock."""
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        pixels = np.array(rgb.resize((self.size, self.size), self.resample))
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

    def normalise(self, pixels: Tensor) -> Tensor:
        """Turn resized pictures (..., 3, S, S), uint8, into network inputs, float32, where they lie.

        The same on every device to the bit: constants are tensors, so that no division becomes a product.
        """
        images = pixels.float()
        images = images / images.new_tensor(255.0)
        if self.mean is None or self.deviation is None:
            return images
        return standardise(images, self.mean, self.deviation)

    def __call__(self, image: Image.Image) -> Tensor:
        """Return the network input (3, S, S), float32, of an RGB picture."""
        return self.normalise(self.resize(image))


@dataclass(frozen=True)
class OwnInput:
    """The network input of a method that makes it in a way of its own: it is shared with no other."""

    resize: Callable[[Image.Image], Tensor]
    """Returns the whole input of an RGB picture."""

    def normalise(self, images: Tensor) -> Tensor:
        """Return the images as they are."""
        return images


AnyInput = NetworkInput | OwnInput


def standardise(images: Tensor, mean: Sequence[float], deviation: Sequence[float]) -> Tensor:
    """Return images (..., 3, H, W) less the channels' mean, over their deviation."""
    return (images - _channels(mean, images)) / _channels(deviation, images)


def unstandardise(images: Tensor, mean: Sequence[float], deviation: Sequence[float]) -> Tensor:
    """Return what `standardise` made the images (..., 3, H, W) of."""
    return images * _channels(deviation, images) + _channels(mean, images)


def _channels(values: Sequence[float], like: Tensor) -> Tensor:
    return like.new_tensor(values)[:, None, None]
