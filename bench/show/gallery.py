"""The qualitative grid: images, masks and every method's heat maps side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.show.pictures import tinted
from bench.store.atomic import write_atomically

_INCHES, _LABELS, _PIXELS = 1.0, 1.1, 224
"""Sides of a tile and of the column of labels in inches; a tile's side in pixels."""
_LETTERS = 18
"""In a line of a label."""


@dataclass(frozen=True)
class GalleryRow:
    """One image under all methods."""

    title: str
    subtitle: str
    image: Image.Image
    mask: NDArray[np.uint8]
    """(H, W), 0 or 1."""
    maps: Sequence[NDArray[np.float32]]
    """Anomaly map (S, S) of each method."""


def draw_gallery(rows: Sequence[GalleryRow], methods: Sequence[str], path: Path, flag: str = "--out") -> None:
    """Draw the grid to `path` (.png, .pdf or .svg): image, mask, then a heat map for each of `methods`.

    Heat maps are scaled map by map: they show where, not how much. Raises `BenchError`, naming the command
    line's `flag`, where `path` cannot be written.
    """
    from matplotlib import rc_context  # noqa: PLC0415 (only who draws waits for it)
    from matplotlib.figure import Figure  # noqa: PLC0415

    titles = ["image", "mask", *methods]
    width, height = _LABELS + _INCHES * len(titles), _INCHES * len(rows) + 0.25
    with rc_context({"pdf.fonttype": 42, "font.size": 7}):  # 42: letters stay text
        figure = Figure(figsize=(width, height))
        grid = figure.subplots(
            len(rows), len(titles), squeeze=False, gridspec_kw={"wspace": 0.05, "hspace": 0.05}
        )
        figure.subplots_adjust(left=_LABELS / width, right=1, bottom=0, top=1 - 0.25 / height)
        for axes, title in zip(grid[0], titles, strict=True):
            axes.set_title(title, fontsize=8, pad=3)
        for line, row in zip(grid, rows, strict=True):
            image = row.image.resize((_PIXELS, _PIXELS), Image.Resampling.BILINEAR)
            mask = Image.fromarray(row.mask * np.uint8(255)).convert("RGB").resize(image.size)
            heat = [tinted(image, scores, float(scores.min()), float(scores.max())) for scores in row.maps]
            for axes, tile in zip(line, [image, mask, *heat], strict=True):
                axes.imshow(np.asarray(tile))
                axes.set_axis_off()
            labels = ((0.52, "bottom", row.title, "black"), (0.48, "top", row.subtitle, "dimgrey"))
            for y, side, text, color in labels:
                wrapped = textwrap.fill(text, _LETTERS)
                line[0].text(-0.06, y, wrapped, color=color, ha="right", va=side, transform=line[0].transAxes)
        kind = path.suffix.removeprefix(".") or "png"
        write_atomically(path, lambda place: figure.savefig(place, format=kind, dpi=160), flag)
