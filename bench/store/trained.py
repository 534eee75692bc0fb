"""Weights trained here: a plain state dictionary whose header says where it comes from."""

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
    """What a file of learned tensors says of itself."""

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
    seconds: float
    untrained_backbone: bool
    provenance: dict[str, Any]

    def save(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Write tensors and record to one safetensors file, whole or not at all."""
        text = json.dumps(dataclasses.asdict(self))
        plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
        write_atomically(
            path, lambda place: save_file(plain, place, metadata={"zsad-bench": text}), "--weights-root"
        )


def read_trained(path: Path) -> Trained | None:
    """Return what the file says of itself; None for weights from elsewhere.

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
    """Read a record; raises `ValueError` or `TypeError` where it is not one."""
    trained = Trained(**json.loads(text))
    for field in dataclasses.fields(Trained):
        kind: Any = get_origin(field.type) or field.type
        value = getattr(trained, field.name)
        if not isinstance(value, (int, float) if kind is float else kind):
            raise TypeError(f"{field.name} is not a {kind.__name__}")
    return trained
