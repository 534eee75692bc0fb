"""The qualitative grid: images, ground truth and every method's heat maps side by side."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from bench.errors import BenchError, refuse_unknown, unknown
from bench.grouped import grouped
from bench.show.curves import PICKS, pick
from bench.show.images import Images
from bench.show.means import ColumnCells
from bench.show.pictures import COLORMAP, tinted
from bench.store.cells import Cell
from datasets.catalog import place_of

SCALES = {
    "map": "each map from its own lowest to its highest value",
    "common": "each method from its lowest to its highest value over all images of the class",
}
_GAP, _PIXELS = 0.03, 320
"""Between tiles, in inches; a tile's side in pixels."""
_WIDE = 0.6
"""Inches of a letter for each inch of its size, about."""


@dataclass(frozen=True)
class Heat:
    """A method's map of an image and the ends of its colour scale."""

    scores: NDArray[np.float32]
    """(S, S)"""
    low: float
    high: float


@dataclass(frozen=True)
class GalleryRow:
    """One image under all methods."""

    title: str
    subtitle: str
    image: Image.Image
    mask: NDArray[np.uint8] | None
    """(H, W), 0 or 1; None: there is no pixel truth."""
    heats: Sequence[Heat | None]
    """Of each method; None: it has no cell of the class."""


