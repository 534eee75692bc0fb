"""Cells of a whole grid, methods x datasets x classes, with generated scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import metrics
from bench.store.cells import CellId, CellStore
from datasets.catalog import CATALOG

METHODS = {
    "winclip": "WinCLIP", "vand": "VAND", "anomalyclip": "AnomalyCLIP", "adaclip": "AdaCLIP",
    "vcpclip": "VCP-CLIP", "faprompt": "FAPrompt", "crane": "Crane", "visualad": "VisualAD",
    "tipsomaly": "Tipsomaly", "musc": "MuSc", "chance": "Chance", "oracle": "Oracle",
}  # fmt: skip
"""Twelve methods; what is measured of them here is generated."""
DATASETS = (
    "mvtec", "visa", "mpdd", "btad", "ksdd", "dagm", "dtd_synthetic",
    "headct", "brainmri", "br35h", "isic", "cvc_colondb", "cvc_clinicdb", "tn3k",
)  # fmt: skip
"""The fourteen of the paper's table."""
UNTRAINED = {"winclip", "musc", "chance", "oracle"}
IMAGES = {"normal": 90, "anomalous": 110}

HOSTILE = "<b>&\"'|`${x}</script><script>document.title='run'</script>"
"""A class name that would be markup, an attribute's end, a separator, a template or a script."""


def cell(
    method: str, dataset: str, class_key: str, place: int = 0, images: Mapping[str, int] = IMAGES
) -> dict[str, Any]:
    """Return the content of one cell; scores are random, better ones for later methods."""
    entry = CATALOG[dataset]
    rng = np.random.default_rng([len(dataset), *map(ord, method + class_key)])
    labels = np.repeat([0, 1], [images["normal"], images["anomalous"]])
    scores = rng.normal(labels * (0 if method == "chance" else 1 + place / 6), 1).astype(np.float32)
    image = metrics.image_metrics(labels, scores)
    pixel, reasons = metrics.undefined("pixel", "no masks")
    if "pixel" in entry.levels:
        pixel = dict(zip(pixel, rng.uniform(0.5, 0.99, len(pixel)).tolist(), strict=True))
        reasons = {}
    no_image = None if "image" in entry.levels else "one label only"
    values, why = (image.values, image.reasons) if no_image is None else metrics.undefined("image", no_image)
    source = None if method in UNTRAINED else ("visa" if dataset == "mvtec" else "mvtec")
    return {
        "method": method, "preset": None, "title": METHODS.get(method, method), "source": source,
        "protocol_source": True, "setting": "transductive" if method == "musc" else "inductive",
        "dataset": dataset, "dataset_title": entry.title, "target": dataset, "domain": entry.domain,
        "levels": list(entry.levels), "class": class_key, "n_classes": len(entry.classes),
        "config": {
            "method_version": 1, "options": {"image_size": 518}, "precision": "float32", "prompt": class_key,
            "weights": {"vision": f"{place:x}" * 64, **({"learned": "cd" * 32} if source else {})},
            "data": rng.bytes(32).hex(),
            "protocol": {"metrics_version": metrics.VERSION, "limit": None},
        },
        "names": "anomalyclip", "dataset_protocol": None,
        "metrics": {**values, **pixel}, "reasons": {**why, **reasons}, "details": dict(image.details),
        "not_applicable": {"image": no_image, "pixel": None if "pixel" in entry.levels else "no masks"},
        "counts": dict(images), "marks": ["privileged"] if method == "oracle" else [],
        "scores": [
            {"image": f"{class_key}/test/{'spot' if label else 'good'}/{number:03}.png", "label": int(label),
             "score": float(score)}
            for number, (label, score) in enumerate(zip(labels, scores, strict=True))
        ],
        "timing": {"images_per_s": 4.0 + 5 * place, "peak_gpu_bytes": (1 + place) << 30},
        "provenance": {
            "commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False,
            "started": "2025-11-23T10:00:00+00:00", "device": "generated", "device_type": "cpu",
            "command": f"run_bench.py run --methods {method} --datasets all",
            "packages": {"torch": "2.6.0", "numpy": "2.1.0"}, "weights": {"vision": "clip.safetensors"},
        },
    }  # fmt: skip


def write(results: Path, content: Mapping[str, Any]) -> None:
    """Write a cell below a results folder."""
    identity = CellId(
        content["method"], content["source"], content["dataset"], content["class"], content["config"]
    )
    CellStore(results / "runs").write(identity, content)


def write_grid(
    results: Path,
    methods: Sequence[str] = tuple(METHODS),
    datasets: Sequence[str] = DATASETS,
    *,
    true_size: bool = False,
) -> int:
    """Write a cell for every class of the datasets and return how many.

    With `true_size` classes have as many images as their datasets, about 14,000 together.
    """
    written = 0
    for place, method in enumerate(methods):
        for dataset in datasets:
            for each in CATALOG[dataset].classes:
                normal, anomalous = each.counts
                images = {"normal": normal or 90, "anomalous": anomalous or 110}
                write(results, cell(method, dataset, each.key, place, images if true_size else IMAGES))
                written += 1
    return written
