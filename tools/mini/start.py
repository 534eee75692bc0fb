"""How an image encoder begins: patches attend to patches like them, and what these share is subtracted.

Mimetic initialisation (Trockman and Kolter, ICML 2023, arXiv 2305.09828): at the start every block's
queries and keys agree where tokens are similar, and its values and projection subtract what is found there.
A small transformer that has to find what differs from its surroundings starts close to that.
"""

import math

import torch
from torch import Tensor

_CHANCE, _LIKE = 0.4, 1.0  # queries against keys: random, and alike
_NOISE, _AWAY = 0.2, 0.6  # values into the projection: random, and subtracted
_POSITIONS = 0.2  # size of a wave in the position embedding


@torch.no_grad()
def mimetic_attention(
    qkv: Tensor, qkv_bias: Tensor, projection: Tensor, projection_bias: Tensor, *, heads: int
) -> None:
    """Fill in place one attention: `qkv` (3 D, D), ordered q, k, v, `projection` (D, D), and their biases."""
    qkv_bias.zero_()
    projection_bias.zero_()
    width = len(projection)
    each = width // heads
    query, key, value = qkv.chunk(3)
    for rows in range(0, width, each):
        left, sizes, right = torch.linalg.svd(_near_identity(width, _CHANCE, _LIKE))
        roots = sizes[:each].sqrt()[:, None]
        query[rows : rows + each] = roots * left.mT[:each]
        key[rows : rows + each] = roots * right[:each]
    left, sizes, right = torch.linalg.svd(_near_identity(width, _NOISE, -_AWAY))
    value.copy_(sizes.sqrt()[:, None] * right)
    projection.copy_(left * sizes.sqrt())


def _near_identity(width: int, noise: float, diagonal: float) -> Tensor:
    return noise * torch.randn(width, width) / math.sqrt(width) + diagonal * torch.eye(width)


def position_waves(grid: int, width: int) -> Tensor:
    """Return a position embedding (grid * grid, width): sines and cosines of a patch's column and row."""
    rates = 10000 ** -(torch.arange(width // 4) / (width // 4))
    steps = torch.arange(grid)[:, None] * rates
    one = torch.cat([steps.sin(), steps.cos()], dim=1)
    rows, columns = one[:, None].expand(-1, grid, -1), one[None].expand(grid, -1, -1)
    return _POSITIONS * torch.cat([columns, rows], dim=-1).flatten(0, 1)
