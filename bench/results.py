"""Results as data: the checked cells of a folder, and one tidy data frame of them for a notebook.

>>> numbers = frame(Path("results"))
>>> aupro = numbers[(numbers.level == "pixel") & (numbers.metric == "aupro")]
>>> aupro.groupby(["method", "dataset"]).value.mean().unstack()
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import metrics
from bench.errors import BenchError
from bench.store.cells import Cell, CellStore, identify
from bench.store.marks import INDUCTIVE, SETTINGS, Mark
from datasets import catalog
from methods.source import Source

if TYPE_CHECKING:
    import pandas as pd

_NEWER = ("protocol_source", "target", "setting")
"""Fields that cells written before them lack."""
_NOISE = 1e-6
"""How far recomputed image metrics may lie from the stored ones; other machines add up in other orders."""


def read(store: CellStore, *, scores: bool = True) -> list[Cell]:
    """Return all cells of the store; raises `BenchError` naming a file that was edited or is too old.

    Without `scores` the cells come without those of single images, which are most of a cell and which
    tables do not show; they are checked all the same.
    """
    cells, old = [], []
    for cell in store:
        path = store.path(identify(cell))
        if any(name not in cell for name in _NEWER):
            old.append(path)
            continue
        try:
            why = _fault(cell)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            why = f"{type(error).__name__} {error}"
        if why:
            raise BenchError(f"{path}: {why}: edited or damaged; delete it and repeat its `run` command")
        if not scores:
            cell.pop("scores", None)
        cells.append(cell)
    if old:
        raise BenchError(
            f"{len(old)} cells, such as {old[0]}, were written by an older version; repeat their `run` "
            "command: it adds what they lack and computes nothing again"
        )
    return cells


def _fault(cell: Cell) -> str | None:
    """Return what is wrong with the numbers of a cell; image metrics must follow from its scores."""
    for name, value in cell["metrics"].items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 <= value <= 1):
            return f"{name} is {value!r}, not a fraction of one"
    if unknown := {*cell["marks"]} - {*Mark} or {cell["setting"]} - {*SETTINGS}:
        return f"unknown mark {unknown.pop()!r}"
    same_code = cell["config"]["protocol"].get("metrics_version") == metrics.VERSION
    if not same_code or not cell.get("scores") or cell["not_applicable"]["image"] is not None:
        return None
    labels = np.array([row["label"] for row in cell["scores"]])
    scores = np.array([row["score"] for row in cell["scores"]], dtype=np.float32)
    for name, value in metrics.image_metrics(labels, scores).values.items():
        stored = cell["metrics"].get(name)
        if stored != value and (stored is None or value is None or abs(stored - value) > _NOISE):
            return f"{name} is {stored!r}, but its scores give {value!r}"
    return None


class Trace(NamedTuple):
    """Where a cell's numbers come from; the data frame and tables as data have it in these words."""

    dataset: str
    """Its key."""
    data: str
    """SHA-256 of the class's images, masks and labels."""
    weights: str
    """SHA-256 of each file, as `role:digest`, joined by blanks; empty without weights."""
    commit: str | None
    """Of the suite; None outside a git checkout."""
    key: str
    """Of the cell."""


def trace(cell: Mapping[str, Any]) -> Trace:
    """Return where the cell's numbers come from."""
    config = cell["config"]
    weights = " ".join(f"{role}:{digest}" for role, digest in sorted(config["weights"].items()))
    return Trace(cell["dataset"], config["data"], weights, cell["provenance"].get("commit"), cell["key"])


def source_of(cell: Mapping[str, Any]) -> Source | None:
    """Return what the cell's weights were trained on; None if nothing was learned."""
    return Source.parse(cell["source"]) if cell["source"] else None


def plain_source(cell: Mapping[str, Any]) -> str:
    """Return what the cell's weights were trained on, without the seed; empty if nothing was learned."""
    source = source_of(cell)
    return source.key if source else ""


def seed_of(cell: Mapping[str, Any]) -> str:
    """Return the seed that the cell's weights were trained with here; empty for published weights."""
    source = source_of(cell)
    return "" if source is None or source.seed is None else str(source.seed)


def relations(cell: Mapping[str, Any]) -> list[str]:
    """Return why the cell's dataset is not independent of those that its weights were trained on."""
    source = source_of(cell)
    return catalog.relations(source.datasets if source else (), cell["target"])


def marks_of(cell: Mapping[str, Any], metric: str = "") -> frozenset[Mark]:
    """Return the marks of the cell's numbers; those of `pixel_aupro` may have one more."""
    marks = set(map(Mark, cell["marks"]))
    if cell["setting"] != INDUCTIVE:
        marks.add(Mark(cell["setting"]))
    if relations(cell):
        marks.add(Mark.RELATED)
    if metric == "pixel_aupro" and cell["details"].get("pixel_aupro_few_thresholds"):
        marks.add(Mark.FEW_THRESHOLDS)
    return frozenset(marks)


def frame(results_dir: Path) -> pd.DataFrame:
    """Return all finished cells below `results_dir` (as in `--results`), a row for each cell and metric.

    Columns: `method` (key), `title`, `variant` (missing: the paper's options), `setting` (how much of the
    test set a score has seen), `source` and `seed` (what the weights were trained on; the seed only where
    they were trained here), `protocol_source` (whether that is the protocol's choice), `dataset`,
    `dataset_title`, `target` (the catalog's key, also for generated stand-ins), `domain`, `class`, `level`
    (`image` or `pixel`), `metric`, `value` (fraction of one; NaN if undefined, then `reason` says why),
    `marks` (words joined by blanks), `normal` and `anomalous` (test images), `images_per_s`,
    `peak_gpu_bytes`, `data` and `weights` (SHA-256; weights as `role:digest`), `precision`, `commit`,
    `started`, `key` (of the cell).

    Raises:
        BenchError: A cell was edited, or written by a version that did not know all of this.
    """
    import pandas as pd  # noqa: PLC0415 (a second of start-up, which tables need not wait for)

    rows = [
        row
        for cell in read(CellStore(Path(results_dir) / "runs"), scores=False)
        if not cell.get("gone")
        for row in numbers_of(cell)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


COLUMNS = (
    *("method", "title", "variant", "setting", "source", "seed", "protocol_source"),
    *("dataset", "dataset_title", "target", "domain", "class", "level", "metric", "value", "reason", "marks"),
    *("normal", "anomalous", "images_per_s", "peak_gpu_bytes", "data", "weights", "precision"),
    *("commit", "started", "key"),
)


def numbers_of(cell: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the cell's rows of the data frame, as mappings of `COLUMNS`."""
    same = ("method", "title", "setting", "protocol_source", "dataset_title", "target", "domain", "class")
    of_cell = {name: cell[name] for name in same} | {
        **trace(cell)._asdict(),
        "variant": cell["preset"],
        "source": plain_source(cell) or None,
        "seed": seed_of(cell) or None,
        **cell["counts"],
        **{name: cell["timing"].get(name) for name in ("images_per_s", "peak_gpu_bytes")},
        "precision": cell["config"]["precision"],
        "started": cell["provenance"].get("started"),
    }
    for name, value in cell["metrics"].items():
        level, _, metric = name.partition("_")
        yield of_cell | {
            "level": level,
            "metric": metric,
            "value": math.nan if value is None else value,
            "reason": cell["reasons"].get(name),
            "marks": " ".join(mark for mark in Mark if mark in marks_of(cell, name)),
        }
