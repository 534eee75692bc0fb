"""The pixel-level metrics of one class, from maps as they come."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from metrics import streaming
from metrics.aupro import FLAVOURS
from metrics.exact import Exact
from metrics.keys import LARGEST_FINITE, keys_of
from metrics.normals import NumpyNormals, TorchNormals
from metrics.regions import label_regions
from metrics.streaming import Histograms
from metrics.table import ONE_CLASS, Report, undefined

MODES = ("exact", "streaming")
ENGINES = ("auto", "numpy", "torch")
_WORKING_SPACE = 48 << 20
"""Bytes for the temporaries of one image and of one block, generously."""


def memory_estimate(n_pixels: int, mode: str = "exact") -> int:
    """Return the most bytes that `PixelMetrics` takes for a class of `n_pixels` (all images together).

    Exact: 2 bytes per normal and 8 per anomalous pixel, both plus at most one for the borders between groups;
    here every pixel is taken for anomalous, which leaves room for the regions of all but the most scattered
    masks and for normal scores on a GPU. Streaming: the same at any number. Maps and masks are not included.
    """
    return _WORKING_SPACE + (streaming.BYTES if mode == "streaming" else 9 * n_pixels)


class PixelMetrics:
    """Takes the anomaly maps and masks of one class and returns its pixel metrics.

    `mode` "exact" keeps 2 bytes per normal and 8 per anomalous pixel and computes every metric exactly;
    "streaming" keeps histograms of a fixed size and gives each metric a bracket. `flavour` is the arithmetic
    of `pixel_aupro`, a key of `metrics.aupro.FLAVOURS`. `engine` says where exact mode counts: "numpy", on
    the CPU; "torch", where the maps are; "auto", which is "torch" for tensors that lie on an accelerator
    and "numpy" otherwise. The engine never changes a number.
    """

    def __init__(self, *, mode: str = "exact", flavour: str = "numpy1", engine: str = "auto") -> None:
        for what, value, known in (
            ("mode", mode, MODES),
            ("flavour", flavour, tuple(FLAVOURS)),
            ("engine", engine, ENGINES),
        ):
            if value not in known:
                raise ValueError(f"{what} {value!r} is not one of {', '.join(known)}")
        self._mode = mode
        self._flavour = flavour
        self._engine = engine if mode == "exact" else "numpy"
        self._device: Any = None
        self._collector: Exact | Histograms | None = None
        self._images = self._pixels = self._anomalous = self._regions = 0
        self._low, self._high = LARGEST_FINITE, -LARGEST_FINITE

    def add(self, maps: Any, masks: Any, names: Sequence[str] | str | None = None) -> None:
        """Take the maps and masks of some images, (B, H, W) or (H, W), and keep what is needed of them.

        `maps` are float32 or a narrower float, higher for more anomalous; `masks` of the same shape are 0 or
        1 (uint8 or bool); both NumPy arrays or tensors. The size may differ from call to call. `names` are
        for messages. Raises `ValueError` naming the image for a score that is NaN or infinite, shapes that
        differ, or a mask value that is not 0 or 1; the class must then be started afresh. float64 maps are
        refused, for rounding them would make ties.
        """
        masks = masks.cpu().numpy() if _is_tensor(masks) else np.asarray(masks)
        maps = self._place(maps if _is_tensor(maps) else np.asarray(maps))
        if maps.ndim == 2 and masks.ndim == 2:
            maps, masks, names = maps[None], masks[None], [names] if isinstance(names, str) else names
        if names is None:
            names = [f"image {self._images + i}" for i in range(len(maps))]
        if maps.ndim != 3 or tuple(maps.shape) != masks.shape or 0 in masks.shape[1:]:
            raise ValueError(
                f"{names[0] if names else 'a batch'}: a map of shape {tuple(maps.shape)} and a mask of shape"
                f" {masks.shape} do not go together: both must be (H, W) or (B, H, W)"
            )
        for scores, mask, name in zip(maps, masks, names, strict=True):
            self._add_image(scores, mask, name)

    def result(self) -> Report:
        """Return the metrics of all images added; raises `ValueError` if there are none."""
        if self._collector is None or not self._images:
            raise ValueError("a class without images has no pixel metrics: add maps and masks first")
        details: dict[str, float | int | bool] = {
            "pixel_images": self._images,
            "pixel_count": self._pixels,
            "pixel_anomalous": self._anomalous,
            "pixel_regions": self._regions,
        }
        if self._anomalous in (0, self._pixels):
            return Report(*undefined("pixel", ONE_CLASS), details)
        report = self._collector.report(self._low, self._high)
        return Report(report.values, report.reasons, details | report.details, report.brackets)

    def _place(self, maps: Any) -> Any:
        """Return float32 maps where this class's are kept, which the first call settles."""
        kind = str(maps.dtype).removeprefix("torch.")
        if kind not in ("float16", "bfloat16", "float32"):
            raise ValueError(
                f"maps are {kind}: hand in float32 (a wider type would be rounded, which makes ties)"
            )
        if self._collector is None:
            if _is_tensor(maps) and self._engine != "numpy":
                stays = self._engine == "torch" or maps.device.type != "cpu"
                self._device = maps.device if stays else None
            if self._mode == "streaming":
                self._collector = Histograms()
            else:
                normals = NumpyNormals() if self._device is None else TorchNormals()
                self._collector = Exact(normals, self._flavour)
        if self._device is not None:
            import torch  # noqa: PLC0415 (only where tensors are handed in)

            return torch.as_tensor(maps, device=self._device, dtype=torch.float32).detach()
        if _is_tensor(maps):
            return maps.detach().float().cpu().numpy()
        return maps.astype(np.float32, copy=False)

    def _add_image(self, scores: Any, mask: np.ndarray, name: str) -> None:
        if mask.dtype != bool and ((mask != 0) & (mask != 1)).any():
            raise ValueError(f"{name}: its mask holds a value that is not 0 or 1: binarise it first")
        mask = mask.astype(bool)
        keys = keys_of(scores)
        low, high = int(keys.min()), int(keys.max())
        if low < -LARGEST_FINITE or high > LARGEST_FINITE:
            raise ValueError(
                f"{name}: its map holds NaN or infinity, which cannot be ranked: mend the method"
            )
        regions, sizes = label_regions(mask)
        assert self._collector is not None
        self._collector.add(keys, mask, regions, sizes)
        self._low, self._high = min(self._low, low), max(self._high, high)
        self._images += 1
        self._pixels += mask.size
        self._anomalous += regions.size
        self._regions += sizes.size


def _is_tensor(values: Any) -> bool:
    torch = sys.modules.get("torch")  # who hands in a tensor has imported it
    return torch is not None and isinstance(values, torch.Tensor)
