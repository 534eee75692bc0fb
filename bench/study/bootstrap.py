"""A paired bootstrap over the images of a class: all methods are scored on the same resampled images.

Images are drawn with replacement within their label, as many as there are, so that every resample has
anomalous and normal ones. What makes an image hard for all methods drops out of their differences. AUROC is
unbiased under resampling; F1-max chooses a threshold in every resample anew and is lifted most where a
method ranks badly and images are few, so its intervals may lean to one side there.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from metrics.counts import counted_metrics

METRICS = ("image_auroc", "image_ap", "image_f1max")
_BLOCK = 256
"""Resamples worked on at a time; bounds the memory. Another value draws other resamples."""


def draw(labels: np.ndarray, resamples: int, seed: int, name: str) -> Iterator[np.ndarray]:
    """Yield blocks of weights (at most 256, n) int64: how often each image was drawn.

    `labels` (n,) are 0 or 1. What is drawn depends on `seed`, the class's `name` and the labels alone:
    neither on the methods nor on what else is compared.
    """
    rng = np.random.default_rng([seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")])
    for start in range(0, resamples, _BLOCK):
        count = min(_BLOCK, resamples - start)
        weights = np.zeros((count, labels.size), dtype=np.int64)
        for label in np.unique(labels):
            (members,) = np.nonzero(labels == label)
            drawn = rng.integers(members.size, size=(count, members.size))
            drawn += np.arange(count)[:, None] * members.size
            times = np.bincount(drawn.ravel(), minlength=count * members.size)
            weights[:, members] = times.reshape(count, members.size)
        yield weights


Measure = Callable[[np.ndarray], np.ndarray]
"""Weights (resamples, n) of images -> metrics (metrics, resamples), such as `Counts.metrics`."""


def resampled(
    labels: np.ndarray, measures: Sequence[Measure], *, resamples: int, seed: int, name: str
) -> np.ndarray:
    """Return a method's metrics in every resample (metrics, resamples): the mean over its training seeds.

    `measures` has one entry a training seed, each for the images that `labels` (n,) belong to. `seed` and
    `name` as in `draw`.
    """
    blocks = [
        np.mean([measure(weights) for measure in measures], axis=0)
        for weights in draw(labels, resamples, seed, name)
    ]
    return np.concatenate(blocks, axis=1)


def weighted_metrics(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return AUROC, AP and F1-max (3, resamples) of images that count as often as their weights say.

    `labels` (n,) are 0 or 1, `scores` (n,) finite, `weights` (resamples, n) int64 counts, with at least one
    image of each label in every resample. Ties are never split, as in `metrics.image_metrics`.
    """
    order = np.argsort(-scores, kind="stable")
    levels = np.flatnonzero(np.diff(scores[order], prepend=np.inf) != 0)
    counts, anomalous = weights[:, order], labels[order] == 1
    hits = np.add.reduceat(counts * anomalous, levels, axis=1)
    alarms = np.add.reduceat(counts * ~anomalous, levels, axis=1)
    return counted_metrics(hits, alarms)
