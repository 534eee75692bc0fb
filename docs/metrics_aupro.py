"""Draw docs/metrics_aupro.png: why the two AUPROs differ. Run `python -m docs.metrics_aupro`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from metrics import PixelMetrics
from metrics.anomalous import Anomalous
from metrics.aupro import LIMIT, Protocol, protocol_aupro
from metrics.keys import keys_of
from metrics.normals import NumpyNormals
from metrics.regions import label_regions

TARGET = Path(__file__).with_suffix(".png")
SCALE, SMOOTH = 2, 3
WIDTH, HEIGHT, LEFT, TOP, GAP = 300, 220, 60, 58, 70
SIZE = (LEFT + 2 * WIDTH + GAP + 20, TOP + HEIGHT + 100)
INK, GREY, BLUE, ORANGE = (34, 34, 34), (125, 125, 125), (31, 111, 180), (214, 107, 16)
PALE_BLUE, PALE_ORANGE = (150, 190, 225), (250, 226, 205)

Point = tuple[float, float]


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
    anomalous.sort()
    cuts = np.unique(np.quantile(keys_of(maps[masks == 0]), np.linspace(1 - LIMIT, 1, 400))).astype(np.int32)
    rates = normals.count(cuts)[1] / len(normals)
    overlaps = [shares.mean() for shares in anomalous.coverage(cuts)][::-1]
    exact = np.stack([rates, overlaps], axis=1)
    return exact, protocol_aupro("numpy1", maps.min(), maps.max(), normals, anomalous)


class Canvas:
    """Draws in points, `SMOOTH` times too large, so that scaling down smooths the edges."""

    def __init__(self) -> None:
        self._zoom = SCALE * SMOOTH
        self._image = Image.new("RGB", (SIZE[0] * self._zoom, SIZE[1] * self._zoom), "white")
        self._draw = ImageDraw.Draw(self._image)

    def _zoomed(self, points: list[Point]) -> list[Point]:
        return [(x * self._zoom, y * self._zoom) for x, y in points]

    def line(self, points: list[Point], color: tuple[int, int, int], width: float = 1) -> None:
        """Draw a line through points."""
        self._draw.line(self._zoomed(points), color, round(width * self._zoom), joint="curve")

    def area(self, points: list[Point], color: tuple[int, int, int]) -> None:
        """Fill a polygon."""
        self._draw.polygon(self._zoomed(points), color)

    def dot(self, point: Point, color: tuple[int, int, int]) -> None:
        """Draw a small disk."""
        self._draw.circle(self._zoomed([point])[0], 2.5 * self._zoom, color)

    def text(self, point: Point, words: str, color: tuple[int, int, int] = INK, anchor: str = "mm") -> None:
        """Write words in 13 point letters; `anchor` as Pillow names it."""
        font = ImageFont.load_default(13 * self._zoom)
        self._draw.text(self._zoomed([point])[0], words, color, font, anchor)

    def save(self, path: Path) -> None:
        """Write the drawing as PNG."""
        size = (SIZE[0] * SCALE, SIZE[1] * SCALE)
        self._image.resize(size, Image.Resampling.BOX).quantize(64).save(path, optimize=True)


def panel(canvas: Canvas, left: int, title: str, logits: np.ndarray, masks: np.ndarray) -> None:
    """Draw the exact curve with its area, and the points and the area that the protocol sees of it."""
    maps = (1 / (1 + np.exp(-logits))).astype(np.float32)
    curve, protocol = curves(maps, masks)
    metrics = PixelMetrics()
    metrics.add(maps, masks)
    values = metrics.result().values
    bottom, middle = TOP + HEIGHT, left + WIDTH / 2

    def place(points: np.ndarray) -> list[Point]:
        return [(left + WIDTH * x / LIMIT, bottom - HEIGHT * y) for x, y in points]

    points = place(np.stack([protocol.rates, protocol.overlaps], axis=1))
    canvas.area([(left, bottom), *place(curve[::-1]), (left + WIDTH, bottom)], PALE_ORANGE)
    canvas.area([*points, (points[-1][0], bottom), (points[0][0], bottom)], PALE_BLUE)
    canvas.line(place(curve), ORANGE, 2)
    for y in range(TOP, bottom, 8):
        canvas.line([(points[0][0], y), (points[0][0], y + 4)], BLUE)
    canvas.line([(left, TOP), (left, bottom), (left + WIDTH, bottom)], INK)
    for point in points:
        canvas.dot(point, BLUE)
    for tick in (0, 0.1, 0.2, 0.3):
        canvas.text((left + WIDTH * tick / LIMIT, bottom + 14), f"{tick:g}")
    for tick in (0, 0.5, 1):
        canvas.text((left - 8, bottom - HEIGHT * tick), f"{tick:g}", anchor="rm")
    canvas.text((left, TOP - 14), "overlap", GREY)
    canvas.text((middle, TOP - 40), title)
    canvas.text((middle, TOP - 18), f"exact AUPRO {values['pixel_aupro_exact']:.3f}", ORANGE)
    canvas.text((middle, bottom + 34), "false positive rate", GREY)
    canvas.text((middle, bottom + 58), f"200-threshold AUPRO {values['pixel_aupro']:.3f}", BLUE)
    kept = f"{protocol.rates.size} of 200 thresholds below 0.3, up to {protocol.largest_fpr:.3f}"
    canvas.text((middle, bottom + 78), kept, BLUE)


def main() -> None:
    """Draw both panels."""
    logits, masks = example()
    canvas = Canvas()
    panel(canvas, LEFT, "scores as they are", logits, masks)
    panel(canvas, LEFT + WIDTH + GAP, "the same, saturated: 4 (logit - 1)", 4 * (logits - 1), masks)
    canvas.save(TARGET)


if __name__ == "__main__":
    main()
