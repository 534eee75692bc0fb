"""ROC and precision-recall curves of images and pixels, and the per-region overlap curve."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.errors import BenchError, refuse_unknown
from bench.show.curves import Rates, rates
from bench.show.figures.paper import line_of
from bench.show.images import Images
from bench.show.means import Results
from bench.show.model import metric_title
from bench.store.cells import Cell
from metrics import Curve

Points = tuple[NDArray[np.float64], NDArray[np.float64]]
_GRID = np.linspace(0, 1, 1001)
_INSIDE = 4
"""Lines whose legend finds room among them."""
_NARROW, _LETTER = 1.6, 0.05
"""Inches that a panel and a letter of a legend need."""


class Panel(NamedTuple):
    """A kind of curve."""

    title: str
    x: str
    y: str
    metric: str
    """The metric that is its area (up to `limit`)."""
    limit: float = 1.0


PANELS = {
    "roc": Panel("Image ROC", "false positive rate", "true positive rate", "image_auroc"),
    "pr": Panel("Image precision-recall", "recall", "precision", "image_ap"),
    "pixel-roc": Panel("Pixel ROC", "false positive rate", "true positive rate", "pixel_auroc"),
    "pixel-pr": Panel("Pixel precision-recall", "recall", "precision", "pixel_ap"),
    "pro": Panel("Per-region overlap", "false positive rate", "mean overlap", "pixel_aupro_exact", 0.3),
}


@dataclass(frozen=True)
class Line:
    """A method's curve in a panel."""

    label: str
    """The method and its metric."""
    place: int
    """Of the method among all, for its colour."""
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def curve_lines(
    panel: str, results: Results, dataset: str, images: Images, classes: Sequence[str] = ()
) -> list[Line]:
    """Return the methods' lines of a panel on one dataset (its key).

    Over several classes (and seeds) it is the mean curve: at each x the mean of y, so that the area below it
    is the mean of the areas, as in the tables.

    Raises:
        BenchError: A class is unknown, or maps of a pixel-level panel are not kept.
    """
    kind, lines = PANELS[panel], []
    row = next(row for row in results.rows if row.key == dataset)
    measured = _measured(results, dataset)
    shown = _measured(results, dataset, classes)
    for place, column in enumerate(results.columns):
        cells = (cell for cell in column.on(dataset) if cell["class"] in shown)
        curves = [points for cell in cells if (points := _points(panel, cell, images)) is not None]
        if not curves:
            continue
        (x, y), *others = curves
        if others:
            x, y = _GRID, np.mean([_at(_GRID, *points, kind.x == "recall") for points in curves], axis=0)
        said = ""
        if len(shown) in (1, len(measured)):
            value = results.value(column.label, row, kind.metric, shown[0] if len(shown) == 1 else "")
            said = f" {value.text}{value.symbols}"
        lines.append(Line(column.label + said, place, x, y))
    return lines


def _measured(results: Results, dataset: str, classes: Sequence[str] = ()) -> list[str]:
    """Return those of the classes (empty: of all) of the dataset that have a cell."""
    found = dict.fromkeys(cell["class"] for column in results.columns for cell in column.on(dataset))
    return [name for name in found if not classes or name in classes]


def _points(panel: str, cell: Cell, images: Images) -> Points | None:
    curve: Rates | Curve | None
    if panel in ("roc", "pr"):
        curve = rates(cell)
    else:
        curve = images.maps(cell).curve if cell["not_applicable"]["pixel"] is None else None
    if curve is None:
        return None
    if panel.endswith("pr"):
        return curve.recall, curve.precision
    height = curve.overlap if isinstance(curve, Curve) and panel == "pro" else curve.recall
    return np.append(0.0, curve.fpr), np.append(0.0, height)


def _at(
    grid: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64], steps: bool
) -> NDArray[np.float64]:
    """Return y at each x of the grid: on the line, or, with `steps`, at the next point to the right."""
    if steps:
        return y[np.searchsorted(x, grid).clip(0, y.size - 1)]
    return np.interp(grid, x, y)  # where the line stands upright, at its upper end


def draw_curves(
    results: Results,
    images: Images,
    *,
    panels: Sequence[str],
    width: float,
    classes: Sequence[str] = (),
) -> Figure:
    """Return a row of panels for each dataset, `width` inches wide.

    Args:
        results: Of the methods.
        images: Finds their kept maps.
        panels: Keys of `PANELS`.
        width: Inches.
        classes: Only these classes; empty: the mean over all.

    Raises:
        BenchError: A panel or class is unknown, maps are not kept, or nothing can be drawn.
    """
    refuse_unknown("panel", panels, PANELS)
    known = (cell["class"] for column in results.columns for cell in column.cells)
    refuse_unknown("class", classes, known)
    rows = [row for row in results.rows if _measured(results, row.key, classes)]
    lines = {
        (row.key, panel): curve_lines(panel, results, row.key, images, classes)
        for row in rows
        for panel in panels
    }
    most = max(map(len, lines.values()), default=0)
    if not most:
        raise BenchError(f"none of these classes has the curves {', '.join(panels)}: choose other --panels")
    across = min(len(panels), int(width / _NARROW))
    down = -(-len(panels) // across)
    room = int((width / across - 0.7) / _LETTER)
    labels = [textwrap.wrap(line.label, room) for of_panel in lines.values() for line in of_panel]
    longest = max(map(len, chain(*labels)))
    below = most > _INSIDE or max(map(len, labels)) > 1 or longest > room / 2
    side = min(width / across, 2.6) + (0.11 * most * max(map(len, labels)) + 0.2 if below else 0)
    figure = Figure(figsize=(width, (side * down + 0.3) * len(rows)), layout="constrained")
    for of_row, row in zip(figure.subfigures(len(rows), 1, squeeze=False)[:, 0], rows, strict=True):
        shown = _measured(results, row.key, classes)
        said = f"mean over {len(shown)} classes" if len(shown) > 1 else shown[0]
        of_row.suptitle(f"{row.title}, {said}", x=0.01, ha="left", fontsize=8, fontweight="bold")
        for place, panel in enumerate(panels):
            axes = of_row.add_subplot(down, across, place + 1)
            _draw(axes, PANELS[panel], lines[row.key, panel], room if below else None)
    return figure


def _draw(axes: Axes, kind: Panel, lines: Sequence[Line], room: int | None) -> None:
    for line in lines:
        steps = "steps-pre" if kind.x == "recall" else "default"
        axes.plot(
            line.x,
            line.y,
            label=textwrap.fill(line.label, room or 99),
            linewidth=1.1,
            drawstyle=steps,
            **line_of(line.place),
        )
    if kind.metric.endswith("auroc"):
        axes.plot([0, 1], [0, 1], color="silver", linewidth=0.6, zorder=0)
    axes.set(xlim=(0, kind.limit), ylim=(0, 1.005), xlabel=kind.x, ylabel=kind.y, title=kind.title)
    look = {"title": metric_title(kind.metric), "handlelength": 1.8, "labelspacing": 0.25}
    if not lines:
        axes.text(0.5, 0.5, "does not apply", ha="center", va="center", color="dimgrey",
                  transform=axes.transAxes)  # fmt: skip
    elif room:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=4.9, fontsize=6, **look)
    else:
        axes.legend(loc="lower left" if kind.x == "recall" else "lower right", **look)
