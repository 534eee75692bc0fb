"""Cells made up for the tests; their numbers are chosen, not measured."""

from collections.abc import Callable
from typing import Any

import pytest

from bench.show import Table, build, build_published
from datasets.catalog import CATALOG

METRICS = (
    "image_auroc",
    "image_ap",
    "image_f1max",
    "pixel_auroc",
    "pixel_aupro",
    "pixel_aupro_exact",
    "pixel_f1max",
    "pixel_ap",
)


def _cell(method: str, dataset: str, class_key: str, value: float, **changes: Any) -> dict[str, Any]:
    """Return a cell with the same value for all metrics; `config__a__b=...` changes a nested setting."""
    entry = CATALOG.get(dataset.removeprefix("standin_"))
    cell: dict[str, Any] = {
        "schema": 1,
        "method": method,
        "preset": None,
        "title": method.capitalize(),
        "source": "visa" if dataset.endswith("mvtec") else "mvtec",
        "setting": "inductive",
        "target": dataset.removeprefix("standin_"),
        "dataset": dataset,
        "dataset_title": dataset.upper(),
        "domain": entry.domain if entry else None,
        "levels": list(entry.levels) if entry else ["image", "pixel"],
        "class": class_key,
        "n_classes": len(entry.classes) if entry else 1,
        "names": "anomalyclip",
        "dataset_protocol": None,
        "config": {
            "method_version": 1,
            "options": {"image_size": 518, "sigma": 4.0},
            "precision": "float32",
            "prompt": class_key,
            "weights": {"vision": "ab" * 32},
            "data": f"data of {dataset}/{class_key}",
            "protocol": {
                "masks": "resized",
                "mask_threshold": 0,
                "metrics_mode": "exact",
                "aupro_flavour": "numpy1",
                "metrics_version": 1,
                "limit": None,
            },
        },
        "metrics": {},
        "reasons": {},
        "details": {},
        "counts": {"normal": 10, "anomalous": 20},
        "marks": [],
        "provenance": {"commit": "0123456789abcdef", "dirty": False, "started": "2025-11-23T10:00:00+00:00"},
    }
    for metric in METRICS:
        defined = metric.partition("_")[0] in cell["levels"]
        cell["metrics"][metric] = value if defined else None
        if not defined:
            cell["reasons"][metric] = "one class"
    for name, change in changes.items():
        *path, last = name.split("__")
        inner = cell
        for part in path:
            inner = inner[part]
        inner[last] = change
    # The protocol of these tests: trained on MVTec, and on VisA where MVTec is the target.
    source, home = cell["source"], "visa" if cell["target"] == "mvtec" else "mvtec"
    cell.setdefault("protocol_source", source is None or source.partition("~")[0] == home)
    cell["key"] = repr(
        [cell[name] for name in ("method", "preset", "source", "dataset", "class", "config", "names")]
    )
    return cell


@pytest.fixture
def make_cell() -> Callable[..., dict[str, Any]]:
    return _cell


@pytest.fixture
def make_dataset() -> Callable[..., list[dict[str, Any]]]:
    def make(method: str, dataset: str, value: float, **changes: Any) -> list[dict[str, Any]]:
        classes = CATALOG[dataset.removeprefix("standin_")].classes
        return [_cell(method, dataset, entry.key, value, **changes) for entry in classes]

    return make


@pytest.fixture
def tables(make_cell: Callable[..., Any], make_dataset: Callable[..., Any]) -> list[Table]:
    """Return tables with every mark and with letters that formats treat as their own."""
    odd = make_cell("z", "odd", "a_b&c|d*e", 0.5, title="100% #1_{x} <b>$^~\\", dataset_title="R&D_50% Größe")
    cells = [*make_dataset("m", "visa", 0.91)[1:], *make_dataset("m", "btad", 0.8, marks=["seen"]), odd]
    cells += make_dataset("m", "tn3k", 0.7, marks=["selected"])
    cells += make_dataset("n", "tn3k", 0.6, marks=["untrained", "stand-in"])
    cells[-3]["details"] = {"pixel_aupro_few_thresholds": True}
    tipsomaly = make_dataset("tipsomaly", "visa", 0.9)
    overlap = {"marks": ["overlap"], "details": {"overlap_images": 2}}
    crossed = make_dataset("m", "btad", 0.85, source="mvtec")
    for seed, value in (("1", 0.7), ("2", 0.8)):
        crossed += make_dataset("m", "visa", value, source=f"btad~{seed}")
        crossed += make_dataset("m", "btad", value, source=f"visa~{seed}", protocol_source=True, **overlap)
    return [
        build(cells),
        build(cells, "methods"),
        build(cells, "per-class"),
        build(tipsomaly, against="tipsomaly_paper"),
        build_published("tipsomaly_paper"),
        build_published("anomalyclip_official_logs", "per-class"),
        build(crossed, "cross"),
        build(crossed),
    ]
