"""A threshold for image scores: given, or computed from the stored scores of finished cells."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.store.cells import Cell, identify
from metrics import image_metrics


@dataclass(frozen=True)
class Threshold:
    """Scores >= `value` are called anomalous."""

    value: float
    said: str
    """Where the value comes from, for people."""
    normals: NDArray[np.float64] | None = field(default=None, compare=False)
    """Sorted scores of the normal images it was computed from; None: it was given."""

    def verdict(self, score: float) -> str:
        """Return `anomalous` or `normal`."""
        return "anomalous" if score >= self.value else "normal"

    def share_below(self, score: float) -> float | None:
        """Return the share (0 to 1) of normal images that scored lower; None without known ones."""
        if self.normals is None:
            return None
        return float(np.searchsorted(self.normals, score, side="left") / self.normals.size)


def threshold_from(cells: Iterable[Cell], identity: Mapping[str, Any], word: str, at: str) -> Threshold:
    """Return the threshold that the stored scores of `DATASET` or `DATASET/CLASS` give (`word`).

    `identity` names method, version, source, options and weights, as `LoadedMethod` has it: only cells of
    the very same are used. Several classes are pooled. `at` is `f1max`, the lowest score that reaches the
    largest F1, or `fpr=0.01`: the smallest threshold that calls at most that share of the normal images
    anomalous.

    Raises:
        BenchError: No such cell is there (says what differs), or its scores do not decide.
    """
    rate = _rate(at)
    there = [cell for cell in cells if word.casefold() in _names(cell)]
    if not there:
        raise BenchError(f"--threshold-from: no finished cell of {word!r} there; `run` it first")
    chosen: dict[tuple[str, str], Cell] = {}
    for cell in there:
        if _difference(cell, identity) is None:
            place = cell["dataset"], cell["class"]
            identify(cell)
            if place in chosen and chosen[place]["scores"] != cell["scores"]:
                raise BenchError(
                    f"--threshold-from: two cells of {'/'.join(place)} hold different scores (another object "
                    "name or state of the data); keep one of them in a folder of its own"
                )
            chosen[place] = cell
    if not chosen:
        near = [cell for cell in there if cell["method"] == identity["method"]]
        reasons = sorted({str(_difference(cell, identity)) for cell in near or there})
        raise BenchError(f"--threshold-from: no cell of {word!r} fits: {'; '.join(reasons)}")
    if len({dataset for dataset, _ in chosen}) > 1:
        raise BenchError(f"--threshold-from: {word!r} means several datasets; use the key")
    rows = [row for cell in chosen.values() for row in cell["scores"]]
    labels = np.array([row["label"] for row in rows])
    scores = np.array([row["score"] for row in rows], dtype=np.float64)
    normals = np.sort(scores[labels == 0])
    if not normals.size:
        raise BenchError(f"--threshold-from: {word} has no normal images")
    if rate is not None:
        value = _at_rate(normals, rate)
    elif "image_f1max_threshold" in (details := image_metrics(labels, scores).details):
        value = float(details["image_f1max_threshold"])
    else:
        raise BenchError(f"--threshold-from: {word} has no anomalous images; use --at fpr=0.01")
    marks = sorted({mark for cell in chosen.values() for mark in cell["marks"]})
    pooled = f", {len(chosen)} classes pooled" if len(chosen) > 1 else ""
    said = f"{at} of {word}{pooled}: {normals.size} normal, {scores.size - normals.size} anomalous images" + (
        f" ({', '.join(marks)})" if marks else ""
    )
    return Threshold(value, said, normals)


def _rate(at: str) -> float | None:
    if at == "f1max":
        return None
    try:
        rate = float(at.removeprefix("fpr="))
    except ValueError:
        rate = -1.0
    if not at.startswith("fpr=") or not 0 <= rate < 1:
        raise BenchError(f"--at {at}: use f1max, or fpr=X with X from 0 to below 1, such as fpr=0.01")
    return rate


def _at_rate(normals: NDArray[np.float64], rate: float) -> float:
    allowed = int(np.floor(rate * normals.size + 1e-9))
    # Just above the largest normal score that must stay normal; scores are float32.
    highest = np.float32(normals[normals.size - 1 - allowed])
    return float(np.nextafter(highest, np.float32(np.inf)))


def _names(cell: Cell) -> set[str]:
    datasets = {cell["dataset"], cell["dataset_title"]}
    return {name.casefold() for each in datasets for name in (each, f"{each}/{cell['class']}")}


def _difference(cell: Cell, identity: Mapping[str, Any]) -> str | None:
    """Say in what a cell's method is not the one of `identity`; None: it is the same."""
    config, options = cell["config"], identity["options"]
    unlike = [f"{name}={value}" for name, value in config["options"].items() if options.get(name) != value]
    checks = {
        f"there is {cell['method']}": cell["method"] == identity["method"],
        f"there are weights trained on {cell['source']} (add --source {cell['source']})": cell["source"]
        == identity["source"],
        f"there is {', '.join(unlike)} (use the same preset, or --set)": config["options"] == options,
        "computed by another version of the method; run it again": config["method_version"]
        == identity["method_version"],
        "computed with other weights files; run it again": config["weights"] == identity["weights"],
        f"computed in {config['precision']}; run it with --precision float32": config["precision"]
        == "float32",
    }
    return next((what for what, same in checks.items() if not same), None)
