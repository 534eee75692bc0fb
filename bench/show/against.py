"""Ours beside the paper's numbers: only what can be held against each other."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from bench.errors import BenchError
from bench.show.layouts import level_sections, make_table
from bench.show.means import ColumnCells, DatasetRow, Place, Results, mean
from bench.show.model import NOT_APPLICABLE, Column, Entry, Subject, Table, Value
from bench.show.published import available, read
from bench.store.marks import Mark

_SAME_ROWS = "averages are over the datasets that both have numbers of"


def comparable(columns: Sequence[ColumnCells], paper: Results) -> list[ColumnCells]:
    """Return the columns that the paper prints numbers of: its methods with their published options.

    Raises:
        BenchError: There are none, and why.
    """
    printed = {method.title.casefold() for method in paper.columns}
    named = [column for column in columns if column.title.casefold() in printed]
    if not named:
        ours = ", ".join(dict.fromkeys(column.title for column in columns))
        theirs = ", ".join(method.title for method in paper.columns)
        raise BenchError(f"nothing to compare: {paper.origin} prints none of {ours}; it has {theirs}")
    found = [column for column in named if column.as_published]
    if not found:
        raise BenchError(
            f"nothing to compare: {paper.origin} used the published options, sources and weights; "
            f"here are only {', '.join(column.label for column in named)}"
        )
    return found


def against(ours: Results, paper: Results, aupro: str | None, left_out: Sequence[str]) -> Table:
    """Return the paper layout with our number, the paper's and the difference of the two as shown.

    Averages of both are over the same datasets. `left_out` are labels of columns without counterpart.

    Raises:
        BenchError: No number of ours has a counterpart, and why.
    """
    origin = paper.origin
    theirs = {method.title.casefold(): method.label for method in paper.columns}
    places = {row.key: row for row in paper.rows}
    whole, fewer = set[tuple[str, str, str]](), set[tuple[str, str, str]]()

    def pair(column: ColumnCells, place: Place, metric: str) -> tuple[Value, Value]:
        label = theirs[column.title.casefold()]
        if isinstance(place, DatasetRow):
            mine = ours.value(column.label, place, metric)
            if place.key in places:
                return mine, paper.value(label, places[place.key], metric)
            return mine, Value(metric, _subject(mine, paper, label), gap=NOT_APPLICABLE)
        level = metric.partition("_")[0]
        rows = place.at(level)
        both = [pair(column, row, metric) for row in rows]
        both = [(a, b) for a, b in both if None not in (a.number, b.number) and Mark.SEEN not in a.marks]
        of_paper = [row for row in paper.rows if row.group == place.title and level in row.levels]
        (whole if len(both) == len(of_paper) else fewer).add((label, place.title, metric))
        subject = Subject(ours.origin, column.label, place.title, place.average or "")
        mine = mean([a for a, _ in both], len(rows), metric, subject)
        return mine, mean([b for _, b in both], len(rows), metric, _subject(mine, paper, label))

    def entries(place: Place, metrics: Sequence[str]) -> tuple[Entry, ...]:
        found: list[Entry] = []
        for column in ours.columns:
            pairs = [pair(column, place, metric) for metric in metrics]
            mine, other = zip(*pairs, strict=True)
            found += [mine, other, tuple(_difference(a, b) for a, b in pairs)]
        return tuple(found)

    sections = tuple(level_sections(ours, entries, aupro))
    columns = [
        Column(part, column.label) for column in ours.columns for part in ("ours", "paper", "difference")
    ]
    title = f"Ours against the paper ({origin}), in percent; differences of the numbers as shown"
    remarks = [f"paper: {paper.footer}", *(text for place, text in paper.misprints.items() if place in whole)]
    if fewer:
        remarks.append(_SAME_ROWS)
    if left_out:
        remarks.append(f"not in {origin}, or with other options than it used: {', '.join(left_out)}")
    table = make_table(ours, "against", title, ("Domain", "Dataset"), columns, sections, remarks)
    if all(value.number is None for value in table.values() if value.signed):
        raise BenchError(f"nothing to compare: {_why_nothing(ours, paper, places)}")
    return table


def _subject(mine: Value, paper: Results, label: str) -> Subject:
    return mine.subject._replace(origin=paper.origin, method=label)


def _difference(mine: Value, other: Value) -> Value:
    subject = mine.subject._replace(origin="difference")
    if mine.shown is None or other.shown is None:
        return Value(mine.metric, subject, gap=NOT_APPLICABLE, signed=True)
    number = (Fraction(mine.shown) - Fraction(other.shown)) / 100
    marks, traces = mine.marks | other.marks, mine.traces | other.traces
    return Value(mine.metric, subject, number, marks=marks, signed=True, traces=traces)


def _why_nothing(ours: Results, paper: Results, places: dict[str, DatasetRow]) -> str:
    run = list(dict.fromkeys(dataset for _, dataset, *_ in ours.values))
    if shared := [key for key in run if key in places]:
        return f"on {', '.join(shared)}, {paper.origin} prints none of the metrics that are defined here"
    titles = ", ".join(dataset.title for dataset in places.values())
    others = [name for name, path in available().items() if {*run} & _datasets(path)]
    hint = f"; --against {' or '.join(others)} has them or some" if others else ""
    return f"the cells are of {', '.join(run)}; {paper.origin} has {titles}{hint}"


def _datasets(path: Path) -> set[str]:
    return {dataset.key for dataset in read(path).rows}
