"""Several methods on the same images: differences of their metrics, with intervals and p-values.

A dataset's number is the mean over its classes, the last one the mean over datasets, as in every table.
Images are resampled within each class (`bench.study.bootstrap`); classes and datasets stay as they are. The
intervals cover the choice of test images and nothing else: a method with several training seeds enters with
the mean of their metrics, in every resample anew.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import NamedTuple

import numpy as np

from bench.errors import BenchError, unknown
from bench.results import Trace, marks_of, seed_of, trace
from bench.show.choose import Cell, ColumnCells
from bench.show.footer import footer
from bench.show.means import sort_seeds
from bench.show.model import Column, Row, Section, Subject, Table, Value, metric_title
from bench.show.notes import headlines
from bench.show.summary import ORIGIN
from bench.store.marks import Mark
from bench.study import statistics
from bench.study.bootstrap import METRICS, resampled_metrics
from bench.study.sides import Sides, Target, labels, on, open_sides, scores

CORRECTIONS = ("holm", "none")
_MEAN = "Mean"
_LEAST, _EACH = 2000, 400
"""Resamples: in all, and for each comparison, so that ten lie beyond each end of an interval."""
_BOLD = "bold: p at most 0.05; differences are those of the unrounded numbers"
_RESAMPLED = "{} resamples of the images within class and label, seed {}; classes and datasets are fixed"
_TESTED = {
    "one": "p: two-sided, from the same resamples as the interval, for this comparison alone",
    "holm": "p: two-sided, adjusted by Holm for the {} comparisons of a metric in a row; the intervals of "
    "these cover all at once with 95% (Bonferroni), so that one may reach over 0 where p is below 0.05; "
    "nothing is adjusted over rows or metrics",
    "none": "p and intervals are for one comparison each: of {} true zeros in a row, more than 5% may show",
}

Pair = tuple[int, int]
Marks = tuple[frozenset[Mark], ...]
"""The marks of every method's cells."""


class _Found(NamedTuple):
    """Of a class, a dataset or the mean of several: points (methods, metrics), and with resamples behind."""

    points: np.ndarray
    resampled: np.ndarray

    @classmethod
    def mean(cls, parts: Sequence["_Found"]) -> "_Found":
        points, resampled = zip(*parts, strict=True)
        return cls(np.mean(points, axis=0), np.mean(resampled, axis=0))


class _Line(NamedTuple):
    """What stands in a table's row, or rows."""

    title: str
    found: _Found
    marks: Marks
    traces: tuple[frozenset[Trace], ...]
    """Where every method's numbers come from."""
    domain: str


@dataclass(frozen=True)
class _Plan:
    """What is compared and how."""

    sides: Sides
    pairs: tuple[Pair, ...]
    resamples: int
    seed: int
    correction: str

    @property
    def at_once(self) -> int:
        """How many comparisons an interval shares its level with."""
        return 1 if self.correction == "none" else len(self.pairs)


