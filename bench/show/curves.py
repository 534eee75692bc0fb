"""From the stored scores of one class: rates at each threshold, and the images that tell most."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.store.cells import Cell

PICKS = ("best", "median", "worst", "disagreement")


class Rates(NamedTuple):
    """Rates at each distinct score as the threshold, from the highest down: float64 (n,), fractions."""

    fpr: NDArray[np.float64]
    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    thresholds: NDArray[np.float32]


def rates(cell: Cell) -> Rates | None:
    """Return the image-level curve of a cell; None where it has no image level or one label only."""
    if cell["not_applicable"]["image"] is not None or not cell["scores"]:
        return None
    labels = np.array([row["label"] for row in cell["scores"]], dtype=bool)
    if labels.all() or not labels.any():
        return None
    tp, fp, thresholds = counts(labels, np.array([row["score"] for row in cell["scores"]], dtype=np.float32))
    return Rates(fp / (~labels).sum(), tp / labels.sum(), tp / np.maximum(tp + fp, 1), thresholds)


def counts(
    labels: NDArray[np.bool_], scores: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return true and false positives at each distinct score as the threshold, from the highest down."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), ordered.size - 1)
    tp = np.cumsum(labels[order], dtype=np.int64)[ends]
    return tp, ends + 1 - tp, ordered[ends]


def threshold_of(cell: Cell) -> float | None:
    """Return the stored threshold of the image-level F1-max; None where it is undefined."""
    value = cell["details"].get("image_f1max_threshold")
    return None if value is None or cell["metrics"].get("image_f1max") is None else float(value)


def telling(cell: Cell) -> dict[str, Mapping[str, Any]]:
    """Return the rows of the best, the median and the worst image.

    Images are ordered by how far their score lies on the right side of the F1-max threshold; empty where
    there is none.
    """
    threshold = threshold_of(cell)
    if threshold is None:
        return {}
    margins = [(row["score"] - threshold) * (1 if row["label"] else -1) for row in cell["scores"]]
    order = _order(margins, [row["image"] for row in cell["scores"]])
    return {which: cell["scores"][place] for which, place in _ends(order).items()}


def pick(cells: Sequence[Cell], which: str) -> str | None:
    """Return the anomalous image of a class that is `which` of `PICKS` by several methods' scores.

    `cells` hold the same class, one for each method. Scores of methods have no common scale, so the images
    are ranked by each method, higher scores first. `best`, `median` and `worst` go by the mean of an image's
    ranks, `disagreement` is the image whose ranks lie farthest apart; by name among equals. None where the
    class has no anomalous image.
    """
    tables = [{row["image"]: row["score"] for row in cell["scores"] if row["label"]} for cell in cells]
    names = sorted(set(tables[0]).intersection(*tables))
    if not names:
        return None
    ranks = np.stack([_ranks([table[name] for name in names]) for table in tables])
    if which == "disagreement":
        return names[int(np.argmax(np.ptp(ranks, axis=0)))]
    return names[_ends(_order(ranks.mean(axis=0), names))[which]]


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """Return ascending ranks from 1; equal values share the mean of theirs."""
    _, place, count = np.unique(np.array(values), return_inverse=True, return_counts=True)
    means: NDArray[np.float64] = (np.cumsum(count) - (count - 1) / 2)[place]
    return means


def _order(values: Sequence[float] | NDArray[np.float64], names: Sequence[str]) -> list[int]:
    return sorted(range(len(names)), key=lambda place: (values[place], names[place]), reverse=True)


def _ends(order: Sequence[int]) -> dict[str, int]:
    return {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
