"""The anomalous pixels of a class with their regions, walked by ascending key in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from metrics.groups import CHUNK, Groups, joined

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
    """Key and region of each anomalous pixel in the two halves of an int64, grouped by the key."""

    def __init__(self) -> None:
        self._packed = Groups(np.int64, kept=np.int64, shift=48)
        self._sizes: list[np.ndarray] = []
        self._regions = 0

    def __len__(self) -> int:
        return len(self._packed)

    @property
    def sizes(self) -> np.ndarray:
        """Pixel counts of the regions, int64 (R,), by image and then in raster order."""
        return np.concatenate([np.empty(0, np.int64), *self._sizes])

    def extend(self, keys: np.ndarray, regions: np.ndarray, sizes: np.ndarray) -> None:
        """Append an image's int32 keys (n,), regions (n,) numbered from 0, and their sizes."""
        self._packed.extend(keys.astype(np.int64) << 32 | (regions + self._regions))
        self._sizes.append(sizes)
        self._regions += sizes.size

    def walk(self) -> Iterator[Block]:
        """Yield all pixels in blocks; equal keys get the same `tp` even where a block ends among them."""
        self._packed.close()
        start, last, first = 0, None, 0
        for packed in _in_blocks(self._ascending()):
            keys = (packed >> 32).astype(np.int32)
            first_equal = np.arange(start, start + keys.size)
            if keys[0] == last:
                first_equal[0] = first
            first_equal[1:][keys[1:] == keys[:-1]] = 0
            np.maximum.accumulate(first_equal, out=first_equal)
            yield Block(keys, packed & _REGION, len(self) - first_equal)
            start, last, first = start + keys.size, keys[-1], first_equal[-1]

    def _ascending(self) -> Iterator[np.ndarray]:
        """Yield packed pixels by ascending key, those of equal key in any order."""
        if self._packed.small is not None:
            yield self._packed.small
            return
        first, sizes = self._packed.sizes()
        for group in np.flatnonzero(sizes).tolist():
            pieces = self._packed.pieces(first + group)
            yield from _sorted(pieces) if sizes[group] <= CHUNK else _divided(pieces)


def _lows(packed: np.ndarray) -> np.ndarray:
    return (packed >> 32).astype(np.uint16)


def _sorted(pieces: list[np.ndarray]) -> Iterator[np.ndarray]:
    packed = np.concatenate(pieces)
    yield packed[np.argsort(_lows(packed), kind="stable")]


def _divided(pieces: list[np.ndarray]) -> Iterator[np.ndarray]:
    """As `_sorted` in little memory: ranges of at most a chunk, or of a single key, one after the other."""
    counts = np.zeros(1 << 16, dtype=np.int64)
    for batch in joined(map(_lows, pieces)):
        counts += np.bincount(batch, minlength=counts.size)
    low = 0
    while low < counts.size:
        within = int(np.searchsorted(counts[low:].cumsum(), CHUNK, side="right"))
        stop = low + max(within, 1)
        chosen = (piece[(low <= _lows(piece)) & (_lows(piece) < stop)] for piece in pieces)
        yield from chosen if stop == low + 1 else _sorted(list(chosen))
        low = stop


def _in_blocks(pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Join and cut what comes into blocks of `BLOCK` and a last one."""
    held, size = [np.empty(0, np.int64)], 0
    for piece in pieces:
        held.append(piece)
        size += piece.size
        if size >= BLOCK:
            joined = np.concatenate(held)
            whole = size - size % BLOCK
            for start in range(0, whole, BLOCK):
                yield joined[start : start + BLOCK]
            held, size = [joined[whole:]], size - whole
    if size:
        yield np.concatenate(held)