def gallery_rows(
    columns: Sequence[ColumnCells],
    images: Images,
    *,
    picks: Sequence[str] = ("median",),
    names: Sequence[str] = (),
    classes: Sequence[str] = (),
    most: int = 6,
    scale: str = "map",
) -> list[GalleryRow]:
    """Return the rows of a gallery.

    Args:
        columns: The methods. Of several seeds of a class the first one is shown.
        images: Reads images, masks and kept maps.
        picks: Which anomalous images of each class (`bench.show.curves.pick`), for as many classes as `most`
            rows allow: the first class of each dataset, then the second of each.
        names: Images by their names in the cells, or by the ends of these, instead.
        classes: Only these classes; empty: all.
        most: Most rows.
        scale: A key of `SCALES`.

    Raises:
        BenchError: A word is unknown, an image or map is not here, or nothing is left to show.
    """
    refuse_unknown("scale", [scale], SCALES)
    refuse_unknown("pick", picks, PICKS)
    if "disagreement" in picks and len(columns) < 2:
        raise BenchError("methods disagree where there are two: name more with --methods")
    by_class = _by_class(columns)
    refuse_unknown("class", classes, (class_key for _, class_key in by_class))
    wanted = [cells for (_, class_key), cells in by_class.items() if not classes or class_key in classes]
    if names:
        chosen = [_named(word, wanted) for word in names]
    else:
        chosen = [shot for cells in _spread(wanted, -(-most // len(picks))) for shot in _picked(cells, picks)]
    if not chosen:
        raise BenchError("none of these classes has an anomalous image: name images with --images")
    return [_row(shot, images, scale) for shot in chosen[:most]]


_Cells = Sequence[Cell | None]
"""Of one class, a place for each method."""
_Shot = tuple[_Cells, str, str]
"""Cells of the image's class, its name, and what is said of it."""


def _by_class(columns: Sequence[ColumnCells]) -> dict[tuple[str, str], _Cells]:
    """Return the cells of each dataset and class, datasets in the catalog's order."""
    found: dict[tuple[str, str], list[Cell | None]] = {}
    for place, column in enumerate(columns):
        for cell in column.cells:
            cells = found.setdefault((cell["dataset"], cell["class"]), [None] * len(columns))
            cells[place] = cells[place] or cell
    return dict(sorted(found.items(), key=lambda item: place_of(_first(item[1])["target"])))


def _first(cells: _Cells) -> Cell:
    return next(cell for cell in cells if cell is not None)


def _spread(wanted: Sequence[_Cells], count: int) -> list[_Cells]:
    """Return `count` classes, in order: the first of each dataset, then the second of each."""
    usable = [cells for cells in wanted if _first(cells)["counts"]["anomalous"]]
    by_dataset = grouped(range(len(usable)), lambda place: str(_first(usable[place])["dataset"]))
    turns = chain.from_iterable(zip_longest(*by_dataset.values()))
    return [usable[place] for place in sorted([place for place in turns if place is not None][:count])]


def _picked(cells: _Cells, picks: Sequence[str]) -> Iterator[_Shot]:
    there = [cell for cell in cells if cell is not None]
    for which in picks:
        if (name := pick(there, which)) is not None:
            yield cells, name, f"{there[0]['class']}, {which}"


def _named(word: str, wanted: Sequence[_Cells]) -> _Shot:
    found = [
        (cells, row["image"])
        for cells in wanted
        for row in _first(cells)["scores"]
        if row["image"] == word or row["image"].endswith(f"/{word}")
    ]
    if not found:
        raise unknown("image", word, (row["image"] for cells in wanted for row in _first(cells)["scores"]))
    if len(found) > 1:
        places = " and ".join(f"{_first(cells)['dataset']}: {name}" for cells, name in found[:2])
        raise BenchError(f"--images {word}: there is more than one ({places}); write more of its name")
    (cells, name), *_ = found
    return cells, name, name


def _row(shot: _Shot, images: Images, scale: str) -> GalleryRow:
    cells, name, said = shot
    first = _first(cells)
    heats = [_heat(cell, name, images, scale) if cell is not None else None for cell in cells]
    return GalleryRow(
        first["dataset_title"], said, images.image(first, name), images.mask(first, name), heats
    )


def _heat(cell: Cell, name: str, images: Images, scale: str) -> Heat:
    scores = images.heat(cell, name)
    if scale == "common":
        kept = images.maps(cell)
        return Heat(scores, float(kept.low.min()), float(kept.high.max()))
    return Heat(scores, float(scores.min()), float(scores.max()))


def draw_gallery(rows: Sequence[GalleryRow], methods: Sequence[str], width: float, scale: str) -> Figure:
    """Return the grid, `width` inches wide: image, mask, then a heat map for each of `methods`.

    `scale`, a key of `SCALES`, is said below the grid.
    """
    titles = ["image", "ground truth", *methods]
    labels = min(1.1, 0.2 * width)
    tile = (width - labels) / len(titles)
    size = min(8.0, max(4.5, 14 * tile))
    turned = max(len(max(title.split(), key=len)) for title in titles) * size * _WIDE / 72 > tile
    lines = 1 if turned else max(len(_wrapped(title, tile, size).splitlines()) for title in titles)
    longest = max(map(len, titles)) * size * _WIDE / 72
    top = 0.05 + (0.75 * longest if turned else lines * 1.3 * size / 72)
    bottom = 0.34
    height = top + tile * len(rows) + bottom
    figure = Figure(figsize=(width, height))
    # One grid, in inches: with axes for each tile it takes far longer.
    grid = figure.add_axes((0, 0, 1, 1), label="grid")
    side = tile - _GAP
    for down, row in enumerate(rows):
        image = row.image.resize((_PIXELS, _PIXELS), Image.Resampling.BILINEAR)
        mask = None if row.mask is None else Image.fromarray(row.mask * np.uint8(255)).resize(image.size)
        heat = [
            None if each is None else tinted(image, each.scores, each.low, each.high) for each in row.heats
        ]
        low = bottom + (len(rows) - 1 - down) * tile
        for across, picture in enumerate([image, mask, *heat]):
            left = labels + across * tile
            if picture is None:
                middle = left + side / 2, low + side / 2
                grid.text(*middle, "n/a", ha="center", va="center", color="dimgrey", fontsize=size)
            else:
                grid.imshow(np.asarray(picture), cmap="gray", vmin=0, vmax=255, label=f"{down},{across}",
                            extent=(left, left + side, low, low + side))  # fmt: skip
            if down == 0:
                _head(grid, (left, low + side), titles[across], tile, size, turned)
        _stub(grid, (labels, low), side, row, min(8.0, 7.5 * labels))
    grid.set(xlim=(0, width), ylim=(0, height), aspect="auto")
    grid.set_axis_off()
    _colour_bar(figure, SCALES[scale], labels / width, height)
    return figure


def _wrapped(text: str, inches: float, size: float) -> str:
    return textwrap.fill(text, max(3, int(inches * 72 / (size * _WIDE))), break_long_words=True)


def _head(
    grid: Axes, corner: tuple[float, float], title: str, tile: float, size: float, turned: bool
) -> None:
    (left, high), side = corner, tile - _GAP
    if turned:
        grid.text(left + 0.4 * side, high + 0.04 * side, title, fontsize=size, rotation=45, va="bottom",
                  rotation_mode="anchor")  # fmt: skip
    else:
        grid.text(left + side / 2, high + 2 / 72, _wrapped(title, tile, size), fontsize=size, ha="center",
                  va="baseline", gid="head")  # fmt: skip


def _stub(grid: Axes, corner: tuple[float, float], side: float, row: GalleryRow, size: float) -> None:
    left, low = corner
    for y, edge, text, colour in (
        (0.53, "bottom", row.title, "black"),
        (0.47, "top", row.subtitle, "dimgrey"),
    ):
        grid.text(left - 0.06 * side, low + y * side, _wrapped(text, left, size), fontsize=size,
                  color=colour, ha="right", va=edge)  # fmt: skip


def _colour_bar(figure: Figure, said: str, left: float, height: float) -> None:
    axes = figure.add_axes((left, 0.2 / height, 0.25, 0.07 / height), label="scale")
    bar = figure.colorbar(ScalarMappable(cmap=colormaps[COLORMAP]), cax=axes, orientation="horizontal")
    bar.set_ticks([0, 1], labels=["low", "high"], fontsize=6)
    bar.outline.set_linewidth(0.4)
    axes.tick_params(length=0, pad=1.5)
    figure.text(left + 0.29, 0.235 / height, said, fontsize=6, va="center", color="dimgrey")
