"""The content of a finished class's cell."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

import metrics
from bench.run.machine import Machine
from bench.run.noting import TaskRun
from bench.run.plan import Task
from bench.run.precision import drift_of
from bench.store.cells import CellId, CellStore
from datasets.truth import summarise
from metrics import Report


def image_report(scores: Sequence[Mapping[str, Any]], why_not: str | None) -> Report:
    """Return the image-level metrics of per-image scores; `why_not` says why the level does not apply."""
    if why_not is not None:
        return Report(*metrics.undefined("image", why_not))
    return metrics.image_metrics(
        np.array([row["label"] for row in scores]),
        np.array([row["score"] for row in scores], dtype=np.float32),
        [row["image"] for row in scores],
    )


def cell_content(run: TaskRun, machine: Machine) -> dict[str, Any]:
    """Return the content of a class's cell once all its images are noted (schema 1, without its key)."""
    task, seconds = run.task, run.seconds
    folder, data, cell = task.folder, task.data, task.cell
    labels = [row["label"] for row in run.scores]
    why_not = data.no_pixel_level or "not applicable"
    started = time.perf_counter()
    image = image_report(run.scores, data.no_image_level)
    pixel = run.pixels.result() if run.pixels else Report(*metrics.undefined("pixel", why_not))
    seconds["metrics"] += time.perf_counter() - started
    also = {
        name: image_report(
            [{**row, "score": row["also"][name]} for row in run.scores], data.no_image_level
        ).values
        for name in run.scores[0].get("also", {})
    }
    return {
        "method": cell.method,
        "preset": column_label(task),
        "title": task.spec.request.rules.title or task.spec.request.detector.title,
        "titled_preset": task.spec.request.rules.title is not None,
        "source": cell.source,
        "dataset": cell.dataset,
        "dataset_title": folder.title,
        "domain": folder.domain,
        "levels": list(folder.levels),
        "class": cell.class_key,
        "n_classes": len(folder.classes),
        **task.facts,
        "config": cell.config,
        "names": folder.names,
        "dataset_protocol": folder.protocol,
        "metrics": {**image.values, **pixel.values},
        "reasons": {**image.reasons, **pixel.reasons},
        "brackets": {name: list(bracket) for name, bracket in {**image.brackets, **pixel.brackets}.items()},
        "details": {**image.details, **pixel.details, "overlap_images": task.overlap},
        "also": also,
        "not_applicable": {"image": data.no_image_level, "pixel": data.no_pixel_level},
        "counts": {"normal": labels.count(0), "anomalous": labels.count(1)},
        "marks": list(task.marks),
        "remarks": summarise(run.remarks),
        "scores": run.scores,
        "timing": {
            **{f"{part}_s": round(value, 4) for part, value in seconds.items()},
            "images_per_s": round(len(labels) / max(seconds["inference"], 1e-9), 3),
            "batch_size": machine.batch_size,
            "together": run.together,
            "peak_gpu_bytes": run.peak_gpu_bytes,
        },
        "provenance": {
            **run.provenance,
            "weights": {role: path.name for role, path in task.spec.files.items()},
            **({"drift": drift} if (drift := drift_of(cell.method, task.spec.precision)) else {}),
        },
    }


def column_label(task: Task) -> str | None:
    """Return the column the cell belongs to beside the method's own: its variant and unusual settings."""
    settings = task.settings
    parts = [
        task.spec.request.variant,
        "native masks" if settings.masks == "native" else None,
        f"masks > {settings.mask_threshold}" if settings.mask_threshold else None,
        "streaming" if settings.metrics_mode == "streaming" else None,
        settings.aupro_flavour if settings.aupro_flavour != "numpy1" else None,
    ]
    return ",".join(part for part in parts if part) or None


def remetric(cells: Iterable[CellId], store: CellStore) -> int:
    """Recompute the image-level metrics of finished cells in place; returns how many were rewritten."""
    count = 0
    for identity in cells:
        cell = store.read(identity)
        if cell is None:
            continue
        report = image_report(cell["scores"], cell["not_applicable"]["image"])
        kept = {name: reason for name, reason in cell["reasons"].items() if not name.startswith("image_")}
        cell["metrics"] |= report.values
        cell["reasons"] = kept | report.reasons
        cell["details"] |= report.details
        store.write(identity, cell)
        count += 1
    return count
