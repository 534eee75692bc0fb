"""AUPRO twice: the area MVTec defined, and the 200-threshold approximation that papers print.

Both average over the regions of a class, each with equal weight, and go up to a false positive rate of 0.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from metrics.keys import keys_of
from metrics.normals import Normals
from metrics.table import CONSTANT_MAPS, NO_THRESHOLDS, NO_WIDTH

LIMIT = 0.3
"""The largest false positive rate that counts."""
STEPS = 200

FEW_THRESHOLDS = 20
LOW_FPR = 0.25


class RegionAreas:
    """Gathers the exact AUPRO from blocks of anomalous pixels.

    The per-region overlap at a threshold is the mean over regions of the covered share, so the area under
    it is the mean over regions of the area under that region's own curve; and in a region's curve each
    pixel lifts everything to the right of its own false positive rate. A pixel that no normal pixel ties
    with adds (0.3 N - fp) / (0.3 N) of 1 / |region|; tied normal pixels make its step a straight slope.
    In units of 1 / (3 N) everything but the slope that crosses 0.3 is an integer, so nothing is rounded.
    """

    def __init__(self, sizes: np.ndarray, negatives: int) -> None:
        self._sizes = sizes
        self._full = 3 * negatives
        self._areas = np.zeros(sizes.size)

    def add(self, regions: np.ndarray, fp: np.ndarray, fp_above: np.ndarray) -> None:
        """Take a block by ascending score: its regions (n,) and the counts as in `RankSums.add`."""
        room = self._full - 10 * fp_above
        inside = int(np.count_nonzero(room <= 0))  # from here on the false positive rate is below 0.3
        regions, fp, fp_above, room = regions[inside:], fp[inside:], fp_above[inside:], room[inside:]
        area = (self._full - 5 * (fp + fp_above)).astype(np.float64)
        across = 10 * fp > self._full
        area[across] = room[across].astype(np.float64) ** 2 / (20 * (fp - fp_above)[across])
        np.add.at(self._areas, regions, area)

    @property
    def aupro(self) -> float:
        """The mean over regions, as a fraction of the largest possible area."""
        return float((self._areas / (self._sizes * float(self._full))).mean())


class Overlaps:
    """Gathers the per-region overlap above some scores from blocks of anomalous pixels."""

    def __init__(self, sizes: np.ndarray, cuts: np.ndarray) -> None:
        self._sizes = sizes
        self._cuts = cuts
        self._covered = sizes.copy()
        self._means: list[float] = []

    def add(self, keys: np.ndarray, regions: np.ndarray) -> None:
        """Take a block of int32 keys and their regions, both (n,), ascending also from block to block."""
        stops = np.searchsorted(keys, self._cuts[len(self._means) :], side="right")
        stops = stops[stops < keys.size]  # the next block may go on below the other cuts
        start = 0
        for stop in stops:
            np.subtract.at(self._covered, regions[start:stop], 1)
            self._means.append(self._mean())
            start = stop
        np.subtract.at(self._covered, regions[start:], 1)

    def _mean(self) -> float:
        return float((self._covered / self._sizes).mean())

    @property
    def values(self) -> np.ndarray:
        """The mean over regions of the share with keys > each of the ascending int32 `cuts`, float64 (n,)."""
        rest = self._cuts.size - len(self._means)
        return np.array([*self._means, *[self._mean()] * rest])


class Flavour(NamedTuple):
    """How an environment does the protocol's arithmetic; on maps with few levels the number depends on it."""

    thresholds: Callable[[np.float32, np.float32], np.ndarray]
    """Lowest and highest score -> ascending float32 thresholds; a pixel above one is anomalous."""
    rate: type[np.floating]
    """The type of false positive rates."""


def _numpy1(low: np.float32, high: np.float32) -> np.ndarray:
    start, span = float(low), float(high - low)
    step = span / STEPS
    grid = start + np.arange(math.ceil(span / step)) * ((start + step) - start)
    return grid.astype(np.float32)


def _numpy2(low: np.float32, high: np.float32) -> np.ndarray:
    span = high - low
    step = np.float32(span / np.float32(STEPS))
    start = float(low)
    grid = start + np.arange(math.ceil(span / step)) * (float(low + step) - start)
    # There the comparison is in float64: score > c as if c were the next float32 that is not above it.
    rounded = grid.astype(np.float32)
    return np.where(rounded > grid, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _torch_cpu(low: np.float32, high: np.float32) -> np.ndarray:
    start, span = float(low), float(high) - float(low)
    step = span / STEPS
    return (start + np.arange(math.ceil(span / step)) * step).astype(np.float32)


FLAVOURS: Mapping[str, Flavour] = {
    "numpy1": Flavour(_numpy1, np.float64),
    "numpy2": Flavour(_numpy2, np.float64),
    "torch_cpu": Flavour(_torch_cpu, np.float32),
}
"""The published function under NumPy 1 (most papers), under NumPy 2, and its port to torch on a CPU."""


class Protocol(NamedTuple):
    """The 200-threshold number and the curve it rests on."""

    aupro: float | None
    reason: str = ""
    """Why there is no number; empty if there is one."""
    rates: np.ndarray = np.empty(0)
    """False positive rates below 0.3, (n,), by ascending threshold, thus descending."""
    overlaps: np.ndarray = np.empty(0)
    """Per-region overlaps at the same thresholds, float64 (n,)."""

    @property
    def largest_fpr(self) -> float:
        """The largest false positive rate used, in [0, 0.3)."""
        return float(self.rates.max(initial=0))

    @property
    def few_thresholds(self) -> bool:
        """Whether the number says little: few thresholds count, or none near the limit."""
        return self.rates.size < FEW_THRESHOLDS or self.largest_fpr < LOW_FPR


class ProtocolArea:
    """Gathers the protocol's number from blocks of anomalous pixels, by ascending score."""

    def __init__(
        self, flavour: str, low: np.float32, high: np.float32, normals: Normals, sizes: np.ndarray
    ) -> None:
        """Choose the thresholds of a class that has pixels of either kind.

        `flavour` is a key of `FLAVOURS`, `low` and `high` are the lowest and highest score of the class,
        `sizes` (R,) are those of its regions.
        """
        thresholds, rate = FLAVOURS[flavour]
        self._reason = CONSTANT_MAPS if low == high else ""
        cuts = np.empty(0, np.int32)
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            try:
                cuts = keys_of(thresholds(low, high)) if low != high else cuts
            except (OverflowError, ValueError):  # a number of thresholds that is infinite or NaN
                self._reason = NO_THRESHOLDS
        rates = (normals.count(cuts)[1] / len(normals)).astype(rate)
        kept = rates < rate(LIMIT)
        self._rates = rates[kept]
        self._overlaps = Overlaps(sizes, cuts[kept])
        self.add = self._overlaps.add

    def result(self) -> Protocol:
        """Return the number, or why there is none, when all blocks are in."""
        rates, overlaps = self._rates, self._overlaps.values
        reason = self._reason or ("" if rates.size and rates[0] != rates[-1] else NO_WIDTH)
        if reason:
            return Protocol(None, reason, rates, overlaps)
        stretched = (rates - rates.min()) / (rates.max() - rates.min())
        area = -float(np.trapezoid(overlaps, stretched)) + 0.0  # from right to left; -0.0 becomes 0.0
        return Protocol(area, "", rates, overlaps)
