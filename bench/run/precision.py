"""Which precision the encoders of a method run in: chosen before planning, by what was measured."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bench.errors import BenchError
from methods.precision import AUTOCAST, PRECISIONS

if TYPE_CHECKING:  # importing it takes torch
    from methods.base import ZeroShotDetector

WORDS = ("auto", *PRECISIONS, "official")
"""What may be asked for: `auto` and `official` mean one of `PRECISIONS`, method by method."""
MEASURED = Path(__file__).resolve().parents[2] / "results" / "precision.csv"
GOLDENS = MEASURED.with_name("precision_goldens.csv")
HARMLESS = 0.1
"""Percentage points by which no number of a table may move where lower precision is the default."""


@dataclass(frozen=True)
class Drift:
    """How far one method's answers in lower precision lie from those in float32, on its small model."""

    method: str
    precision: str
    device: str
    """What it was measured on."""
    images: int
    """How many test images, over all datasets."""
    score: float
    """Largest difference of an image score, as a share of the range of scores in float32."""
    map: float
    """Largest difference of a pixel, as a share of the range of all maps in float32."""
    image_auroc: float
    """Largest difference of a dataset's number in percentage points; so for the other metrics."""
    image_ap: float
    image_f1max: float
    pixel_auroc: float
    pixel_aupro: float
    pixel_f1max: float
    pixel_ap: float

    @property
    def points(self) -> float:
        """Largest difference of a number that a table prints, in percentage points."""
        return max(getattr(self, metric) for metric in METRICS)


@dataclass(frozen=True)
class GoldenDrift:
    """How far one method's answers move on a golden file's network, with its generated weights."""

    method: str
    precision: str
    device: str
    golden: str
    """The file's name."""
    width: int
    """Of the widest tower."""
    images: int
    score: float
    """Largest difference of an image score, as a share of the largest score in float32."""
    map: float
    """Largest difference of a pixel, as a share of the range of all maps in float32."""


Row = TypeVar("Row", Drift, GoldenDrift)
METRICS = tuple(each.name for each in fields(Drift) if each.type == "float" and "_" in each.name)
"""Those of a table."""


@cache
def measured(path: Path = MEASURED) -> Mapping[tuple[str, str], Drift]:
    """Return the worst drift on any device by (method, precision), as `benchmarks.precision` wrote it."""
    if not path.exists():
        return {}
    drifts = sorted(read(path), key=lambda drift: drift.points)
    return {(drift.method, drift.precision): drift for drift in drifts}


@cache
def measured_on_goldens(path: Path = GOLDENS) -> Sequence[GoldenDrift]:
    """Return what was measured on the networks of golden files."""
    return _rows(path, GoldenDrift) if path.exists() else []


def read(path: Path = MEASURED) -> list[Drift]:
    """Return all that was measured on small models, in the order of the file."""
    return _rows(path, Drift)


def _rows(path: Path, kind: type[Row]) -> list[Row]:
    kinds = {"str": str, "int": int, "float": float}
    with path.open(encoding="utf-8", newline="") as file:
        return [
            kind(**{each.name: kinds[str(each.type)](row[each.name]) for each in fields(kind)})
            for row in csv.DictReader(file)
        ]


def write(drifts: Sequence[Row], path: Path = MEASURED) -> None:
    """Write what was measured; it takes the place of the same method's and precision's on the same device."""
    kind: type[Row] = type(drifts[0])

    def place(drift: Drift | GoldenDrift) -> tuple[str, ...]:
        return drift.device, drift.method, drift.precision, getattr(drift, "golden", "")

    known = {place(drift): drift for drift in [*(_rows(path, kind) if path.exists() else []), *drifts]}
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, [each.name for each in fields(kind)], lineterminator="\n")
        rows.writeheader()
        rows.writerows(asdict(known[each]) for each in sorted(known))
    measured.cache_clear()
    measured_on_goldens.cache_clear()


def resolve(word: str, key: str, detector: type[ZeroShotDetector], device: str) -> str:
    """Return which of `PRECISIONS` the word means for a method on a device of type `cpu` or `cuda`.

    `auto` is float32, but on CUDA bfloat16 for methods of which it was measured that no number of a table
    moves by more than `HARMLESS`. `official` is what the official code does: autocast on CUDA for some.

    Raises:
        BenchError: The device has no such precision.
    """
    if word == "auto":
        drift = measured().get((key, "bfloat16"))
        return "bfloat16" if device == "cuda" and drift and drift.points <= HARMLESS else "float32"
    if word == "official":
        return detector.official_precision if device == "cuda" else "float32"
    if word == "tf32" and device != "cuda":
        raise BenchError("--precision tf32: only CUDA has it; use float32 or --device cuda")
    return word


def as_config(precision: str) -> dict[str, Any]:
    """Return the part of a cell's configuration that says what ran in which precision."""
    # Cells of before the encoder alone was lowered say nothing of it, and are not taken for these.
    return {"precision": precision} | ({} if precision == "float32" else {"precision_of": "encoder"})


def drift_of(method: str, precision: str) -> dict[str, Any] | str | None:
    """Return what a cell says of the precision it was computed in, `not measured` where that is so.

    None: float32. Under `goldens` is the worst on the networks of the method's golden files, if any.
    """
    if precision == "float32":
        return None
    drift = measured().get((method, precision))
    if drift is None:
        return "not measured"
    said = asdict(drift) | {"points": drift.points}
    alike = [each for each in measured_on_goldens() if (each.method, each.precision) == (method, precision)]
    return said | ({"goldens": worst(alike)} if alike else {})


def worst(alike: Sequence[GoldenDrift]) -> dict[str, Any]:
    """Return the largest drifts of a method in one precision, and on how many files of which width."""
    return {
        "files": len({each.golden for each in alike}),
        "widest": max(each.width for each in alike),
        "score": max(each.score for each in alike),
        "map": max(each.map for each in alike),
    }


def slow_here(precision: str, device: str, capabilities: Mapping[str, Any]) -> bool:
    """Return whether a CPU with these `torch.cpu.get_capabilities` only imitates the precision."""
    kind = {"bfloat16": "bf16", "float16": "fp16"}.get(precision, "")
    return (
        device == "cpu"
        and precision in AUTOCAST
        and not any(present for name, present in capabilities.items() if name.endswith(kind))
    )
