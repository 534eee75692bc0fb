"""Scores as integers of the same order.

A float32 is a sign and a magnitude. The same number as a two's complement int32, its key, orders as the
score does, and settles every special case: -0.0 and +0.0 share the key 0, subnormal scores stay apart even
where a processor is set to flush them, NaN and infinities lie beyond `LARGEST_FINITE`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

Bits = TypeVar("Bits", np.ndarray, "torch.Tensor")

LARGEST_FINITE = 0x7F7FFFFF
"""Key of the largest finite float32; the smallest has the negated key."""


def keys_of(scores: Bits) -> Bits:
    """Return the int32 keys of float32 scores, an array or a tensor of any shape."""
    if isinstance(scores, np.ndarray):
        bits = np.ascontiguousarray(scores).view(np.int32)
        return bits if bits.min(initial=0) >= 0 else _flip(bits)  # most maps have no negative score
    import torch  # noqa: PLC0415 (only where tensors are handed in)

    return _flip(scores.contiguous().view(torch.int32))


def scores_of(keys: np.ndarray) -> np.ndarray:
    """Return the float32 scores of int32 keys; the key 0 becomes +0.0."""
    return _flip(np.ascontiguousarray(keys)).view(np.float32)


def _flip(bits: Bits) -> Bits:
    # Sign and magnitude to two's complement; the same steps lead back.
    sign = bits >> 31
    return ((bits & 0x7FFFFFFF) ^ sign) - sign
