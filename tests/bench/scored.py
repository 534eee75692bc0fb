"""Cells with made-up image scores and the metrics that follow from them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.store.cells import CellId, CellStore
from metrics import image_metrics

Cells = list[dict[str, Any]]


def draw(seed: int, normal: int, anomalous: int, gain: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [normal, anomalous])
    return labels, (rng.normal(size=labels.size) + gain * labels).astype(np.float32)


def make(
    method: str,
    dataset: str,
    class_key: str,
    labels: Sequence[int],
    scores: Sequence[float],
    *,
    n_classes: int = 1,
    source: str | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Return a cell with these image scores and the metrics that follow from them."""
    report = image_metrics(np.asarray(labels), np.asarray(scores, np.float32))
    config = {
        "method_version": 1,
        "options": {"image_size": 224},
        "precision": "float32",
        "prompt": class_key,
        "weights": {"learned": source} if source else {},
        "data": f"data of {dataset}/{class_key}",
        "protocol": {"masks": "resized", "limit": None},
    }
    cell = {
        "method": method,
        "preset": None,
        "title": method.capitalize(),
        "source": source,
        "protocol_source": source in (None, "visa~1", "visa~2", "visa~3"),
        "setting": "inductive",
        "target": dataset.removeprefix("standin_"),
        "dataset": dataset,
        "dataset_title": dataset.upper(),
        "domain": "industrial",
        "levels": ["image", "pixel"],
        "class": class_key,
        "n_classes": n_classes,
        "names": "anomalyclip",
        "dataset_protocol": None,
        "config": config,
        "metrics": report.values,
        "reasons": report.reasons,
        "details": report.details,
        "counts": {"normal": 1, "anomalous": 1},
        "marks": [],
        "scores": [
            {"image": f"{index:04}.png", "label": int(label), "score": float(score)}
            for index, (label, score) in enumerate(zip(labels, scores, strict=True))
        ],
        "provenance": {"commit": "0123456789", "dirty": False, "started": "2025-11-23T10:00:00+00:00"},
        **changes,
    }
    return {"schema": 1, "key": CellId(method, source, dataset, class_key, config).key, **cell}


def write(cells: Cells, results: Path) -> None:
    """Write the cells into a results folder."""
    store = CellStore(results / "runs")
    for cell in cells:
        identity = CellId(cell["method"], cell["source"], cell["dataset"], cell["class"], cell["config"])
        store.write(identity, {name: value for name, value in cell.items() if name not in ("schema", "key")})
