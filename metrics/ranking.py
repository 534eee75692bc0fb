"""AUROC, AP and F1-max as sums over the anomalous items, whatever an item is.

For an anomalous item let `tp` be the anomalous items that score at least as high (itself included), `fp` the
normal ones that do, and `fp_above` the normal ones that score higher. Then, with P anomalous and N normal
items, and ties never split:

- AUROC is the mean of (N - (fp + fp_above) / 2) / N,
- AP the mean of tp / (tp + fp),
- F1-max the maximum of 2 tp / (tp + fp + P): between anomalous scores F1 only falls.
"""

from __future__ import annotations

import math

import numpy as np


class RankSums:
    """Gathers the three metrics from blocks of anomalous items, by ascending score."""

    def __init__(self, positives: int, negatives: int) -> None:
        self.positives = positives
        self.negatives = negatives
        self.f1max = 0.0
        self.f1max_threshold: float | int = 0
        """The lowest score (or key) that reaches F1-max when scores >= it are called anomalous."""
        self._pairs = 0
        self._precisions: list[float] = []

    def add(self, tp: np.ndarray, fp: np.ndarray, fp_above: np.ndarray, scores: np.ndarray) -> None:
        """Take a block: int64 counts (n,) and the scores (n,), ascending also from block to block."""
        self._pairs += int((2 * self.negatives - fp - fp_above).sum())
        self._precisions.append(float((tp / (tp + fp)).sum()))
        f1 = 2 * tp / (tp + fp + self.positives)
        best = int(f1.argmax())
        if f1[best] > self.f1max:
            self.f1max = float(f1[best])
            self.f1max_threshold = scores[best].item()

    @property
    def auroc(self) -> float:
        """The area under the ROC curve; the pairs are counted in integers."""
        return self._pairs / (2 * self.positives * self.negatives)

    @property
    def ap(self) -> float:
        """The average precision."""
        return math.fsum(self._precisions) / self.positives
