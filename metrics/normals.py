"""The keys of a class's normal pixels: kept where the maps are, sorted once, then only counted in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from metrics.groups import CHUNK, Groups, joined

if TYPE_CHECKING:
    import torch


BITS = 16
"""How many low bits of a key are kept."""
DENSE = 1 << 13
"""From so many keys in a group on, a table of counts beats sorting and searching them."""
FEW = 4
"""Up to so many keys to be counted in a group are compared with all of it."""

Counter = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Ascending uint16 (n,) -> how many of a group are below each and up to each, two int64 (n,)."""


class NumpyNormals:
    """A bag of int32 keys that answers how many of them reach or exceed given keys.

    In main memory: 16 bits a key, grouped by the others.
    """

    def __init__(self) -> None:
        self._keys = Groups(np.int32, kept=np.uint16, shift=BITS)
        self._opened: tuple[int, Counter] | None = None

    def __len__(self) -> int:
        return len(self._keys)

    def split(self, keys: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Keep the keys (H, W) outside `mask` (H, W, bool); return those inside, in raster order."""
        self._keys.extend(keys[~mask] if mask.any() else keys.ravel())
        return keys[mask]

    def sort(self) -> None:
        """Make ready for `count`: group what is not yet grouped."""
        self._keys.close()
        self._opened = None
        if self._keys.small is None:
            self._first, sizes = self._keys.sizes()
            self._before = np.concatenate(([0], sizes.cumsum()))

    def count(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how many kept keys are >= and > each of `keys` (n,), which ascend; two int64 (n,)."""
        if self._keys.small is not None:
            below, up_to = _search(self._keys.small, keys)
        else:
            below, up_to = np.empty((2, keys.size), dtype=np.int64)
            groups, lows = keys >> BITS, keys.astype(np.uint16)
            starts = np.flatnonzero(np.diff(groups, prepend=groups[:1] - 1))
            for start, stop in pairwise([*starts.tolist(), keys.size]):
                below[start:stop], up_to[start:stop] = self._within(int(groups[start]), lows[start:stop])
        return len(self) - below, len(self) - up_to

    def _within(self, group: int, lows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        counter = self._opened[1] if self._opened and self._opened[0] == group else None
        if counter is None:
            counter = _counter(self._keys.pieces(group), lows.size)
            if lows.size > FEW:  # a group may span many calls
                self._opened = group, counter
        before = self._before[min(max(group - self._first, 0), self._before.size - 1)]
        below, up_to = counter(lows)
        return before + below, before + up_to


def _search(kept: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.searchsorted(kept, wanted, side="left"), np.searchsorted(kept, wanted, side="right")


def _compare(kept: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    counts = [(np.count_nonzero(kept < low), np.count_nonzero(kept <= low)) for low in wanted]
    below, up_to = np.array(counts).T
    return below, up_to


def _counter(pieces: list[np.ndarray], wanted: int) -> Counter:
    """Return what counts the uint16 of a group below given ones and up to them, for `wanted` of them."""
    size = sum(piece.size for piece in pieces)
    if size < DENSE or (wanted <= FEW and size <= CHUNK):
        kept = np.concatenate([np.empty(0, np.uint16), *pieces])
        if wanted <= FEW:
            return partial(_compare, kept)
        kept.sort(kind="stable")  # NumPy's radix sort of 16 bits: no choice of instructions
        return partial(_search, kept)
    table = np.zeros(1 + (1 << BITS), dtype=np.int64)
    for batch in joined(pieces):
        table[1:] += np.bincount(batch, minlength=1 << BITS)
    np.cumsum(table, out=table)
    return lambda lows: (table[lows], table[1:][lows])


class TorchNormals:
    """The same on the device of the tensors it is given, and sorted."""

    def __init__(self) -> None:
        self._chunks: list[torch.Tensor] = []

    def __len__(self) -> int:
        return sum(chunk.numel() for chunk in self._chunks)

    def split(self, keys: torch.Tensor, mask: np.ndarray) -> np.ndarray:
        """See `NumpyNormals.split`."""
        import torch  # noqa: PLC0415 (only where tensors are handed in)

        inside = torch.from_numpy(mask).to(keys.device)
        self._chunks.append(keys[~inside])
        anomalous: np.ndarray = keys[inside].cpu().numpy()
        return anomalous

    def sort(self) -> None:
        """Sort all at once; this takes about five times the keys' own memory for a moment."""
        import torch  # noqa: PLC0415

        self._chunks = [torch.cat(self._chunks).sort().values]

    def count(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `NumpyNormals.count`."""
        import torch  # noqa: PLC0415

        (kept,) = self._chunks
        wanted = torch.from_numpy(keys).to(kept.device)
        reached = kept.numel() - torch.searchsorted(kept, wanted, right=False)
        exceeded = kept.numel() - torch.searchsorted(kept, wanted, right=True)
        return reached.cpu().numpy(), exceeded.cpu().numpy()


Normals = NumpyNormals | TorchNormals
