"""All pixel metrics but the protocol's in fixed memory, each with a bracket that holds the exact value.

Three histograms over score bins: normal pixels, anomalous pixels, and anomalous pixels weighted by one over
their region's size. Nothing is assumed of the order inside a bin, so the brackets are rigorous; values are
their midpoints. The bins are ranges of keys, 2^15 to an octave for scores of magnitude 2^-10 to 2^6 and 2^11
elsewhere: never coarser than 2^16 equal bins on [0, 1], and relative to the score everywhere else.
"""

from __future__ import annotations

import numpy as np

from metrics.aupro import LIMIT
from metrics.keys import LARGEST_FINITE, keys_of
from metrics.table import NOT_STREAMED, Report

_FINE, _COARSE = 8, 12
"""How many low bits of a key a bin ignores."""
_FINE_FROM, _FINE_TO = (int(key) for key in keys_of(np.array([2.0**-10, 2.0**6], dtype=np.float32)))


def _steps(keys: np.ndarray) -> np.ndarray:
    # A sum of steps, so that it never falls where the key rises.
    fine_above = (np.clip(keys, _FINE_FROM, _FINE_TO) - _FINE_FROM) >> _FINE
    fine_below = (np.clip(keys, -_FINE_TO, -_FINE_FROM) + _FINE_FROM) >> _FINE
    return (keys >> _COARSE) + fine_above + fine_below


_LOWEST, _HIGHEST = (
    int(step) for step in _steps(np.array([-LARGEST_FINITE, LARGEST_FINITE], dtype=np.int32))
)
BINS = _HIGHEST - _LOWEST + 1
"""How many bins there are."""
BYTES = 3 * 8 * BINS
"""What the histograms take, however many images there are."""
_BLOCK = 1 << 16


def bins_of(keys: np.ndarray) -> np.ndarray:
    """Return the bin, from 0 to `BINS` - 1, of each int32 key of a finite score."""
    return _steps(keys) - np.int32(_LOWEST)


class Histograms:
    """Keeps counts per bin, never a score."""

    def __init__(self) -> None:
        self._normal = np.zeros(BINS, dtype=np.int64)
        self._anomalous = np.zeros(BINS, dtype=np.int64)
        self._overlap = np.zeros(BINS, dtype=np.float64)
        self._regions = 0
        self._first, self._after = BINS, 0  # of the bins that are not empty

    def add(self, keys: np.ndarray, mask: np.ndarray, regions: np.ndarray, sizes: np.ndarray) -> None:
        """Take an image: int32 keys (H, W), mask (H, W, bool) and its regions as `label_regions` says."""
        bins = bins_of(keys)
        self._first, self._after = min(self._first, int(bins.min())), max(self._after, int(bins.max()) + 1)
        _tally(self._normal, bins[~mask])
        _tally(self._anomalous, bins[mask])
        _tally(self._overlap, bins[mask], 1 / sizes[regions])
        self._regions += sizes.size

    def falling(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return normal and anomalous pixels and mean share of a region in each bin that is not empty.

        From the highest bin down; int64, int64 and float64 (n,). The shares add up to 1.
        """
        spanned = slice(self._first, self._after)
        used = np.flatnonzero(self._normal[spanned] + self._anomalous[spanned])[::-1] + self._first
        return self._normal[used], self._anomalous[used], self._overlap[used] / max(self._regions, 1)

    def report(self, low: int, high: int) -> Report:
        """Return midpoints and brackets of a class that has normal and anomalous pixels."""
        brackets = self._brackets()
        return Report(
            values={"pixel_aupro": None} | {key: sum(bounds) / 2 for key, bounds in brackets.items()},
            reasons={"pixel_aupro": NOT_STREAMED},
            brackets=brackets,
        )

    def _brackets(self) -> dict[str, tuple[float, float]]:
        negatives, positives = int(self._normal.sum()), int(self._anomalous.sum())
        limit = LIMIT * negatives
        pairs = tied_pairs = fp = tp = 0
        overlap = 0.0
        area, precision, f1max = np.zeros(2), np.zeros(2), np.zeros(2)  # at least, at most
        for stop in range(self._after, self._first, -_BLOCK):
            block = slice(max(stop - _BLOCK, self._first), stop)
            n, p, w = (counts[block][::-1] for counts in (self._normal, self._anomalous, self._overlap))
            if not (n.any() or p.any()):
                continue
            fp_after, tp_after, overlap_after = fp + n.cumsum(), tp + p.cumsum(), overlap + w.cumsum()
            fp_before, tp_before = fp_after - n, tp_after - p
            overlap_before = np.concatenate(([overlap], overlap_after[:-1]))

            pairs += int((p * (negatives - fp_after)).sum())
            tied_pairs += int((p * n).sum())
            width = np.minimum(fp_after, limit) - np.minimum(fp_before, limit)
            area += (width * overlap_before).sum(), (width * overlap_after).sum()
            # Bins without anomalous pixels have weight 0, whatever the precision.
            worst = (tp_before + 1) / (tp_before + 1 + fp_after)
            best = tp_after / np.maximum(tp_after + fp_before, 1)
            precision += (p * worst).sum(), (p * best).sum()
            f1 = [2 * tp_after / (tp_after + false + positives) for false in (fp_after, fp_before)]
            f1max = np.maximum(f1max, [f1[0].max(), f1[1].max()])
            fp, tp, overlap = int(fp_after[-1]), int(tp_after[-1]), float(overlap_after[-1])
        # Sums of n positive float64 are off by at most n units of the last place.
        slack = (positives + 2 * BINS) * 2.0**-52
        return {
            key: (max(float(least) - slack, 0.0), min(float(most) + slack, 1.0))
            for key, (least, most) in {
                "pixel_auroc": np.array([pairs, pairs + tied_pairs]) / (positives * negatives),
                "pixel_aupro_exact": area / (self._regions * limit),
                "pixel_f1max": f1max,
                "pixel_ap": precision / positives,
            }.items()
        }


def _tally(histogram: np.ndarray, bins: np.ndarray, weights: np.ndarray | None = None) -> None:
    if not bins.size:
        return
    first, last = int(bins.min()), int(bins.max())
    if weights is None and last - first > bins.size:
        np.add.at(histogram, bins, 1)  # a small map over a wide range of scores: few of the bins between
    else:
        histogram[first : last + 1] += np.bincount(bins - first, weights=weights)
