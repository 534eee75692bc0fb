"""Changes of 8-bit pictures, drawn at random: what albumentations 1.3.1 does, by hand; VCP-CLIP's choice.

Pictures are RGB arrays (H, W, 3), uint8, as are the results; masks are arrays (H, W), uint8 of 0 and 1.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter, uniform_filter
from skimage.color import hsv2rgb, rgb2hsv
from torch import Tensor

HUES = 180  # steps of the circle of hues in 8-bit HSV, as OpenCV has it


def vary(image: Image.Image, mask: np.ndarray, generator: torch.Generator) -> tuple[Image.Image, np.ndarray]:
    """Turn both; change brightness, noise, and blur or colours of the picture: each on a coin's toss."""
    picture = np.asarray(image)

    def drawn(low: float, high: float) -> float:
        return uniform(low, high, generator)

    if coin(generator):
        picture, mask = rotate(picture, mask, drawn(-30, 30))
    if coin(generator):
        turns = integer(4, generator)
        picture, mask = np.rot90(picture, turns), np.rot90(mask, turns)
    if coin(generator):
        picture = scale_and_shift(picture, drawn(0.8, 1.2), drawn(-0.2, 0.2))
    if coin(generator):
        picture = add_noise(picture, drawn(10, 50), generator)
    if coin(generator):
        match integer(3, generator):
            case 0:
                picture = box_blur(picture)
            case 1:
                factors = (drawn(0.8, 1.2), drawn(0.8, 1.2), drawn(0.8, 1.2), drawn(-0.2, 0.2))
                picture = jitter(picture, *factors, torch.randperm(4, generator=generator).tolist())
            case _:
                # 3 to 7 is drawn, and an even number made odd by adding 1.
                picture = gaussian_blur(picture, (3, 5, 5, 7, 7)[integer(5, generator)])
    return Image.fromarray(np.ascontiguousarray(picture)), np.ascontiguousarray(mask)


def coin(generator: torch.Generator) -> bool:
    """Return whether something with probability 1/2 happens."""
    return bool(torch.rand((), generator=generator) < 0.5)


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    """Return a number drawn uniformly between two."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def integer(count: int, generator: torch.Generator) -> int:
    """Return a number drawn from 0, 1, ... `count` - 1."""
    return int(torch.randint(count, (), generator=generator))


def cut(picture: np.ndarray) -> np.ndarray:
    """Return values clipped to a byte and cut to whole numbers."""
    return np.clip(picture, 0, 255).astype(np.uint8)


def rotate(picture: np.ndarray, mask: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Turn both about their centre, the size kept; what comes in at the border is mirrored without it.

    The picture bilinear, the mask nearest.
    """
    height, width = mask.shape
    across, down = max(width - 1, 1), max(height - 1, 1)
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    matrix = torch.tensor([[cosine, -sine * down / across, 0], [sine * across / down, cosine, 0]])
    grid = F.affine_grid(matrix[None], [1, 1, height, width], align_corners=True)

    def turned(values: np.ndarray, mode: str) -> np.ndarray:
        tensor = torch.from_numpy(values.astype(np.float32, order="C")).reshape(1, height, width, -1)
        moved = F.grid_sample(
            tensor.permute(0, 3, 1, 2), grid, mode=mode, padding_mode="reflection", align_corners=True
        )
        whole: Tensor = moved.round().clamp(0, 255).to(torch.uint8)
        return whole[0].permute(1, 2, 0).reshape(values.shape).numpy()

    return turned(picture, "bilinear"), turned(mask, "nearest")


def scale_and_shift(picture: np.ndarray, contrast: float, brightness: float) -> np.ndarray:
    """Return v * contrast + 255 * brightness."""
    return cut(picture * np.float32(contrast) + np.float32(255 * brightness))


def add_noise(picture: np.ndarray, variance: float, generator: torch.Generator) -> np.ndarray:
    """Add Gaussian noise, independent per pixel and channel; the variance in squared grey levels."""
    noise = torch.randn(picture.shape, generator=generator).numpy()
    return cut(picture + math.sqrt(variance) * noise)


def box_blur(picture: np.ndarray) -> np.ndarray:
    """Return the mean of 3 x 3 pixels."""
    return cut(uniform_filter(picture.astype(np.float64), size=(3, 3, 1), mode="mirror").round())


def gaussian_blur(picture: np.ndarray, kernel: int) -> np.ndarray:
    """Blur by a kernel of an odd number of pixels, whose deviation follows from its size."""
    sigma = 0.3 * ((kernel - 1) / 2 - 1) + 0.8
    whole = picture.astype(np.float64)
    return cut(gaussian_filter(whole, sigma, mode="mirror", radius=kernel // 2, axes=(0, 1)).round())


def jitter(
    picture: np.ndarray, brightness: float, contrast: float, saturation: float, hue: float, order: list[int]
) -> np.ndarray:
    """Change colours by factors, and the hue by a share of the circle, in the order of these four."""
    for which in order:
        if which == 0:
            picture = cut(picture * brightness)
        elif which == 1:
            picture = cut(picture * contrast + _grey(picture).mean() * (1 - contrast))
        elif which == 2:
            # Rounded, not cut, unlike the others.
            grey = _grey(picture)[..., None]
            picture = cut((picture * saturation + grey * (1 - saturation)).round())
        else:
            picture = _turn_hue(picture, hue)
    return picture


def _grey(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).convert("L")).astype(np.float64)


def _turn_hue(picture: np.ndarray, share: float) -> np.ndarray:
    hsv = rgb2hsv(picture)
    hue = np.floor((np.round(hsv[..., 0] * HUES) % HUES + HUES * share) % HUES)
    saturation = np.round(hsv[..., 1] * 255) / 255
    return cut((255 * hsv2rgb(np.stack([hue / HUES, saturation, hsv[..., 2]], axis=-1))).round())