def compare(
    cells: Iterable[Cell],
    methods: Sequence[str],
    *,
    against: str | None = None,
    datasets: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
    latest: bool = False,
    metrics: Sequence[str] = METRICS,
    correction: str = "holm",
    resamples: int | None = None,
    seed: int = 0,
) -> Table:
    """Return the differences of all pairs of methods, the first minus the second: a section a metric.

    Args:
        cells: As read from the store.
        methods: `key` or `key:preset` of two or more.
        against: A control: every method minus this one, and no other pairs. It need not be in `methods`.
        datasets: Their keys; empty: all that every method has cells of.
        where: As in `bench.show.build`, for all methods.
        latest: Likewise.
        metrics: Of those in `METRICS`.
        correction: Of p-values and intervals for several comparisons, one of `CORRECTIONS`.
        resamples: How many; None: 2000, and more for more than five comparisons.
        seed: What they are drawn by.

    Raises:
        BenchError: A method has not just one column, or not the cells that are wanted, or was not measured
            on the same images as the others; or nothing is defined at image level.
    """
    words = [*methods, *([against] if against and against not in methods else [])]
    if len(words) < 2:
        raise BenchError("compare needs two methods or more: name them with --methods")
    places = range(len(words))
    if against:
        control = words.index(against)
        pairs = tuple((place, control) for place in places if place != control)
    else:
        pairs = tuple(combinations(places, 2))
    at_once = 1 if correction == "none" else len(pairs)
    count = max(_LEAST, _EACH * at_once) if resamples is None else resamples
    if count < (least := statistics.least_resamples(at_once)):
        raise BenchError(f"--resamples {count}: {len(pairs)} difference(s) need at least {least}")
    for metric in metrics:
        if metric not in METRICS:
            raise unknown("metric of single images", metric, METRICS)
    sides = open_sides(list(cells), words, datasets=datasets, where=where, latest=latest)
    plan = _Plan(sides, pairs, count, seed, correction)
    lines, notes = _lines(plan, metrics)
    several = len(pairs) > 1
    rows = _rows_of_several if several else _row_of_two
    sections = tuple(
        Section(metric_title(metric), tuple(row for line in lines for row in rows(plan, line, place, metric)))
        for place, metric in enumerate(metrics)
    )
    if several:
        columns = [Column("Metric, or difference, 95% interval, p")]
        against_what = f"against {sides.labels[pairs[0][1]]}" if against else "all pairs"
        title = f"{len(words)} methods, {against_what}: image level, in percent"
    else:
        columns = [Column(sides.labels[place], setting=sides.columns[place].setting) for place in pairs[0]]
        columns.append(Column("Difference, 95% interval, p", setting=columns[-1].setting))
        title = f"{' against '.join(column.title for column in columns[:2])}: image level, in percent"
    tested = _TESTED[correction if several else "one"].format(len(pairs))
    return Table(
        "compare",
        title,
        ("Dataset", "Methods") if several else ("Dataset",),
        tuple(columns),
        sections,
        headlines(sides.columns),
        (_BOLD, tested, *sides.notes, *notes, *_notes(sides.columns), _RESAMPLED.format(count, seed)),
        footer(sides.columns),
    )


def _lines(plan: _Plan, metrics: Sequence[str]) -> tuple[list[_Line], list[str]]:
    """Return what was found on every dataset and in the mean of each domain and of all, with notes."""
    lines: list[_Line] = []
    notes: list[str] = []
    for target in plan.sides.targets:
        of_classes, left_out = _classes(plan, target, metrics)
        notes += left_out
        if of_classes:
            marks = _marks(plan.sides, target.key, len(of_classes))
            traces = tuple(frozenset(map(trace, on(side, target.key))) for side in plan.sides.columns)
            lines.append(_Line(target.title, _Found.mean(of_classes), marks, traces, target.domain))
    if not lines:
        raise BenchError(f"nothing to compare at image level: {'; '.join(notes)}")
    domains = list(dict.fromkeys(line.domain for line in lines))
    if len(domains) == 1:
        return [*lines, *_mean(lines, _MEAN)], notes
    apart = []
    for domain in domains:
        of_domain = [line for line in lines if line.domain == domain]
        apart += [*of_domain, *_mean(of_domain, f"{_MEAN}, {domain or 'other'}")]
    return [*apart, *_mean(lines, _MEAN)], notes


def _mean(lines: Sequence[_Line], title: str) -> list[_Line]:
    """Return the mean of datasets that no method was trained on, if there are several."""
    counted = [line for line in lines if not any(Mark.SEEN in marks for marks in line.marks)]
    if len(lines) < 2 or not counted:
        return []
    marks = tuple(frozenset[Mark]().union(*of) for of in zip(*(line.marks for line in counted), strict=True))
    traces = tuple(
        frozenset[Trace]().union(*of) for of in zip(*(line.traces for line in counted), strict=True)
    )
    return [_Line(title, _Found.mean([line.found for line in counted]), marks, traces, "")]


def _row_of_two(plan: _Plan, line: _Line, place: int, metric: str) -> Iterator[Row]:
    (pair,) = plan.pairs
    values = (*(_point(plan, line, side, place, metric) for side in pair),)
    entries = tuple((value,) for value in (*values, *_differences(plan, line, place, metric)))
    yield Row((line.title,), entries, is_average=line.title.startswith(_MEAN))


