"""Counts of each image's pixels by score, from which the pixel metrics of any choice of images follow.

For AUROC, AP and F1-max an image is its normal and its anomalous pixels at every level of the score; for the
exact AUPRO it is one number more at every level, its anomalous pixels weighted by one over their region's
size, and how many regions it has. All of these add up over images, so that a resampled class costs one
product of matrices. Scores are rounded to `LEVELS` shared levels: ties within a level are all it costs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from metrics.aupro import LIMIT
from metrics.keys import keys_of
from metrics.regions import label_regions
from metrics.streaming import bins_of

LEVELS = 1024
METRICS = ("pixel_auroc", "pixel_ap", "pixel_f1max", "pixel_aupro_exact")
_MOST = 8192
"""Fine bins that an image may take while others arrive; where it has more, low bits of all are dropped."""


class Counts(NamedTuple):
    """The images of a class, (N, LEVELS) each, the highest level first."""

    normal: np.ndarray
    """Normal pixels."""
    anomalous: np.ndarray
    """Anomalous pixels."""
    overlap: np.ndarray
    """Anomalous pixels, each as one over the size of its region."""
    regions: np.ndarray
    """(N,): regions."""

    def metrics(self, weights: np.ndarray) -> np.ndarray:
        """Return the `METRICS` (4, B) of images that count as often as their weights (B, N) say.

        NaN where no anomalous or no normal pixel was drawn.
        """
        of_image = weights.astype(np.float64)  # products of float64 are fast, and exact for these counts
        hits, alarms = of_image @ self.anomalous, of_image @ self.normal
        ranked = counted_metrics(hits, alarms)
        with np.errstate(invalid="ignore", divide="ignore"):
            overlaps = (of_image @ self.overlap).cumsum(axis=1) / (of_image @ self.regions)[:, None]
            rates = alarms.cumsum(axis=1) / alarms.sum(axis=1, keepdims=True)
        return np.concatenate([ranked, [_aupro(rates, overlaps)]])


class PixelCounts:
    """Takes the maps and masks of a class, one image after the other."""

    def __init__(self) -> None:
        self._images: list[tuple[np.ndarray, ...]] = []
        self._dropped: list[int] = []
        """Of each image: low bits of its bins that are dropped; never fewer than of the one before."""
        self._regions: list[int] = []

    def add(self, scores: np.ndarray, mask: np.ndarray) -> None:
        """Take a map (H, W) of finite float32 and its mask (H, W), 0 or 1."""
        mask = mask.astype(bool)
        dropped = self._dropped[-1] if self._dropped else 0
        bins = bins_of(keys_of(scores)) >> dropped
        while np.count_nonzero(np.bincount((bins - bins.min()).ravel())) > _MOST:
            dropped, bins = dropped + 1, bins >> 1
        regions, sizes = label_regions(mask)
        first = int(bins.min())
        span = int(bins.max()) - first + 1
        normal = np.bincount(bins[~mask] - first, minlength=span)
        anomalous = np.bincount(bins[mask] - first, minlength=span)
        overlap = np.bincount(bins[mask] - first, weights=1 / sizes[regions], minlength=span)
        (used,) = np.nonzero(normal + anomalous)
        self._images.append(
            (
                (used + first).astype(np.int32),
                normal[used].astype(np.uint32),
                anomalous[used].astype(np.uint32),
                overlap[used].astype(np.float32),
            )
        )
        self._dropped.append(dropped)
        self._regions.append(sizes.size)

    def result(self) -> Counts | None:
        """Return the counts on shared levels, narrow where pixels are many; None for one kind alone."""
        if not self._images:
            return None
        all_bins, *others = zip(*self._images, strict=True)
        coarser = [self._dropped[-1] - dropped for dropped in self._dropped]
        bins = np.concatenate([of >> by for of, by in zip(all_bins, coarser, strict=True)])
        normal, anomalous, overlap = map(np.concatenate, others)
        if not normal.any() or not anomalous.any():
            return None
        below = bins.max() - bins
        occurs = np.zeros(int(below.max()) + 1, dtype=np.int64)
        occurs[below] = 1
        place, distinct = (occurs.cumsum() - 1)[below], int(occurs.sum())  # from the highest bin down
        level = np.arange(distinct)
        if distinct > LEVELS:  # each takes an equal share of normal pixels, anomalous pixels and regions
            share = np.zeros(distinct)
            for counts in (normal, anomalous, overlap):
                share += np.bincount(place, counts, distinct) / (3 * counts.sum(dtype=float))
            level = np.minimum((LEVELS * (share.cumsum() - share / 2)).astype(np.int64), LEVELS - 1)
        image = np.repeat(np.arange(len(self._images)), [len(each[0]) for each in self._images])
        cells = image * LEVELS + level[place]
        size = len(self._images) * LEVELS
        normal, anomalous, overlap = (
            np.bincount(cells, weights=counts, minlength=size).reshape(-1, LEVELS).astype(counts.dtype)
            for counts in (normal, anomalous, overlap)
        )
        return Counts(normal, anomalous, overlap, np.array(self._regions, np.uint32))


def counted_metrics(hits: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    """Return AUROC, AP and F1-max (3, B) from counts at each level of the score.

    `hits` and `alarms` (B, levels) are the anomalous and normal items with that score, highest first. NaN
    where there are none of one kind.
    """
    tp, fp = hits.cumsum(axis=1), alarms.cumsum(axis=1)
    called, positives, negatives = tp + fp, tp[:, -1], fp[:, -1]
    pairs = (hits * (2 * negatives[:, None] - 2 * fp + alarms)).sum(axis=1)
    precisions = hits * (tp / np.maximum(called, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        auroc, ap = pairs / (2 * positives * negatives), precisions.sum(axis=1) / positives
        f1max = (2 * tp / (called + positives[:, None])).max(axis=1)
    return np.where(np.isnan(auroc), np.nan, [auroc, ap, f1max])


def _aupro(rates: np.ndarray, overlaps: np.ndarray) -> np.ndarray:
    """Return the share of the area under lines through (rate, overlap) (B, levels) up to `LIMIT`."""
    before, below = (np.pad(values[:, :-1], ((0, 0), (1, 0))) for values in (rates, overlaps))
    width = rates - before
    part = np.clip((LIMIT - before) / np.where(width > 0, width, 1), 0, 1)
    areas: np.ndarray = (width * part * (below + (overlaps - below) * part / 2)).sum(axis=1) / LIMIT
    return areas
