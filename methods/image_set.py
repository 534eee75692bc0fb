"""Features of images, and all images of one class as a transductive method sees them."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

Features = dict[str, Tensor]
"""What a frozen encoder computes of a batch of images: named tensors, each with the batch axis first."""


class ImageSet(ABC):
    """All unlabelled images of one class, as a transductive method sees them."""

    digests: Sequence[str]
    """A digest of each image's content: for an order that depends on nothing else."""
    budget: int
    """Bytes that the method may hold at once."""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.digests)

    def note(self, text: str) -> None:  # noqa: B027 (nobody has to watch)
        """Be told what `judge` is doing, for whoever watches."""

    @abstractmethod
    def features(self, indices: Sequence[int], names: Sequence[str] | None = None) -> Features:
        """Return what `encode` computed of these images, of all names or some; as often as asked."""


class LoadedSet(ImageSet):
    """A few images whose features are in memory."""

    def __init__(self, features: Features, budget: int = 1 << 30) -> None:
        """Take the features of all N images."""
        self._features, self.budget = features, budget
        rows = zip(*(features[name].cpu() for name in sorted(features)), strict=True)
        self.digests = [_digest(row) for row in rows]

    def features(self, indices: Sequence[int], names: Sequence[str] | None = None) -> Features:
        """Return the features of these images, of all names or some."""
        return {name: self._features[name][list(indices)] for name in names or self._features}


def _digest(tensors: Sequence[Tensor]) -> str:
    whole = hashlib.sha256()
    for tensor in tensors:
        whole.update(tensor.contiguous().numpy().tobytes())
    return whole.hexdigest()
