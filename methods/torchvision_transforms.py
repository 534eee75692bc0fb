"""Random changes of pictures as torchvision's transforms make them, drawn from a generator of one's own.

torchvision draws from torch's global generator, and some of its transforms draw more than they need. So do
these: with a generator of the same seed they give what its `RandomApply` around them gives.
"""

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional


def applies(probability: float, generator: torch.Generator) -> bool:
    """Draw whether a step takes place, as `RandomApply` does."""
    return bool(torch.rand(1, generator=generator) <= probability)


def uniform(least: float, most: float, generator: torch.Generator) -> float:
    """Draw from the uniform distribution between two values."""
    return torch.empty(1).uniform_(least, most, generator=generator).item()


def colours(image: Image.Image, probability: float, spread: float, generator: torch.Generator) -> Image.Image:
    """Change brightness, contrast and saturation of an RGB picture, each with this probability.

    By factors from 1 - `spread` to 1 + `spread`. Three `ColorJitter` of one property each.
    """
    changes = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)
    for change in changes:
        if applies(probability, generator):
            torch.randperm(4, generator=generator)
            image = change(image, uniform(1 - spread, 1 + spread, generator))
    return image


def rotated(pixels: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """Turn pixels (C, H, W) by up to `degrees`: nearest neighbour, 0 comes in. `RandomRotation`."""
    return functional.rotate(pixels, uniform(-degrees, degrees, generator))


def shifted(pixels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Shift pixels (C, H, W) by whole pixels up to `share` of each side; 0 comes in. `RandomAffine`."""
    uniform(0, 0, generator)
    height, width = pixels.shape[-2:]
    by = [round(uniform(-share * side, share * side, generator)) for side in (width, height)]
    return functional.affine(pixels, angle=0, translate=by, scale=1, shear=[0.0, 0.0])


def flipped(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Flip pixels (C, H, W) left to right, then upside down, each with probability one half."""
    for axis in (-1, -2):
        if torch.rand(1, generator=generator) < 0.5:
            pixels = pixels.flip(axis)
    return pixels
