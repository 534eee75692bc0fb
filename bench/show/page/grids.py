"""What the page's template asks of a table: a section as it stands or turned, and how a number looks."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from bench.show.model import LEVELS, Column, Entry, Row, Section, Table, Value, metric_title
from bench.store.marks import Mark


class Grid(NamedTuple):
    """A section of a table as the page shows it."""

    table: Table
    section: Section
    where: Callable[[Entry], str | None]
    """An entry -> which cells it is made from, as the page's script reads it; None: from none."""
    heat: bool = False
    """Whether fields are coloured by their number."""

    def turned(self) -> "Grid":
        """Return it with methods as rows and datasets as columns; the same numbers and ranks."""
        columns = tuple(Column(row.labels[-1], row.labels[0]) for row in self.section.rows)
        entries = zip(*(row.entries for row in self.section.rows), strict=True)
        rows = tuple(
            Row((column.setting, column.title), of_column)
            for column, of_column in zip(self.table.columns, entries, strict=True)
        )
        table = replace(self.table, stubs=("Setting", "Method"), columns=columns)
        return self._replace(table=table, section=Section(self.section.title, rows))


def metrics_of(section: Section) -> list[dict[str, str]]:
    """Return key, title and level of the metrics of a section whose entries are alike."""
    keys = [value.metric for value in section.rows[0].entries[0]] if section.rows else []
    return [{"key": key, "title": metric_title(key), "level": key.partition("_")[0]} for key in keys]


def level_of(section: Section) -> str:
    """Return `image` or `pixel`."""
    return section.rows[0].entries[0][0].metric.partition("_")[0]


def kind(value: Value) -> str:
    """Return the classes of its style, joined by blanks."""
    kinds = ["best"] if value.bold else ["second"] if value.rank == 2 else []
    kinds += ["gap"] if value.number is None else [] if value.competes or value.signed else ["unranked"]
    return " ".join(kinds)


def said(value: Value) -> str:
    """Return what is to be known of a number in a few lines, for its tooltip."""
    level = LEVELS[value.metric.partition("_")[0]].partition(" ")[0]
    lines = [f"{value.subject.method}, {value.subject.dataset}: {level} {metric_title(value.metric)}"]
    if value.rank is not None:
        lines.append(f"rank {value.rank}")
    elif value.number is not None and not value.competes and not value.signed:
        lines.append("not ranked")
    lines += [f"{mark.symbol} {mark.legend or mark}".strip() for mark in Mark if mark in value.marks]
    if value.by_seed:
        lines.append("seeds " + ", ".join(seed for seed, _ in value.by_seed))
    return "\n".join(lines)


def colour(number: Fraction) -> Mapping[str, str]:
    """Return the colours behind and of a number from 0 to 1."""
    from matplotlib import colormaps  # noqa: PLC0415 (only who draws waits for it)

    red, green, blue, _ = colormaps["cividis"](float(number))
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45
    channels = ", ".join(str(round(255 * part)) for part in (red, green, blue))
    return {"back": f"rgb({channels})", "ink": "#000" if light else "#fff"}
