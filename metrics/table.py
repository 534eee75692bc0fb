"""The metrics by key, and what a computation of them returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

VERSION = 1
"""Version of the definitions: part of a result's key, to be raised with any change that can move a number."""

ONE_CLASS = "one class"
CONSTANT_MAPS = "constant maps"
NO_WIDTH = "no width"
NO_THRESHOLDS = "score range beyond float32"
NOT_STREAMED = "not in streaming mode"


@dataclass(frozen=True)
class Metric:
    """One column of a table. Values are fractions in [0, 1]; higher is better."""

    key: str
    level: Literal["image", "pixel"]
    label: str
    description: str


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.key: metric
        for metric in (
            Metric("image_auroc", "image", "AUROC", "area under the ROC curve, ties counted half"),
            Metric("image_ap", "image", "AP", "average precision, stepwise"),
            Metric("image_f1max", "image", "F1-max", "largest F1 over all thresholds"),
            Metric("pixel_auroc", "pixel", "AUROC", "area under the ROC curve, ties counted half"),
            Metric(
                "pixel_aupro",
                "pixel",
                "AUPRO",
                "per-region overlap up to FPR 0.3, the published approximation with 200 thresholds",
            ),
            Metric(
                "pixel_aupro_exact",
                "pixel",
                "AUPRO (exact)",
                "area under the per-region overlap curve up to FPR 0.3, as MVTec defined it",
            ),
            Metric("pixel_f1max", "pixel", "F1-max", "largest F1 over all thresholds"),
            Metric("pixel_ap", "pixel", "AP", "average precision, stepwise"),
        )
    }
)
"""All metrics, in the order of a full table."""


@dataclass(frozen=True)
class Report:
    """The metrics of one class at one level, and what they rest on."""

    values: dict[str, float | None]
    """Metric key -> fraction in [0, 1]; None where it is undefined."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Metric key -> why its value is None; exactly for those that are."""
    details: dict[str, float | int | bool] = field(default_factory=dict)
    """Counts, thresholds and flags, with `image_` or `pixel_` in front; listed in `docs/metrics.md`."""
    brackets: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Metric key -> bounds that hold the exact value for certain; streaming mode only."""


def undefined(level: str, reason: str) -> tuple[dict[str, float | None], dict[str, str]]:
    """Return values and reasons of a level whose metrics are all undefined for the same reason."""
    keys = [metric.key for metric in METRICS.values() if metric.level == level]
    return dict.fromkeys(keys), dict.fromkeys(keys, reason)