def _rows_of_several(plan: _Plan, line: _Line, place: int, metric: str) -> Iterator[Row]:
    points = [_point(plan, line, side, place, metric) for side in range(len(plan.sides.labels))]
    for value in (*points, *_differences(plan, line, place, metric)):
        yield Row((line.title, value.subject.method), ((value,),), is_average=line.title.startswith(_MEAN))


def _point(plan: _Plan, line: _Line, side: int, place: int, metric: str) -> Value:
    subject = Subject(ORIGIN, plan.sides.labels[side], "compare", line.title)
    number = Fraction(float(line.found.points[side, place]))
    return Value(metric, subject, number, marks=line.marks[side], traces=line.traces[side])


def _differences(plan: _Plan, line: _Line, place: int, metric: str) -> list[Value]:
    """Return the differences of all pairs in one metric."""
    names, points = plan.sides.labels, line.found.points[:, place]
    resampled = [
        line.found.resampled[first, place] - line.found.resampled[second, place]
        for first, second in plan.pairs
    ]
    p_values = [statistics.p_value(differences) for differences in resampled]
    if plan.correction == "holm":
        p_values = statistics.holm(p_values)
    return [
        Value(
            metric,
            Subject("difference", f"{names[first]} - {names[second]}", "compare", line.title),
            Fraction(float(points[first])) - Fraction(float(points[second])),
            signed=True,
            interval=statistics.interval(differences, plan.at_once),
            p=p,
            clear=p <= statistics.LEVEL,
            traces=line.traces[first] | line.traces[second],
        )
        for (first, second), differences, p in zip(plan.pairs, resampled, p_values, strict=True)
    ]


def _marks(sides: Sides, key: str, n_classes: int) -> Marks:
    expected = max(cell["n_classes"] for column in sides.columns for cell in on(column, key))
    lacking = {Mark.PARTIAL} if n_classes < expected else set()
    return tuple(frozenset[Mark](lacking).union(*map(marks_of, on(column, key))) for column in sides.columns)


def _classes(plan: _Plan, target: Target, metrics: Sequence[str]) -> tuple[list[_Found], list[str]]:
    """Return what was found for each class of a dataset, and notes on those without image level."""
    found: list[_Found] = []
    left_out: dict[str, list[str]] = {}
    for name in plan.sides.classes(target.key):
        cells = plan.sides.cells(target.key, name)
        if reasons := [reason for of in cells for cell in of for reason in _undefined(cell, metrics)]:
            left_out.setdefault(reasons[0], []).append(name)
            continue
        found.append(_of_class(plan, f"{target.key}/{name}", cells, metrics))
    return found, [
        f"{target.title}: {', '.join(names) if found else 'all'} left out, {reason}"
        for reason, names in left_out.items()
    ]


def _of_class(plan: _Plan, name: str, cells: Sequence[Sequence[Cell]], metrics: Sequence[str]) -> _Found:
    wanted, of_images = [METRICS.index(metric) for metric in metrics], labels(cells[0][0])
    points, resampled = [], []
    for of_side in cells:
        points.append([np.mean([cell["metrics"][metric] for cell in of_side]) for metric in metrics])
        drawn = resampled_metrics(
            of_images, scores(of_side), resamples=plan.resamples, seed=plan.seed, name=name
        )
        resampled.append(drawn[wanted])
    return _Found(np.array(points), np.stack(resampled))


def _undefined(cell: Cell, metrics: Sequence[str]) -> list[str]:
    return [cell["reasons"][metric] for metric in metrics if cell["metrics"][metric] is None]


def _notes(columns: Sequence[ColumnCells]) -> list[str]:
    notes = []
    if len({column.setting for column in columns}) > 1:
        kinds = " and ".join(f"{column.label} is {column.setting}" for column in columns)
        notes.append(f"{kinds}: they do not see the same of the test set, so the difference is no contest")
    for column in columns:
        seeds = sort_seeds(seed for cell in column.cells if (seed := seed_of(cell)))
        if len(seeds) > 1:
            notes.append(
                f"{column.label}: mean over {len(seeds)} training seeds ({', '.join(seeds)}); the intervals "
                "cover the choice of images, not that of seeds"
            )
    return notes
