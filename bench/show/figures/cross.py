"""The source x target matrix as heat maps."""

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bench.show.model import Section, Table

COLORMAP = "cividis"
"""Of matplotlib; made for colour-blind readers."""
_SIDE = 0.42
"""Inches of a number's field, at most."""


def draw_cross(table: Table, width: float) -> Figure:
    """Return a heat map for each matrix of a table of layout `cross`, below each other, `width` inches wide.

    Colours go from the lowest to the highest number of a matrix. Framed: tested on what it was trained on,
    or otherwise not ranked; bold: the best of its column or row, where the table says so.
    """
    used = [
        place
        for place in range(len(table.columns))
        if any(row.entries[place][0].number is not None for part in table.sections for row in part.rows)
    ]
    columns = [table.columns[place].title for place in used]
    rows = [len(section.rows) for section in table.sections]
    labels = 0.11 + 0.062 * max(len(row.labels[0]) for section in table.sections for row in section.rows)
    side = min(_SIDE, (width - labels - 0.6) / len(columns))
    head = 0.28 + 0.036 * max(map(len, columns))
    height = sum(0.75 * side * count + head + 0.14 for count in rows)
    figure = Figure(figsize=(width, height))
    top = height
    for section, count in zip(table.sections, rows, strict=True):
        low = top - head - 0.75 * side * count
        box = (labels / width, low / height, side * len(columns) / width, 0.75 * side * count / height)
        axes = figure.add_axes(box, label=section.title)
        bar = figure.add_axes(
            ((labels + side * (len(columns) + 0.3)) / width, box[1], 0.1 / width, box[3]),
            label=f"{section.title} scale",
        )
        _draw(axes, bar, section, {place: table.columns[place].title for place in used}, side)
        top = low - 0.14
    return figure


def _draw(axes: Axes, bar: Axes, section: Section, columns: dict[int, str], side: float) -> None:
    numbers = [
        float(entry[0].number) for row in section.rows for entry in row.entries if entry[0].number is not None
    ]
    scale = Normalize(100 * min(numbers, default=0), 100 * max(numbers, default=1))
    colours = colormaps[COLORMAP]
    size = min(7.0, 17 * side)
    for down, row in enumerate(section.rows):
        for across, (value, *_) in enumerate(row.entries[place] for place in columns):
            text = value.text + value.symbols
            if value.number is None:
                axes.text(across, down, text, ha="center", va="center", fontsize=size, color="dimgrey")
                continue
            colour = colours(scale(100 * float(value.number)))
            axes.add_patch(
                Rectangle(
                    (across - 0.5, down - 0.5), 1, 1, facecolor=colour, edgecolor="white", linewidth=0.8
                )
            )
            if not value.competes:
                axes.add_patch(
                    Rectangle(
                        (across - 0.43, down - 0.42), 0.86, 0.84, fill=False, edgecolor="white", linewidth=0.8
                    )
                )
            ink = "black" if 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2] > 0.45 else "white"
            axes.text(across, down, text, ha="center", va="center", fontsize=size, color=ink,
                      fontweight="bold" if value.bold else "normal")  # fmt: skip
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(section.rows) - 0.5, -0.5))
    axes.set_xticks(
        range(len(columns)), columns.values(), rotation=35, ha="left", rotation_mode="anchor", fontsize=7
    )
    axes.set_yticks(range(len(section.rows)), [row.labels[0] for row in section.rows], fontsize=7)
    axes.tick_params(length=0, pad=2, top=True, labeltop=True, bottom=False, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(section.title, loc="left", fontweight="bold", fontsize=8)
    mapped = ScalarMappable(scale, colours)
    axes.figure.colorbar(mapped, cax=bar).outline.set_linewidth(0.4)
    bar.tick_params(labelsize=6, width=0.4, length=2)
