"""Weights trained here: a plain state dictionary whose header says what determined them.

Equal trainings give equal files, and so equal keys of cells. What differs from one to the next (seconds,
date, machine) stands in a file beside: `NAME.provenance.json`.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bench.errors import BenchError
from bench.store.atomic import write_atomically


@dataclass(frozen=True)
class Trained:
    """The record in a file of learned tensors."""

    source: str
    method: str
    options: dict[str, Any]
    recipe: dict[str, Any]
    weights: dict[str, str]
    """Role -> SHA-256 of the frozen weights."""
    data: dict[str, str]
    """`dataset/class` -> fingerprint."""
    images: list[str]
    """First 16 digits of the SHA-256 of every image trained on: they tell a renamed copy."""
    loss: list[dict[str, float]]
    """Mean loss terms, epoch by epoch."""
    untrained_backbone: bool

    def save(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Write tensors and record to one safetensors file, whole or not at all."""
        text = json.dumps(dataclasses.asdict(self))
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        write_atomically(
            path, lambda place: save_file(plain, place, metadata={"zsad-bench": text}), "--weights-root"
        )

    def differs(self, other: "Trained") -> list[str]:
        """Return what determines the tensors and is not the same: `options`, `data`..."""
        names = ("source", "method", "options", "recipe", "weights", "data")
        mine, theirs = (json.loads(json.dumps(dataclasses.asdict(each))) for each in (self, other))
        return [name for name in names if mine[name] != theirs[name]]


def read_trained(path: Path) -> Trained | None:
    """Return the record in the file; None for weights from elsewhere.

    Raises `BenchError` naming a file whose header is damaged.
    """
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("zsad-bench")
        return None if text is None else _parse(text)
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        reason = str(error) or type(error).__name__
        raise BenchError(f"{path}: its header cannot be read ({reason}); train it again") from error


def _parse(text: str) -> Trained:
    """Read a record; raises `ValueError` or `TypeError` where it is not one.

    Older files tell more (`seconds`, `provenance`), which is passed over.
    """
    fields = dataclasses.fields(Trained)
    content = json.loads(text)
    trained = Trained(**{field.name: content[field.name] for field in fields if field.name in content})
    for field in fields:
        kind: Any = get_origin(field.type) or field.type
        if not isinstance(getattr(trained, field.name), kind):
            raise TypeError(f"{field.name} is not a {kind.__name__}")
    return trained
