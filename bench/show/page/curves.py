"""From the stored scores of one class: histograms, ROC and precision-recall curve, telling images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 24
POINTS = 60
"""Most points of a drawn curve: it is thinned evenly along its length; numbers come from all scores."""
_DIGITS = 4


def curves(cell: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what is drawn of a cell; None where it has no image level.

    `edges` and the counts of `normal` and `anomalous` images between them; `roc` (false positive rates, true
    positive rates) and `pr` (recalls, precisions), fractions of one; `threshold`, the lowest score that
    reaches the largest F1, and `at`, (fpr, tpr, recall, precision) there; None where F1-max is undefined.
    """
    if cell["not_applicable"]["image"] is not None or not cell["scores"]:
        return None
    labels = np.array([row["label"] for row in cell["scores"]], dtype=bool)
    scores = np.array([row["score"] for row in cell["scores"]], dtype=np.float32)
    edges = np.linspace(float(scores.min()), float(scores.max()), BINS + 1)
    drawn: dict[str, Any] = {
        "edges": [float(f"{edge:.5g}") for edge in edges],
        "normal": np.histogram(scores[~labels], edges)[0].tolist(),
        "anomalous": np.histogram(scores[labels], edges)[0].tolist(),
        "threshold": threshold_of(cell),
    }
    if labels.all() or not labels.any():
        return drawn
    tp, fp, thresholds = counts(labels, scores)
    recall, fpr, precision = tp / labels.sum(), fp / (~labels).sum(), tp / np.maximum(tp + fp, 1)
    if drawn["threshold"] is not None:
        last = int(np.flatnonzero(thresholds >= np.float32(drawn["threshold"]))[-1])
        drawn["at"] = _rounded([fpr[last], recall[last], recall[last], precision[last]])
    from_zero = [np.concatenate([[0.0], rate]) for rate in (fpr, recall)]
    drawn["roc"] = _thinned(*from_zero)
    drawn["pr"] = _thinned(recall, precision)
    return drawn


def counts(
    labels: NDArray[np.bool_], scores: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return true and false positives at each distinct score as the threshold, from the highest down."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), ordered.size - 1)
    tp = np.cumsum(labels[order], dtype=np.int64)[ends]
    return tp, ends + 1 - tp, ordered[ends]


def threshold_of(cell: Mapping[str, Any]) -> float | None:
    """Return the stored threshold of the image-level F1-max; None where it is undefined."""
    value = cell["details"].get("image_f1max_threshold")
    return None if value is None or cell["metrics"].get("image_f1max") is None else float(value)


def telling(cell: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the rows of the best, the median and the worst image.

    Images are ordered by how far their score lies on the right side of the F1-max threshold; empty where
    there is none.
    """
    threshold = threshold_of(cell)
    if threshold is None:
        return {}

    def margin(row: Mapping[str, Any]) -> tuple[float, str]:
        distance = row["score"] - threshold
        return (distance if row["label"] else -distance), row["image"]

    rows = sorted(cell["scores"], key=margin, reverse=True)
    return {"best": rows[0], "median": rows[len(rows) // 2], "worst": rows[-1]}


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[list[float], list[float]]:
    """Return at most `POINTS` of the points, evenly along the curve, the first and the last among them."""
    if x.size > POINTS:
        way = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
        places = np.unique(np.searchsorted(way, np.linspace(0, way[-1], POINTS)).clip(0, x.size - 1))
        places = np.union1d(places, [0, x.size - 1])[-POINTS:]
        x, y = x[places], y[places]
    return _rounded(x), _rounded(y)


def _rounded(values: Sequence[float] | NDArray[np.float64]) -> list[float]:
    return [round(float(value), _DIGITS) for value in values]
