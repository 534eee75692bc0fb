"""The anomalous pixels of a class with their regions: sorted once, then walked in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from metrics.buffers import Buffer

BLOCK = 1 << 15
"""Pixels per block: the temporaries of one, a few megabytes, stay in the cache."""
_REGION = 0xFFFFFFFF


class Block(NamedTuple):
    """Anomalous pixels by ascending key."""

    keys: np.ndarray
    """int32 (n,)"""
    regions: np.ndarray
    """int64 (n,)"""
    tp: np.ndarray
    """How many anomalous pixels of the class have a key at least as large, int64 (n,)."""


class Anomalous:
    """Key and region of each anomalous pixel in the two halves of an int64, 8 bytes."""

    def __init__(self) -> None:
        self._packed = Buffer(np.int64)
        self._sizes = Buffer(np.int64)

    def __len__(self) -> int:
        return len(self._packed)

    @property
    def sizes(self) -> np.ndarray:
        """Pixel counts of the regions, int64 (R,), by image and then in raster order."""
        return self._sizes.values

    def extend(self, keys: np.ndarray, regions: np.ndarray, sizes: np.ndarray) -> None:
        """Append an image's int32 keys (n,), regions (n,) numbered from 0, and their sizes."""
        self._packed.extend(keys.astype(np.int64) << 32 | (regions + len(self._sizes)))
        self._sizes.extend(sizes)

    def sort(self) -> None:
        """Make ready for `walk` and `coverage`."""
        self._packed.values.sort()

    def walk(self) -> Iterator[Block]:
        """Yield all pixels in blocks; equal keys get the same `tp` even where a block ends among them."""
        packed = self._packed.values
        for start in range(0, packed.size, BLOCK):
            block = packed[start : start + BLOCK]
            keys = (block >> 32).astype(np.int32)
            first_equal = np.arange(start, start + block.size)
            first_equal[0] = np.searchsorted(packed, np.int64(keys[0]) << 32)
            first_equal[1:][keys[1:] == keys[:-1]] = 0
            np.maximum.accumulate(first_equal, out=first_equal)
            yield Block(keys, block & _REGION, packed.size - first_equal)

    def coverage(self, cuts: np.ndarray) -> Iterator[np.ndarray]:
        """Yield for each of the ascending int32 keys `cuts`, the last one first, the share of each region
        whose keys are > the cut: float64 (R,).
        """
        packed, sizes = self._packed.values, self.sizes
        starts = np.searchsorted(packed, (cuts.astype(np.int64) + 1) << 32)
        covered = np.zeros(sizes.size, dtype=np.int64)
        stop = packed.size
        for start in starts[::-1]:
            for begin in range(start, stop, BLOCK):
                np.add.at(covered, packed[begin : min(begin + BLOCK, stop)] & _REGION, 1)
            stop = start
            yield covered / sizes
