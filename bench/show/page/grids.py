"""Tables as the page's template takes them: every text, mark and rank as the table has it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.show.model import LEVELS, Column, Entry, Row, Section, Table, Value, metric_title, only_gap
from bench.store.marks import Mark

Where = Callable[[Value], str | None]
"""A number -> which cells it is made from, as the page's script reads it; None: from none."""


def grid(table: Table, section: Section, where: Where, *, heat: bool = False) -> dict[str, Any]:
    """Return a section as plain values: heads, rows, entries. `heat` adds colours by the number."""
    return {
        "title": section.title,
        "stubs": table.stubs,
        "columns": [
            {"title": column.title, "span": column.span, "rule": rule}
            for column, rule in zip(table.columns, table.rules(), strict=True)
        ],
        "rows": [
            {
                "labels": row.labels,
                "average": row.is_average,
                "entries": [_entry(entry, where, heat) for entry in row.entries],
            }
            for row in section.rows
        ],
    }


def turned(table: Table, section: Section) -> tuple[Table, Section]:
    """Return the section with methods as rows and datasets as columns; the same numbers and ranks."""
    columns = tuple(Column(row.labels[-1], row.labels[0]) for row in section.rows)
    rows = tuple(
        Row((column.setting, column.title), entries)
        for column, entries in zip(table.columns, zip(*(row.entries for row in section.rows), strict=True),
                                   strict=True)
    )  # fmt: skip
    return replace(table, stubs=("Setting", "Method"), columns=columns), Section(section.title, rows)


def metrics_of(section: Section) -> list[dict[str, str]]:
    """Return key and title of the metrics of a section whose entries are alike."""
    entry: Sequence[Value] = section.rows[0].entries[0] if section.rows else ()
    return [{"key": value.metric, "title": metric_title(value.metric)} for value in entry]


def level_of(section: Section) -> str:
    """Return `image` or `pixel`."""
    return section.rows[0].entries[0][0].metric.partition("_")[0]


def _entry(entry: Entry, where: Where, heat: bool) -> dict[str, Any]:
    """Return the numbers of an entry; where it has none, what stands for all of them."""
    shown = [_value(value, heat) for value in entry]
    if only_gap(entry):
        shown = [shown[0] | {"metric": None, "said": shown[0]["said"].partition(":")[0]}]
    return {"shown": shown, "where": next(filter(None, map(where, entry)), None)}


def _value(value: Value, heat: bool) -> dict[str, Any]:
    kinds = ["best"] if value.bold else ["second"] if value.rank == 2 else []
    kinds += ["gap"] if value.number is None else [] if value.competes or value.signed else ["unranked"]
    return {
        "text": value.text + ("" if value.spread is None else f"±{value.spread}"),
        "symbols": value.symbols,
        "kind": " ".join(kinds),
        "metric": value.metric,
        "sort": None if value.number is None else float(value.number),
        "said": said(value),
        "colour": _colour(float(value.number)) if heat and value.number is not None else None,
    }


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


def _colour(number: float) -> Mapping[str, str]:
    from matplotlib import colormaps  # noqa: PLC0415 (only who draws waits for it)

    red, green, blue, _ = colormaps["cividis"](number)
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45
    channels = ", ".join(str(round(255 * part)) for part in (red, green, blue))
    return {"back": f"rgb({channels})", "ink": "#000" if light else "#fff"}
