"""Patch features to anomaly maps: the steps that several papers share, each exactly once."""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d
from torch import Tensor


def similarity_logits(features: Tensor, text: Tensor, temperature: float | Tensor) -> Tensor:
    """Cosine similarities of features with (normal, abnormal) text features, over the temperature.

    `features` (B, ..., D) and `text` (2, D) or (B, 2, D), both of unit length; returns (B, ..., 2).
    """
    if text.dim() == 2:
        return features @ text.mT / temperature
    middle = features.flatten(1, -2) if features.dim() > 2 else features[:, None]
    logits = middle @ text.mT / temperature
    return logits.reshape(*features.shape[:-1], 2)


def to_grid(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Reshape row-major patch values (B, N, C) to (B, C, rows, columns)."""
    return tokens.mT.reshape(tokens.shape[0], tokens.shape[2], *grid)


def neighbourhood_mean(tokens: Tensor, grid: tuple[int, int], side: int) -> Tensor:
    """Average patches (B, N, C) over the odd square `side` x `side` around each; outside are zeros."""
    return F.avg_pool2d(to_grid(tokens, grid), side, stride=1, padding=side // 2).flatten(2).mT


def upsample(maps: Tensor, size: int | tuple[int, int], *, align_corners: bool) -> Tensor:
    """Enlarge maps (B, C, h, w) to (B, C, size, size), bilinear, without anti-aliasing."""
    target = (size, size) if isinstance(size, int) else size
    return F.interpolate(maps, size=target, mode="bilinear", align_corners=align_corners)


def probability_maps(logits: Tensor, grid: tuple[int, int], size: int) -> Tensor:
    """Return (normal, abnormal) maps (B, 2, size, size): the softmax of enlarged patch logits (B, N, 2)."""
    return upsample(to_grid(logits, grid), size, align_corners=True).softmax(dim=1)


def enlarge(values: Tensor, grid: tuple[int, int], size: int, *, mode: str = "bilinear") -> Tensor:
    """Enlarge row-major patch values (B, K, N, C) of K maps to (B, K, C, size, size); no corners aligned."""
    large = F.interpolate(to_grid(values.flatten(0, 1), grid), size=(size, size), mode=mode)
    return large.unflatten(0, values.shape[:2])


_BAND = 64
"""Rows that are smoothed at once on a CPU: of all rows they need only those within the filter's reach."""


@lru_cache(maxsize=16)
def _smoothing_matrix(length: int, sigma: float) -> Tensor:
    # SciPy's own filter applied to the identity: its kernel, truncation and "reflect" border in one matrix.
    matrix = gaussian_filter1d(np.eye(length), sigma, axis=0)
    with torch.inference_mode(False):  # kept: it must also serve where gradients are wanted
        return torch.from_numpy(matrix.astype(np.float32))


def _smooth_down(maps: Tensor, sigma: float) -> Tensor:
    length = maps.shape[-2]
    matrix = _smoothing_matrix(length, sigma).to(maps.device)
    if maps.device.type != "cpu":  # one large product is quicker there than a few small ones
        return matrix @ maps
    reach = int(4 * sigma + 0.5)
    bands = []
    for start in range(0, length, _BAND):
        near = slice(max(start - reach, 0), start + _BAND + reach)
        bands.append(matrix[start : start + _BAND, near] @ maps[..., near, :])
    return torch.cat(bands, dim=-2)


def gaussian_smooth(maps: Tensor, sigma: float) -> Tensor:
    """Smooth maps (B, H, W) as `scipy.ndimage.gaussian_filter(map, sigma)` does, on any device.

    Border "reflect", truncated at 4 sigma. `sigma` 0 returns the maps unchanged.
    """
    if sigma == 0:
        return maps
    down = _smooth_down(maps.float(), float(sigma))
    return _smooth_down(down.mT, float(sigma)).mT.contiguous()


def resize_positions(
    positions: Tensor, grid: tuple[int, int], *, mode: str, antialias: bool, offset: float = 0.0
) -> Tensor:
    """Interpolate a learned position embedding (1 + G * G, D), class row first, to (1 + rows * columns, D).

    The class row is kept. A grid that fits is returned as it is. Always start from the pretrained
    embedding: interpolating an interpolated one is another embedding. With an `offset` the coordinates are
    those of a grid larger by it, as DINO's code has it against rounding (0.1 of a patch).
    """
    side = round((positions.shape[0] - 1) ** 0.5)
    if side * side != positions.shape[0] - 1:
        raise ValueError(
            f"a position embedding of {positions.shape[0]} rows is not a class row and a square grid"
        )
    if grid == (side, side):
        return positions
    rows = positions[1:].reshape(1, side, side, -1).permute(0, 3, 1, 2).float()
    factors = tuple((length + offset) / side for length in grid) if offset else None
    resized = F.interpolate(
        rows,
        size=None if factors else grid,
        scale_factor=factors,
        mode=mode,
        align_corners=False,
        antialias=antialias,
    )
    flat = resized.permute(0, 2, 3, 1).reshape(grid[0] * grid[1], -1).to(positions.dtype)
    return torch.cat([positions[:1], flat])
