"""A paired bootstrap of the image metrics: two methods scored on the same resampled images.

Images are drawn with replacement within their label, as many as there are, so that every resample has
anomalous and normal ones. What makes an image hard for both methods drops out of the difference.
Percentile intervals: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. AUROC is
unbiased under resampling; F1-max chooses a threshold in every resample anew and is lifted most where a
method ranks badly and images are few, so its intervals may lean to one side there.
"""

import hashlib
from collections.abc import Iterator

import numpy as np

METRICS = ("image_auroc", "image_ap", "image_f1max")
_BLOCK = 256
"""Resamples worked on at a time; bounds the memory. Another value draws other resamples."""


def weighted_metrics(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return AUROC, AP and F1-max (3, resamples) of images that count as often as their weights say.

    `labels` (n,) are 0 or 1, `scores` (n,) finite, `weights` (resamples, n) int64 counts, with at least one
    image of each label in every resample. Ties are never split, as in `metrics.image_metrics`.
    """
    order = np.argsort(-scores, kind="stable")
    falls = np.diff(scores[order], prepend=np.inf) != 0
    levels = np.flatnonzero(falls)
    counts, anomalous = weights[:, order], labels[order] == 1
    hits = np.add.reduceat(counts * anomalous, levels, axis=1)
    alarms = np.add.reduceat(counts * ~anomalous, levels, axis=1)
    tp, fp = hits.cumsum(axis=1), alarms.cumsum(axis=1)
    called, positives, negatives = tp + fp, tp[:, -1], fp[:, -1]
    pairs = (hits * (2 * negatives[:, None] - 2 * fp + alarms)).sum(axis=1)
    precisions = hits * (tp / np.maximum(called, 1))
    f1 = 2 * tp / (called + positives[:, None])
    return np.stack([pairs / (2 * positives * negatives), precisions.sum(axis=1) / positives, f1.max(axis=1)])


def paired_differences(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, *, resamples: int, seed: int, name: str
) -> np.ndarray:
    """Return the resampled differences `first - second` of the three metrics (3, resamples).

    `first` and `second` are scores (training seeds, n) of the same images; a method's metric in a resample
    is the mean over its training seeds. What is drawn depends on `seed`, the class's `name` and the labels
    alone: neither on the methods nor on what else is compared.
    """
    rng = np.random.default_rng([seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")])
    blocks = [
        _mean_metrics(labels, first, weights) - _mean_metrics(labels, second, weights)
        for weights in _resampled(labels, resamples, rng)
    ]
    return np.concatenate(blocks, axis=1)


def _mean_metrics(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.mean([weighted_metrics(labels, of_seed, weights) for of_seed in scores], axis=0)


def _resampled(labels: np.ndarray, resamples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield blocks of weights (at most `_BLOCK`, n): how often each image was drawn."""
    for start in range(0, resamples, _BLOCK):
        count = min(_BLOCK, resamples - start)
        weights = np.zeros((count, labels.size), dtype=np.int64)
        for label in (0, 1):
            (members,) = np.nonzero(labels == label)
            drawn = rng.integers(members.size, size=(count, members.size))
            drawn += np.arange(count)[:, None] * members.size
            times = np.bincount(drawn.ravel(), minlength=count * members.size)
            weights[:, members] = times.reshape(count, members.size)
        yield weights
