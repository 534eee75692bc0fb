"""The image-level metrics of one class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from metrics.ranking import RankSums
from metrics.table import ONE_CLASS, Report, undefined


def image_metrics(labels: Any, scores: Any, names: Sequence[str] | None = None) -> Report:
    """Compute AUROC, AP and F1-max of one class's image scores.

    `labels` (n,) are 0 (normal) or 1 (anomalous), `scores` (n,) finite, higher for more anomalous, ranked
    as float64. `names` (n,) are for messages. Raises `ValueError` naming the image for a label that is not
    0 or 1 or a score that is NaN or infinite, and where there is no image or the lengths differ.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise ValueError(f"labels {labels.shape} and scores {scores.shape} must be two lists of one length")
    if not labels.size:
        raise ValueError("a class without images has no metrics: check its entry in meta.json")
    for wrong, trouble in (
        (~np.isin(labels, (0, 1)), "its label {label} is not 0 or 1"),
        (~np.isfinite(scores), "its score is {score}, which cannot be ranked: mend the method"),
    ):
        if wrong.any():
            at = int(wrong.argmax())
            name = names[at] if names is not None else f"image {at}"
            raise ValueError(f"{name}: {trouble.format(label=labels[at], score=scores[at])}")

    anomalous, normal = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    details: dict[str, float | int | bool] = {
        "image_count": int(labels.size),
        "image_anomalous": int(anomalous.size),
    }
    if not anomalous.size or not normal.size:
        return Report(*undefined("image", ONE_CLASS), details)
    sums = RankSums(anomalous.size, normal.size)
    sums.add(
        tp=anomalous.size - np.searchsorted(anomalous, anomalous, side="left"),
        fp=normal.size - np.searchsorted(normal, anomalous, side="left"),
        fp_above=normal.size - np.searchsorted(normal, anomalous, side="right"),
        scores=anomalous,
    )
    details["image_f1max_threshold"] = float(sums.f1max_threshold)
    return Report({"image_auroc": sums.auroc, "image_ap": sums.ap, "image_f1max": sums.f1max}, {}, details)
