"""Curves of a class to look at: at pixel level from maps as they come, thinned so that a line stays true.

The pixel metrics are computed elsewhere (`metrics.pixel`), exactly; here scores fall into the fine bins of
`metrics.streaming`, and thresholds are their lower ends.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from metrics.keys import keys_of
from metrics.regions import label_regions
from metrics.streaming import Histograms

POINTS = 64
"""Points that a line is thinned to."""


class Curve(NamedTuple):
    """Rates at falling thresholds, fractions of one, float64 (n,) each."""

    fpr: np.ndarray
    """False positive rate: the share of normal pixels at or above the threshold."""
    recall: np.ndarray
    """True positive rate: that of anomalous pixels."""
    precision: np.ndarray
    overlap: np.ndarray
    """The share of a region at or above the threshold, averaged over the regions: what AUPRO integrates."""


class PixelCurves:
    """Takes the maps and masks of a class, one image after the other; its memory does not grow."""

    def __init__(self) -> None:
        self._histograms = Histograms()

    def add(self, scores: np.ndarray, mask: np.ndarray) -> None:
        """Take a map (H, W) of finite float32 and its mask (H, W), 0 or 1."""
        mask = mask.astype(bool)
        self._histograms.add(keys_of(scores), mask, *label_regions(mask))

    def result(self) -> Curve | None:
        """Return the curve at some 3 x `POINTS` thresholds, that of F1-max among them.

        None without both kinds of pixels.
        Lines through its points stay within a thousandth or so of the whole ROC, precision-recall and
        per-region overlap curves.
        """
        normal, anomalous, overlap = self._histograms.falling()
        fp, tp = normal.cumsum(), anomalous.cumsum()
        if not fp.size or not fp[-1] or not tp[-1]:
            return None
        curve = Curve(fp / fp[-1], tp / tp[-1], tp / np.maximum(fp + tp, 1), overlap.cumsum())
        lines = ((curve.fpr, curve.recall), (curve.fpr, curve.overlap), (curve.recall, curve.precision))
        best = np.argmax(tp / (tp + fp + tp[-1]))
        places = np.unique(np.concatenate([[best], *(along(x, y) for x, y in lines)]))
        return Curve(*(values[places] for values in curve))


def along(x: np.ndarray, y: np.ndarray, count: int = POINTS) -> np.ndarray:
    """Return places of at most `count` points, evenly along the line, the first and the last among them."""
    if x.size <= count:
        return np.arange(x.size)
    way = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    places = np.searchsorted(way, np.linspace(0, way[-1], count - 1)).clip(0, x.size - 1)
    found: np.ndarray = np.union1d(places, [0, x.size - 1])
    return found
