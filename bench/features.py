"""What a frozen encoder says of an image, computed once and kept on disk.

Training looks at every image once an epoch, and several sets of prompts are scored on the same images;
the encoder's answer is the same each time. Features are stored as computed (float32), one file an image,
under the digest of the image and a key of everything else that changes them.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.digests import sha256
from bench.whole import write_whole
from methods.base import Features, ZeroShotDetector


def features_key(
    model: ZeroShotDetector, method: str, weights: Mapping[str, str], precision: str, device: torch.device
) -> str | None:
    """Return the key of the model's encoder; None if its features must not be kept.

    `weights` are digests by role; what is learned plays no part in features.
    """
    if model.encoder_options is None:
        return None
    parts = {
        "method": method,
        "version": model.version,
        "options": {name: model.options[name] for name in sorted(model.encoder_options)},
        "weights": {role: digest for role, digest in weights.items() if role != "learned"},
        "precision": precision,
        # Kernels differ in the last bit; mixing devices would make results depend on what was cached where.
        "device": device.type,
    }
    return f"{method}-{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]}"


@dataclass
class FeatureCache:
    """Features of images below `root`, at most `limit` bytes of them in all."""

    root: Path
    limit: int
    digest: Callable[[Path], str] = sha256
    """Gives an image's SHA-256."""
    _used: int | None = field(default=None, init=False)

    def _path(self, key: str, digest: str) -> Path:
        return self.root / key / digest[:2] / f"{digest}.safetensors"

    def has(self, key: str, digest: str) -> bool:
        """Whether the image's features are here."""
        return self._path(key, digest).exists()

    def read(self, key: str, digest: str) -> Features | None:
        """Return the features of one image without batch axis, None if they are not here."""
        path = self._path(key, digest)
        try:
            features: Features = load_file(path)
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError):
            path.unlink(missing_ok=True)  # torn by a crash of the machine: computed anew
            return None
        return features

    def write(self, key: str, digest: str, features: Features) -> bool:
        """Keep one image's features (without batch axis); returns False if the limit leaves no room."""
        size = sum(tensor.numel() * tensor.element_size() for tensor in features.values())
        if self.used + size > self.limit:
            return False
        path = self._path(key, digest)
        plain = {name: tensor.contiguous().cpu() for name, tensor in features.items()}
        write_whole(path, lambda place: save_file(plain, place), "ZSAD_CACHE", durable=False)
        self._used = self.used + size
        return True

    @property
    def used(self) -> int:
        """Bytes in use."""
        if self._used is None:
            files = self.root.rglob("*.safetensors") if self.root.exists() else ()
            self._used = sum(path.stat().st_size for path in files)
        return self._used


def batch_of(rows: Sequence[Features]) -> Features:
    """Stack features of single images to those of a batch."""
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def rows_of(features: Mapping[str, Tensor]) -> list[Features]:
    """Take the features of a batch apart, one image each."""
    count = len(next(iter(features.values())))
    return [{name: tensor[index].clone() for name, tensor in features.items()} for index in range(count)]
