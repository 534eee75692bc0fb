"""Several methods on the same images: differences of their metrics, with intervals and p-values.

A dataset's number is the mean over its classes, the last one the mean over datasets, as in every table.
Images are resampled within each class (`bench.study.bootstrap`); classes and datasets stay as they are. The
intervals cover the choice of test images and nothing else: a method with several training seeds enters with
the mean of their metrics, in every resample anew.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any

from bench.errors import BenchError, unknown
from bench.results import seed_of
from bench.show.means import ColumnCells, sort_seeds
from bench.show.model import LEVELS, Column, Row, Section, Subject, Table, Value, metric_title
from bench.show.summary import ORIGIN
from bench.store.cells import Cell
from bench.study import statistics
from bench.study.bootstrap import METRICS
from bench.study.resampling import MEAN, PIXEL_METRICS, Line, ReadCounts, Resampling
from bench.study.sides import open_sides, with_control
from metrics.counts import LEVELS as PIXEL_LEVELS

CORRECTIONS = ("holm", "none")
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
_PIXELS = (
    "numbers are those of the cells; resamples are of pixels counted on {} levels of the score, moved to lie "
    "around these numbers: on these levels a metric is off by at most {:.2f} ({})"
)


@dataclass(frozen=True)
class _Comparisons:
    """What is held against what, and how."""

    labels: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
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
    metrics: Sequence[str] = METRICS,
    correction: str = "holm",
    resamples: int | None = None,
    seed: int = 0,
    read_counts: ReadCounts = lambda cell: None,
    **wanted: Any,
) -> Table:
    """Return the differences of all pairs of methods, the first minus the second: a section a metric.

    Args:
        cells: As read from the store.
        methods: `key` or `key:preset` of two or more.
        against: A control: every method minus this one, and no other pairs. It need not be in `methods`.
        metrics: Of those at image level, or of `bench.study.resampling.PIXEL_METRICS`.
        correction: Of p-values and intervals for several comparisons, one of `CORRECTIONS`.
        resamples: How many; None: 2000, and more for more than five comparisons.
        seed: What they are drawn by.
        read_counts: For metrics at pixel level: finds what was kept of a cell's maps.
        wanted: `datasets`, `where` and `latest`, which choose cells as in `open_sides`.

    Raises:
        BenchError: A method has not just one column, or not the cells or kept maps that are wanted, or was
            not measured on the same images as the others; or nothing is defined at the metrics' level.
    """
    words, control = with_control(methods, against)
    if len(words) < 2:
        raise BenchError("compare needs two methods or more: name them with --methods")
    places = range(len(words))
    if control is None:
        pairs = tuple(combinations(places, 2))
    else:
        pairs = tuple((place, control) for place in places if place != control)
    _refuse_metrics(metrics)
    sides = open_sides(list(cells), words, **wanted)
    plan = _Comparisons(sides.labels, pairs, correction)
    count = max(_LEAST, _EACH * plan.at_once) if resamples is None else resamples
    if count < (least := statistics.least_resamples(plan.at_once)):
        raise BenchError(f"--resamples {count}: {len(pairs)} difference(s) need at least {least}")
    resampling = Resampling(sides, metrics, count, seed, read_counts)
    lines = resampling.lines()
    several = len(pairs) > 1
    sections = [
        Section(
            metric_title(metric), tuple(row for line in lines for row in _rows(plan, line, place, metric))
        )
        for place, metric in enumerate(metrics)
    ]
    if several:
        columns = [Column("Metric, or difference, 95% interval, p")]
        title = f"{len(words)} methods, {f'against {sides.labels[pairs[0][1]]}' if against else 'all pairs'}"
    else:
        columns = [Column(sides.labels[place], setting=sides.columns[place].setting) for place in pairs[0]]
        columns.append(Column("Difference, 95% interval, p", setting=columns[-1].setting))
        title = " against ".join(column.title for column in columns[:2])
    notes = [_BOLD, _TESTED[correction if several else "one"].format(len(pairs)), *sides.notes]
    notes += [*resampling.notes, *_notes(sides.columns), _RESAMPLED.format(count, seed)]
    if resampling.level == "pixel":
        off, where_off = resampling.worst
        notes.append(_PIXELS.format(PIXEL_LEVELS, 100 * off, where_off))
    title = f"{title}: {LEVELS[resampling.level].lower()}, in percent"
    stubs = ("Dataset", "Methods") if several else ("Dataset",)
    return sides.table("compare", title, stubs, columns, sections, notes)


def _refuse_metrics(metrics: Sequence[str]) -> None:
    for metric in metrics:
        if metric == "pixel_aupro":
            raise BenchError(
                "pixel_aupro takes its 200 thresholds from the whole test set and cannot be resampled from "
                "counts of pixels: choose pixel_aupro_exact"
            )
        if metric not in (*METRICS, *PIXEL_METRICS):
            raise unknown("metric to compare", metric, (*METRICS, *PIXEL_METRICS))
    if len({metric.partition("_")[0] for metric in metrics}) != 1:
        raise BenchError(f"{' '.join(metrics)}: compare one level at a time, image or pixel")


def _rows(plan: _Comparisons, line: Line, place: int, metric: str) -> Iterator[Row]:
    """Yield a line's numbers and their differences: one row for two methods, else a row for each number."""
    several, is_average = len(plan.pairs) > 1, line.title.startswith(MEAN)
    shown = range(len(plan.labels)) if several else plan.pairs[0]
    points = [_point(plan, line, side, place, metric) for side in shown]
    values = [*points, *_differences(plan, line, place, metric)]
    if not several:
        yield Row((line.title,), tuple((value,) for value in values), is_average)
    for value in values if several else ():
        yield Row((line.title, value.subject.method), ((value,),), is_average)


def _point(plan: _Comparisons, line: Line, side: int, place: int, metric: str) -> Value:
    subject = Subject(ORIGIN, plan.labels[side], "compare", line.title)
    number = Fraction(float(line.found.points[side, place]))
    return Value(metric, subject, number, marks=line.marks[side], traces=line.traces[side])


def _differences(plan: _Comparisons, line: Line, place: int, metric: str) -> list[Value]:
    """Return the differences of all pairs in one metric."""
    names, points = plan.labels, line.found.points[:, place]
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
