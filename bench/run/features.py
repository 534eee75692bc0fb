"""An on-disk feature cache: what a frozen encoder computes of an image is computed once.

Training looks at every image once an epoch, and several sets of prompts are scored on the same images;
its features are the same each time. Features are stored as computed (float32), one file an image,
under the digest of the image and a key of everything else that changes them.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bench.errors import BenchError
from bench.run.precision import as_config
from bench.store.atomic import write_atomically
from bench.store.digests import sha256
from methods import registry
from methods.base import Features, ZeroShotDetector
from methods.sharing import encoder_of, input_of
from methods.weights import frozen


def features_key(
    model: ZeroShotDetector, method: str, weights: Mapping[str, str], device: torch.device
) -> str | None:
    """Return the key of what the model's encoder is; None if its features must not be kept.

    Methods of the suite that have one encoder have one key. One from outside, `method`, has its own: its file
    is in it. `weights` are digests by role; what is learned plays no part in features.
    """
    encoder = encoder_of(model)
    if encoder is None:
        return None
    parts = {
        **encoder,
        "file": _file_of(method),
        "weights": frozen(weights),
        **as_config(model.encoder_precision),
        # Kernels differ in the last bit; mixing devices would make results depend on what was cached where.
        "device": device.type,
    }
    name = str(encoder["name"]).rpartition(".")[2].lower()
    return f"{name}-{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]}"


def _file_of(method: str) -> str | None:
    with suppress(KeyError):  # a class that was handed in
        return registry.file_digest(method)
    return None


@dataclass
class FeatureCache:
    """Features of images below `root`, at most `limit` bytes of them in all.

    A folder that cannot be used only costs time: what is not kept is computed again.
    """

    root: Path
    limit: int
    digest: Callable[[Path], str] = sha256
    """Gives an image's SHA-256."""
    _used: int | None = field(default=None, init=False)

    def _path(self, key: str, digest: str) -> Path:
        return self.root / key / digest[:2] / f"{digest}.safetensors"

    def has(self, key: str, digest: str) -> bool:
        """Whether the image's features are here."""
        try:
            return self._path(key, digest).exists()
        except OSError:
            return False

    def read(self, key: str, digest: str, names: Sequence[str] | None = None) -> Features | None:
        """Return the features of one image without batch axis, all or some; None if they are not here."""
        path = self._path(key, digest)
        try:
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in names or file.keys()}
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError):
            with suppress(OSError):
                path.unlink(missing_ok=True)  # torn by a crash of the machine: computed anew
            return None

    def write(self, key: str, digest: str, features: Features) -> bool:
        """Keep one image's features (without batch axis); returns whether there was room for them.

        A folder that cannot be written to is warned of once, and nothing more is kept.
        """
        size = sum(tensor.numel() * tensor.element_size() for tensor in features.values())
        if self.used + size > self.limit:
            return False
        path = self._path(key, digest)
        plain = {name: tensor.contiguous().cpu() for name, tensor in features.items()}
        try:
            write_atomically(path, lambda place: save_file(plain, place), "ZSAD_CACHE", durable=False)
        except BenchError as error:
            warnings.warn(f"features are not kept: {error}", stacklevel=2)
            self.limit = 0
            return False
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


class Encoder:
    """The frozen part of one model; without a cache it computes everything."""

    def __init__(
        self,
        model: ZeroShotDetector,
        method: str,
        weights: Mapping[str, str],
        *,
        cache: FeatureCache | None,
        device: torch.device,
    ) -> None:
        """Serve `model`, whose frozen weights have the digests `weights` by role."""
        self.model, self.device, self.input = model, device, input_of(model)
        self.key = features_key(model, method, weights, device)
        self._cache, self._name = (cache, self.key) if self.key else (None, "")

    @property
    def keeps(self) -> bool:
        """Whether features are kept on disk."""
        return self._cache is not None

    def digest(self, image: Path) -> str | None:
        """Return what the image's features are kept under; None if they are not kept."""
        return self._cache.digest(image) if self._cache else None

    def has(self, digest: str) -> bool:
        """Whether the image with this digest need not be read."""
        return self._cache is not None and not self.model.handed_on and self._cache.has(self._name, digest)

    def features(self, digests: Sequence[str | None], inputs: Callable[[Sequence[int]], Tensor]) -> Features:
        """Return the features of the images with these digests; None: not kept.

        `inputs` gives the network inputs, on the device, of images of the batch by their places. It may be
        asked for an image although `has` said that it is kept: its features may be gone or torn after all.
        """
        kept, input_name = [self._kept(digest) for digest in digests], self.model.handed_on
        missing = [index for index, row in enumerate(kept) if row is None]
        if missing:
            with torch.no_grad():
                fresh = self.model.encoded(inputs(missing))
            if self._cache is None:
                return fresh
            for index, row in zip(missing, rows_of(fresh), strict=True):
                row.pop(input_name, None)
                kept[index], digest = row, digests[index]
                if row and digest is not None:
                    self._cache.write(self._name, digest, row)
        features = batch_of([row for row in kept if row is not None])
        handed_on = {input_name: inputs(range(len(digests)))} if input_name else {}
        return {name: tensor.to(self.device) for name, tensor in features.items()} | handed_on

    def _kept(self, digest: str | None) -> Features | None:
        return self._cache.read(self._name, digest) if self._cache and digest else None
