"""The keys of a class's normal pixels: kept where the maps are, sorted once, then only counted in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from metrics.buffers import Buffer

if TYPE_CHECKING:
    import torch


DENSE = 16
"""Normal keys and key values per anomalous key up to which a table of counts beats a binary search."""


class Normals(Protocol):
    """A bag of int32 keys that answers how many of them reach or exceed given keys."""

    def __len__(self) -> int: ...

    def split(self, keys: Any, mask: np.ndarray) -> np.ndarray:
        """Keep the keys (H, W) outside `mask` (H, W, bool); return those inside, in raster order."""

    def sort(self) -> None:
        """Make ready for `count`."""

    def count(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how many kept keys are >= and > each of `keys` (n,), which ascend; two int64 (n,)."""


class NumpyNormals:
    """`Normals` in main memory."""

    def __init__(self) -> None:
        self._keys = Buffer(np.int32)

    def __len__(self) -> int:
        return len(self._keys)

    def split(self, keys: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """See `Normals.split`."""
        self._keys.extend(keys[~mask] if mask.any() else keys.ravel())
        return keys[mask]

    def sort(self) -> None:
        """Sort in place."""
        self._keys.values.sort()

    def count(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Normals.count`."""
        kept = self._keys.values
        start = np.searchsorted(kept, keys[0], side="left")
        stop = np.searchsorted(kept, keys[-1], side="right")
        near = kept[start:stop]  # a short stretch stays in the cache
        beyond = kept.size - start
        span = int(keys[-1]) - int(keys[0]) + 1
        if span + near.size <= DENSE * keys.size:
            counts = np.bincount(near - keys[0], minlength=span)
            exceeded = beyond - counts.cumsum()[keys - keys[0]]
            return exceeded + counts[keys - keys[0]], exceeded
        return (
            beyond - np.searchsorted(near, keys, side="left"),
            beyond - np.searchsorted(near, keys, side="right"),
        )


class TorchNormals:
    """`Normals` on the device of the tensors it is given."""

    def __init__(self) -> None:
        self._chunks: list[torch.Tensor] = []

    def __len__(self) -> int:
        return sum(chunk.numel() for chunk in self._chunks)

    def split(self, keys: torch.Tensor, mask: np.ndarray) -> np.ndarray:
        """See `Normals.split`."""
        import torch  # noqa: PLC0415 (only where tensors are handed in)

        inside = torch.from_numpy(mask).to(keys.device)
        self._chunks.append(keys[~inside])
        anomalous: np.ndarray = keys[inside].cpu().numpy()
        return anomalous

    def sort(self) -> None:
        """Sort all at once; this takes about five times the keys' own memory for a moment."""
        import torch  # noqa: PLC0415

        self._chunks = [torch.cat(self._chunks).sort().values]

    def count(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Normals.count`."""
        import torch  # noqa: PLC0415

        (kept,) = self._chunks
        wanted = torch.from_numpy(keys).to(kept.device)
        reached = kept.numel() - torch.searchsorted(kept, wanted, right=False)
        exceeded = kept.numel() - torch.searchsorted(kept, wanted, right=True)
        return reached.cpu().numpy(), exceeded.cpu().numpy()
