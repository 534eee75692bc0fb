"""Encoding with memory: features from the cache where they are, from the encoder where not."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from bench.features import FeatureCache, batch_of, features_key, rows_of
from methods.base import Features, ZeroShotDetector


class Encoder:
    """Answers for the frozen part of one model; without a cache it computes everything."""

    def __init__(
        self,
        model: ZeroShotDetector,
        method: str,
        weights: Mapping[str, str],
        *,
        cache: FeatureCache | None,
        device: torch.device,
        precision: str = "float32",
    ) -> None:
        """Serve `model`, whose frozen weights have the digests `weights` by role."""
        self.cache, self.device = cache, device
        self.key = features_key(model, method, weights, precision, device) if cache else None

    def digest(self, image: Path) -> str | None:
        """Return what the image's features are kept under; None if they are not kept."""
        return self.cache.digest(image) if self.cache and self.key else None

    def has(self, digest: str) -> bool:
        """Whether the image with this digest need not be read."""
        return self.cache is not None and self.key is not None and self.cache.has(self.key, digest)

    def features(
        self, model: ZeroShotDetector, images: Sequence[tuple[str | None, Tensor | None]]
    ) -> Features:
        """Return the features of a batch of (digest, network input); a digest of None is not kept.

        An input may be None where `has` said so.
        """
        if self.cache is None or self.key is None:
            return self._encode(model, [tensor for _, tensor in images])
        rows = [self.cache.read(self.key, digest) if digest else None for digest, _ in images]
        missing = [index for index, row in enumerate(rows) if row is None]
        if missing:
            fresh = rows_of(self._encode(model, [images[index][1] for index in missing]))
            for index, row in zip(missing, fresh, strict=True):
                rows[index] = row
                digest = images[index][0]
                if digest is not None:
                    self.cache.write(self.key, digest, row)
        features = batch_of([row for row in rows if row is not None])
        return {name: tensor.to(self.device) for name, tensor in features.items()}

    def _encode(self, model: ZeroShotDetector, tensors: Sequence[Tensor | None]) -> Features:
        batch = torch.stack([tensor for tensor in tensors if tensor is not None]).to(self.device)
        with torch.no_grad():
            return model.encode(batch)
