"""Average ranks of methods over datasets, and which of them differ (Demsar, JMLR 7, 2006).

A dataset counts if every method has a number on it that tables would rank: no class missing, none trained
on it. Numbers are ranked as tables show them, in percent with one decimal; ties share the mean of their
ranks. What varies here is the dataset, where `bench.study.compare` looks at the images of given ones.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np

from bench.errors import BenchError, refuse_unknown
from bench.show.figures.critical import Diagram
from bench.show.means import Results
from bench.show.model import (
    LEVELS,
    NOT_APPLICABLE,
    Column,
    Row,
    Section,
    Subject,
    Table,
    Value,
    metric_title,
    p_text,
)
from bench.show.ranking import dense_ranks
from bench.show.summary import summarise
from bench.store.cells import Cell
from bench.study import statistics
from bench.study.bootstrap import METRICS
from bench.study.sides import Sides, open_sides, with_control
from bench.study.statistics import Ranking

_TITLE = "Average ranks over datasets, 1 is best"
_ORIGIN, _CRITICAL = "average rank", "critical difference"
_FEW = 10
_NOTES = (
    "datasets are ranked by their numbers in percent with one decimal; ties share the mean of their ranks",
    "Friedman's test with Iman and Davenport's F; methods whose average ranks lie further apart than the "
    "critical difference ({}) differ, at 5% for all comparisons of a metric together; nothing is adjusted "
    "over metrics",
)


@dataclass(frozen=True)
class Ranks:
    """The table of average ranks, and what a figure of them shows: one diagram for each of its columns."""

    table: Table
    diagrams: tuple[Diagram, ...]


def ranks(
    cells: Iterable[Cell],
    methods: Sequence[str],
    *,
    against: str | None = None,
    metrics: Sequence[str] = METRICS,
    **wanted: Any,
) -> Ranks:
    """Return the average ranks of three methods or more, 1 is best.

    Args:
        cells: As read from the store.
        methods: `key` or `key:preset`.
        against: A control: the critical difference is that of all others from it alone. It need not be in
            `methods`.
        metrics: Keys of the metrics, each ranked by itself.
        wanted: `datasets`, `where` and `latest`, which choose cells as in `open_sides`.

    Raises:
        BenchError: Fewer than three methods, methods of different settings, two datasets with the same
            images, fewer than two datasets that count, or what `bench.study.sides` refuses.
    """
    words, control = with_control(methods, against)
    if len(words) < 3:
        raise BenchError(f"average ranks need three methods or more, not {len(words)}: leave out --ranks")
    sides = open_sides(list(cells), words, **wanted)
    _refuse_unlike(sides)
    known = (name for column in sides.columns for cell in column.cells for name in cell["metrics"])
    refuse_unknown("metric", metrics, known)
    results = summarise(sides.columns, datasets=[target.key for target in sides.targets])
    found: dict[str, Ranking] = {}
    without: dict[str, list[str]] = {}
    for metric in metrics:
        values, left_out = _values(sides, results, metric)
        for each in left_out:
            without.setdefault(each, []).append(_name(metric))
        if len(values) > 1:
            found[metric] = statistics.rank(np.array(values, dtype=float), control=control is not None)
    notes = [*sides.notes, *(f"not ranked on {each}: {', '.join(names)}" for each, names in without.items())]
    if not found:
        raise BenchError(
            "average ranks need two datasets or more on which every method has a number that is ranked; "
            f"here: {'; '.join(notes) or 'none has these metrics'}"
        )
    return Ranks(
        _table(sides, found, control, notes),
        tuple(_diagram(sides, metric, ranking, control) for metric, ranking in found.items()),
    )


def _refuse_unlike(sides: Sides) -> None:
    settings = dict.fromkeys(column.setting for column in sides.columns)
    if len(settings) > 1:
        kinds = ", ".join(f"{column.label} ({column.setting})" for column in sides.columns)
        raise BenchError(f"methods are ranked among their kind alone; these are several: {kinds}")
    of_target: dict[str, str] = {}
    for target in sides.targets:
        other = of_target.setdefault(target.target, target.key)
        if other != target.key:
            raise BenchError(
                f"{other} and {target.key} share their images and would count twice: choose --datasets"
            )


def _values(sides: Sides, results: Results, metric: str) -> tuple[list[list[Fraction]], list[str]]:
    """Return the numbers as shown (datasets, methods) of the datasets that count; why others do not."""
    rows = {row.key: row for row in results.rows}
    counted, left_out = [], []
    for target in sides.targets:
        values = [results.value(label, rows[target.key], metric) for label in sides.labels]
        if any(value.gap == NOT_APPLICABLE and value.number is None for value in values):
            continue
        if why := [f"{value.subject.method} {_reason(value)}" for value in values if not value.competes]:
            left_out.append(f"{target.title} ({', '.join(why)})")
            continue
        for class_key in sides.classes(target.key):
            sides.cells(target.key, class_key)  # refuses other images
        counted.append([Fraction(value.shown or 0) for value in values])
    return counted, left_out


def _reason(value: Value) -> str:
    return value.gap if value.number is None else "+".join(m for m in sorted(value.marks) if not m.ranked)


def _table(sides: Sides, found: Mapping[str, Ranking], control: int | None, notes: Sequence[str]) -> Table:
    columns = [Column(metric_title(metric), metric.partition("_")[0].capitalize()) for metric in found]
    name = "Nemenyi" if control is None else f"Bonferroni-Dunn, from {sides.labels[control]}"
    places = {metric: _places(ranking) for metric, ranking in found.items()}

    def value(metric: str, origin: str, label: str, number: float, rank: int | None = None) -> Value:
        subject = Subject(origin, label, "ranks", "Average")
        return Value(metric, subject, Fraction(number), is_rank=True, rank=rank)

    rows = [
        Row(
            (label,),
            tuple(
                (value(metric, _ORIGIN, label, float(ranking.averages[place]), places[metric][place]),)
                for metric, ranking in found.items()
            ),
        )
        for place, label in enumerate(sides.labels)
    ]
    critical = [(value(metric, _CRITICAL, name, each.critical),) for metric, each in found.items()]
    rows.append(Row((_CRITICAL.capitalize(),), tuple(critical), is_average=True))
    tests = [_test(sides, metric, ranking, control) for metric, ranking in found.items()]
    few = [f"fewer than {_FEW} datasets: the tests are rough, and say little where they find nothing"]
    said = [*tests, _NOTES[0], _NOTES[1].format(name)]
    said += few if min(ranking.n for ranking in found.values()) < _FEW else []
    sections = [Section("", tuple(rows))]
    return sides.table("ranks", _TITLE, ("Method",), columns, sections, [*said, *notes])


def _places(ranking: Ranking) -> list[int | None]:
    """Return the methods' places by average rank."""
    return dense_ranks([-Decimal(average).quantize(Decimal("1e-9")) for average in ranking.averages])


def _test(sides: Sides, metric: str, ranking: Ranking, control: int | None) -> str:
    friedman, differing = ranking.friedman, list(_differing(sides, ranking, control))
    said = f"differ: {', '.join(differing)}" if differing else "no two differ"
    tested = f"chi-squared = {friedman.chi2:.2f}, F = {friedman.f:.2f}, {p_text(friedman.p)}"
    return f"{_name(metric)}, {ranking.n} datasets: {tested}; {said}"


def _differing(sides: Sides, ranking: Ranking, control: int | None) -> Iterator[str]:
    for one, other in combinations(np.argsort(ranking.averages, kind="stable").tolist(), 2):
        if control in (None, one, other) and ranking.differ(one, other):
            yield f"{sides.labels[one]} - {sides.labels[other]}"


def _diagram(sides: Sides, metric: str, ranking: Ranking, control: int | None) -> Diagram:
    averages = tuple(ranking.averages.tolist())
    title = f"{_name(metric)}, {ranking.n} datasets"
    cliques = () if control is not None else tuple(ranking.cliques())
    return Diagram(title, sides.labels, averages, ranking.critical, cliques, control)


def _name(metric: str) -> str:
    return f"{LEVELS[metric.partition('_')[0]]} {metric_title(metric)}"
