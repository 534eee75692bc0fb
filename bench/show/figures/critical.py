"""The critical-difference diagram: methods on a line of average ranks (Demsar, JMLR 7, 2006, figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE = 0.2
"""Inches of one line of text."""
_STEP = 0.35
"""Between bars, in lines."""


@dataclass(frozen=True)
class Diagram:
    """What one diagram shows."""

    title: str
    labels: tuple[str, ...]
    averages: tuple[float, ...]
    """Average ranks, 1 is best."""
    critical: float
    """Average ranks that lie further apart differ."""
    cliques: tuple[tuple[float, float], ...] = ()
    """(lowest, highest average rank) of methods that do not differ; a bar joins them."""
    control: int | None = None
    """The method that all others are held against: a bar covers what does not differ from it."""


def draw(diagrams: Sequence[Diagram]) -> Figure:
    """Return the diagrams below each other; all have the same methods."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (only who draws waits for it)

    from bench.show.figures.paper import WIDTHS  # noqa: PLC0415

    # In lines: title, critical difference, axis, bars, labels on two sides.
    heights = [6.5 + _below(each) + ceil(len(each.labels) / 2) for each in diagrams]
    figure = Figure((WIDTHS["text"], sum(heights) * _LINE), layout="constrained")
    grid = figure.subplots(len(diagrams), squeeze=False, gridspec_kw={"height_ratios": heights})
    for axes, diagram in zip(grid[:, 0], diagrams, strict=True):
        _draw(axes, diagram)
    return figure


def _below(diagram: Diagram) -> float:
    """Return how far below the axis labels begin."""
    return 0.4 + _STEP * max(len(diagram.cliques), 1)


def _draw(axes: Axes, diagram: Diagram) -> None:
    count = len(diagram.labels)
    margin = 0.12 * (count - 1)
    axes.set_xlim(1 - 4 * margin, count + 4 * margin)
    axes.set_ylim(-_below(diagram) - ceil(count / 2) - 0.3, 3.6)
    axes.axis("off")
    axes.set_title(diagram.title, fontsize=9)
    line: dict[str, Any] = {"color": "black", "linewidth": 0.8, "clip_on": False}
    axes.plot([1, count], [0, 0], **line)
    for rank in range(1, count + 1):
        axes.plot([rank, rank], [0, 0.25], **line)
        axes.text(rank, 0.4, str(rank), ha="center", va="bottom", fontsize=8)
    axes.plot([1, 1 + diagram.critical], [2.2, 2.2], **line)
    for end in (1, 1 + diagram.critical):
        axes.plot([end, end], [2.0, 2.4], **line)
    said = f"critical difference {diagram.critical:.2f}"
    axes.text(1, 2.5, said, ha="left", va="bottom", fontsize=8)
    for x, ha, text in ((1 - margin, "right", "best"), (count + margin, "left", "worst")):
        axes.text(x, 0, text, ha=ha, va="center", fontsize=8, color="0.35")
    for place, (low, high) in enumerate(_bars(diagram)):
        y = -_STEP * (place + 1)
        axes.plot(
            [low - 0.05 * margin, high + 0.05 * margin],
            [y, y],
            color="black",
            linewidth=3,
            solid_capstyle="butt",
        )
    _label(axes, diagram, margin)


def _bars(diagram: Diagram) -> Sequence[tuple[float, float]]:
    if diagram.control is None:
        return diagram.cliques
    centre = diagram.averages[diagram.control]
    return [(max(centre - diagram.critical, 1), min(centre + diagram.critical, len(diagram.labels)))]


def _label(axes: Axes, diagram: Diagram, margin: float) -> None:
    """Write the better half on the left and the others on the right, the outermost ranks highest."""
    order = sorted(range(len(diagram.labels)), key=lambda place: diagram.averages[place])
    half = ceil(len(order) / 2)
    for side, members in (("left", order[:half]), ("right", order[half:][::-1])):
        x, ha = (1 - margin, "right") if side == "left" else (len(order) + margin, "left")
        for line, place in enumerate(members):
            y, average = -_below(diagram) - line - 0.5, diagram.averages[place]
            axes.plot([average, average, x], [0, y, y], color="0.35", linewidth=0.8)
            name = f"{diagram.labels[place]} ({average:.2f})"
            weight = "bold" if place == diagram.control else "normal"
            beside = x + 0.12 * margin * (-1 if side == "left" else 1)
            axes.text(beside, y, name, ha=ha, va="center", fontsize=8, weight=weight)
