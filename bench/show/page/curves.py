"""What is drawn of one class: histograms and curves of its images, curves of its pixels; thinned."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.show.curves import rates, threshold_of
from bench.store.cells import Cell
from metrics import Curve, along

BINS = 24
POINTS = 60
"""Most points of a drawn curve: it is thinned evenly along its length; numbers come from all scores."""
_PIXEL_POINTS = 40
_DIGITS = 4


def curves(cell: Cell) -> dict[str, Any] | None:
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
    if (of_class := rates(cell)) is None:
        return drawn
    fpr, recall, precision, thresholds = of_class
    if drawn["threshold"] is not None:
        last = int(np.flatnonzero(thresholds >= np.float32(drawn["threshold"]))[-1])
        drawn["at"] = _rounded([fpr[last], recall[last], recall[last], precision[last]])
    drawn["roc"] = _thinned(np.append(0, fpr), np.append(0, recall), POINTS)
    drawn["pr"] = _thinned(recall, precision, POINTS)
    return drawn


def pixel_curves(curve: Curve) -> dict[str, Any]:
    """Return `roc`, `pr` and `pro` (false positive rates, overlaps) of kept curves, as `curves` has them."""
    fpr, recall, precision, overlap = curve
    return {
        "roc": _thinned(np.append(0, fpr), np.append(0, recall), _PIXEL_POINTS),
        "pr": _thinned(recall, precision, _PIXEL_POINTS),
        "pro": _thinned(np.append(0, fpr), np.append(0, overlap), _PIXEL_POINTS),
    }


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64], most: int) -> tuple[list[float], list[float]]:
    places = along(x, y, most)
    return _rounded(x[places]), _rounded(y[places])


def _rounded(values: Sequence[float] | NDArray[np.float64]) -> list[float]:
    return [round(float(value), _DIGITS) for value in values]
