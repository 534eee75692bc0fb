"""Integers grouped by their high bits while they arrive, so that nothing large is ever sorted.

How fast a library sorts depends on the instructions it picks: on AMD Zen 4 NumPy's AVX-512 sort takes seven
times as long as its AVX2 one. Grouping is one counting pass, which SciPy does when it turns a sparse row into
columns, equally fast everywhere. What is left to do within a group is done in the cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

CHUNK = 1 << 18
"""Values that are grouped at once; the temporaries of that, a few megabytes, stay in the cache."""
SMALL = 1 << 17
"""Up to so many values are sorted at once: that is quicker than a look at each group."""


class _Chunk(NamedTuple):
    values: np.ndarray
    first: int
    """The lowest group that occurs."""
    starts: memoryview
    """Where each group from the first on starts, and where the last one ends."""


class Groups:
    """Groups int32 or int64 values by `value >> shift`.

    Values are kept as `kept`, cut to its low bits, chunk by chunk. Where groups are many and chunks are few,
    the borders between groups take up to 4 bytes a group and chunk. At most `SMALL` values are not grouped
    but sorted.
    """

    def __init__(self, arriving: type[np.integer], kept: type[np.integer], shift: int) -> None:
        self._waiting = np.empty(CHUNK, dtype=arriving)
        self._used = 0
        self._kept = kept
        self._shift = shift
        self._chunks: list[_Chunk] = []

    def __len__(self) -> int:
        return sum(chunk.values.size for chunk in self._chunks) + self._used

    def extend(self, values: np.ndarray) -> None:
        """Add `values` (n,)."""
        while values.size:
            part = values[: self._waiting.size - self._used]
            self._waiting[self._used : self._used + part.size] = part
            self._used += part.size
            values = values[part.size :]
            if self._used == self._waiting.size:
                self._group()

    def close(self) -> None:
        """Make ready for reading; more values may be added later."""
        if self._used and (self._chunks or self._used > SMALL):
            self._group()
        self._waiting[: self._used].sort()

    def _group(self) -> None:
        values, self._used = self._waiting[: self._used], 0
        groups = (values >> self._shift).astype(np.int32, copy=False)
        first = int(groups.min())
        groups -= np.int32(first)
        row = csr_array(
            (values.astype(self._kept), groups, np.array([0, values.size], np.int32)),
            shape=(1, int(groups.max()) + 1),
        )
        columns = row.tocsc()
        self._chunks.append(_Chunk(columns.data, first, memoryview(columns.indptr)))

    @property
    def small(self) -> np.ndarray | None:
        """All values, sorted, if they are so few that they were not grouped."""
        return None if self._chunks else self._waiting[: self._used]

    def sizes(self) -> tuple[int, np.ndarray]:
        """Return the lowest group and how many values it and each one above it hold, int64 (n,)."""
        first = min(chunk.first for chunk in self._chunks)
        stop = max(chunk.first + len(chunk.starts) - 1 for chunk in self._chunks)
        sizes = np.zeros(stop - first, dtype=np.int64)
        for chunk in self._chunks:
            at = chunk.first - first
            sizes[at : at + len(chunk.starts) - 1] += np.diff(chunk.starts)
        return first, sizes

    def pieces(self, group: int) -> list[np.ndarray]:
        """Return the values of a group as views, of at most `CHUNK` values each."""
        pieces = []
        for values, first, starts in self._chunks:
            at = group - first
            if 0 <= at < len(starts) - 1 and starts[at] < starts[at + 1]:
                pieces.append(values[starts[at] : starts[at + 1]])
        return pieces


def joined(pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Join successive pieces of at most `CHUNK` values to as few arrays of at most so many."""
    held: list[np.ndarray] = []
    size = 0
    for piece in pieces:
        if held and size + piece.size > CHUNK:
            yield np.concatenate(held)
            held, size = [], 0
        held.append(piece)
        size += piece.size
    if held:
        yield np.concatenate(held)
