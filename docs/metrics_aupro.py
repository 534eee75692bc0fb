"""Draw docs/metrics_aupro.png: why the two AUPROs differ. Run `python -m docs.metrics_aupro`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

from metrics import PixelMetrics
from metrics.anomalous import Anomalous
from metrics.aupro import LIMIT, Overlaps, Protocol, ProtocolArea
from metrics.keys import keys_of
from metrics.normals import NumpyNormals
from metrics.regions import label_regions

TARGET = Path(__file__).with_suffix(".png")
BLUE, ORANGE, PALE_BLUE, PALE_ORANGE = "#1f6fb4", "#d66b10", "#96bee1", "#fae2cd"


def example() -> tuple[np.ndarray, np.ndarray]:
    """Return the logits (float64) of twelve smooth maps, and masks: one to three disks in eight of them."""
    random = np.random.default_rng(5)
    shape = (12, 160, 160)
    masks = np.zeros(shape, dtype=np.uint8)
    rows, columns = np.ogrid[: shape[1], : shape[2]]
    for image in range(8):
        for _ in range(random.integers(1, 4)):
            row, column, radius = *random.uniform(20, 140, 2), random.uniform(4, 18)
            masks[image][(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = 1
    noise = gaussian_filter(random.standard_normal(shape), (0, 4, 4))
    return noise / noise.std() - 1.5 + 1.6 * gaussian_filter(masks.astype(float), (0, 2, 2)), masks


def curves(maps: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, Protocol]:
    """Return points (n, 2) of the exact curve up to 0.3, and what the protocol makes of it."""
    normals, anomalous = NumpyNormals(), Anomalous()
    for scores, mask in zip(maps, masks.astype(bool), strict=True):
        anomalous.extend(normals.split(keys_of(scores), mask), *label_regions(mask))
    normals.sort()
    cuts = np.unique(np.quantile(keys_of(maps[masks == 0]), np.linspace(1 - LIMIT, 1, 400))).astype(np.int32)
    rates = normals.count(cuts)[1] / len(normals)
    overlaps = Overlaps(anomalous.sizes, cuts)
    protocol = ProtocolArea("numpy1", maps.min(), maps.max(), normals, anomalous.sizes)
    for keys, regions, _ in anomalous.walk():
        overlaps.add(keys, regions)
        protocol.add(keys, regions)
    return np.stack([rates, overlaps.values], axis=1), protocol.result()


def panel(axes: Axes, title: str, logits: np.ndarray, masks: np.ndarray) -> None:
    """Draw the exact curve with its area, and the points and the area that the protocol sees of it."""
    maps = (1 / (1 + np.exp(-logits))).astype(np.float32)
    curve, protocol = curves(maps, masks)
    metrics = PixelMetrics()
    metrics.add(maps, masks)
    values = metrics.result().values
    first = protocol.rates[0]
    axes.fill_between(*curve.T, color=PALE_ORANGE, linewidth=0)
    axes.fill_between(protocol.rates, protocol.overlaps, color=PALE_BLUE, linewidth=0)
    axes.plot(*curve.T, color=ORANGE, linewidth=2)
    axes.plot(protocol.rates, protocol.overlaps, "o", color=BLUE, markersize=4, clip_on=False)
    axes.axvline(first, color=BLUE, linewidth=0.8, linestyle="--")
    axes.set(xlim=(0, LIMIT), ylim=(0, 1), xticks=(0, 0.1, 0.2, 0.3), yticks=(0, 0.5, 1), ylabel="overlap")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"{title}\n", fontsize=10)
    axes.text(
        0.5,
        1.03,
        f"exact AUPRO {values['pixel_aupro_exact']:.3f}",
        color=ORANGE,
        ha="center",
        transform=axes.transAxes,
    )
    axes.set_xlabel("false positive rate")
    axes.text(
        0.5,
        -0.22,
        f"200-threshold AUPRO {values['pixel_aupro']:.3f}\n"
        f"{protocol.rates.size} of 200 thresholds below 0.3, up to {protocol.largest_fpr:.3f}",
        color=BLUE,
        ha="center",
        va="top",
        transform=axes.transAxes,
    )


def main() -> None:
    """Draw both panels."""
    logits, masks = example()
    figure = Figure(figsize=(7.5, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    panel(left, "scores as they are", logits, masks)
    panel(right, "the same, saturated: 4 (logit - 1)", 4 * (logits - 1), masks)
    figure.savefig(TARGET, dpi=160)


if __name__ == "__main__":
    main()
