"""Speed and memory against accuracy."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from bench.errors import BenchError, refuse_unknown
from bench.show.cost import Cost, averages, cost
from bench.show.figures.paper import point_of
from bench.show.means import Results
from bench.show.model import LEVELS, Value, metric_title

_AXES = {"images_per_s": "images per second", "peak_gib": "peak GPU memory (GiB)"}
_NARROW = 2.0
"""Inches that a panel needs."""
Point = tuple[int, str, Cost, Value]
"""Place and label of the method, what it takes, what it reaches."""


def speed_points(results: Results, metric: str) -> dict[str, list[Point]]:
    """Return the methods' points for each group of datasets that has the metric.

    Raises:
        BenchError: The metric is unknown, or no cell says how fast it was.
    """
    known = (name for column in results.columns for cell in column.cells for name in cell["metrics"])
    refuse_unknown("metric", [metric], known)
    points: dict[str, list[Point]] = {}
    for place, column in enumerate(results.columns):
        taken = cost(column)
        for group in results.groups if taken.images_per_s else ():
            for title, value in averages(results, column.label, group, metric):
                points.setdefault(title, []).append((place, column.label, taken, value))
    if not points:
        raise BenchError(
            f"no cell has both {metric} and a speed: choose another --metric or other --datasets"
        )
    return points


def draw_speed(results: Results, *, metric: str, width: float) -> Figure:
    """Return a row of panels for each group of datasets, `width` inches wide: speed, and memory if measured.

    Hollow points are not ranked in the tables. Raises `BenchError` as `speed_points`.
    """
    points = speed_points(results, metric)
    has_memory = any(point[2].peak_gib is not None for row in points.values() for point in row)
    fields = list(_AXES) if has_memory else ["images_per_s"]
    panels = [(title, field) for title in points for field in fields]
    across = min(len(panels), 2 if width > 2 * _NARROW else 1)
    down = -(-len(panels) // across)
    height = min(width / across, 2.6) * down + 0.16 * len(results.columns) / (width / 1.7) + 0.3
    figure = Figure(figsize=(width, height), layout="constrained")
    level = LEVELS[metric.partition("_")[0]].partition(" ")[0]
    for place, (title, field) in enumerate(panels):
        axes = figure.add_subplot(down, across, place + 1)
        _draw(axes, field, points[title])
        axes.set_title(title, loc="left", fontweight="bold")
        axes.set(xlabel=_AXES[field], ylabel=f"{level} {metric_title(metric)} (%)")
    drawn = {place: label for of_row in points.values() for place, label, *_ in of_row}
    handles = [Line2D([], [], linestyle="", label=drawn[place], **point_of(place)) for place in sorted(drawn)]
    columns_fitting = max(1, int(width / (0.4 + 0.06 * max(map(len, drawn.values())))))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), columns_fitting),
                  handletextpad=0.1)  # fmt: skip
    return figure


def _draw(axes: Axes, field: str, points: Sequence[Point]) -> None:
    for place, _, taken, value in points:
        at, look = getattr(taken, field), point_of(place)
        if at is None:
            continue
        face = look["color"] if value.competes else "none"
        axes.scatter(at, float(value.shown or 0), s=26, marker=look["marker"], facecolors=face,
                     edgecolors=look["color"], linewidths=1, zorder=3)  # fmt: skip
    if field == "images_per_s":
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(color="0.9", linewidth=0.5)
