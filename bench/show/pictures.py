"""Pictures of one anomaly map: as a tint over the image, or side by side with an outline."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

COLORMAP = "inferno"
"""Of matplotlib; perceptually uniform: brightness rises throughout, so it also reads in grey."""
LONGEST = 1024
"""Longest side of a panel, in pixels: larger photos are scaled down for the picture."""
_LINE, _HALO = (0, 255, 255), (0, 0, 0)


def coloured(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    """Return anomaly scores (H, W) as colours (H, W, 3); `low` and `high` are the ends of the scale."""
    from matplotlib import colormaps  # noqa: PLC0415 (only who draws waits for it)

    level = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    colours: NDArray[np.uint8] = colormaps[COLORMAP](level, bytes=True)[..., :3]
    return colours


def tinted(image: Image.Image, scores: NDArray[np.float32], low: float, high: float) -> Image.Image:
    """Return the map (S, S) in colour over the RGB image, at the image's size; more opaque where higher."""
    level = np.clip((scores - low) / max(high - low, 1e-12), 0, 1)
    heat = Image.fromarray(coloured(scores, low, high)).resize(image.size, Image.Resampling.BILINEAR)
    opacity = Image.fromarray((80 + 120 * level).astype(np.uint8)).resize(image.size)
    return Image.composite(heat, image, opacity)


def outlined(image: Image.Image, region: NDArray[np.bool_]) -> Image.Image:
    """Return the RGB image with an outline around the region (H, W) of its pixels."""
    pixels = np.array(image)
    width = max(1, round(max(image.size) / 400))
    inside = region.astype(np.uint8)
    inner, core = (minimum_filter(inside, 1 + 2 * by) for by in (width, 2 * width))
    pixels[maximum_filter(inside, 1 + 2 * width) > core] = _HALO
    pixels[inside > inner] = _LINE
    return Image.fromarray(pixels)


def side_by_side(
    image: Image.Image, scores: NDArray[np.float32], low: float, high: float, contour: float
) -> Image.Image:
    """Return the RGB image with an outline around scores >= `contour`, and the map (S, S) beside it.

    The image is never tinted, so that what the method points at can be seen.
    """
    panel = image.copy()
    panel.thumbnail((LONGEST, LONGEST))
    enlarged = np.asarray(Image.fromarray(scores).resize(panel.size, Image.Resampling.BILINEAR))
    pixels = np.asarray(outlined(panel, enlarged >= contour))
    gap = np.full((panel.height, max(4, panel.width // 50), 3), 255, np.uint8)
    return Image.fromarray(np.hstack([pixels, gap, coloured(enlarged, low, high)]))
