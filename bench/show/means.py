"""Means and what is said about them: what every layout looks its numbers up in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from bench.results import Trace
from bench.show.model import NOT_APPLICABLE, NOT_RUN, UNDEFINED, Subject, Value
from bench.store.cells import Cell
from bench.store.marks import INDUCTIVE, Mark


@dataclass(frozen=True)
class DatasetRow:
    """A dataset of the table."""

    key: str
    target: str
    """Key in the catalog, also for stand-ins; else as `key`."""
    title: str
    levels: tuple[str, ...]
    group: str
    """The title of its group."""
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Datasets that stand together, usually a domain."""

    title: str
    datasets: tuple[DatasetRow, ...]
    average: str | None
    """Label of the group's average; None: datasets without anything in common are not averaged."""
    is_whole: bool = True
    """Whether these are all the datasets of the group."""
    heading: str = ""
    """What heads the group's own sections in a table; empty: it stands with the paper's datasets."""

    def at(self, level: str) -> tuple[DatasetRow, ...]:
        """Return the datasets that have the level."""
        return tuple(dataset for dataset in self.datasets if level in dataset.levels)


Place = DatasetRow | Group
"""A row of a table: a dataset, or the average of a group."""


@dataclass(frozen=True)
class ColumnCells:
    """A column and its cells: per dataset, class and seed at most one, all measured alike; none in print."""

    label: str
    title: str
    """The plain name, without what is special about the column."""
    method: str
    cells: tuple[Cell, ...] = ()
    source: str = ""
    """What the column's weights were trained on; empty where the protocol chooses, target by target."""
    retrained: bool = False
    """Whether its weights were trained here where published ones stand beside them."""
    variant: str = ""
    """The label without the source: columns that differ in the source alone share it."""
    setting: str = INDUCTIVE
    """How much of the test set its scores have seen."""
    as_published: bool = True
    """Whether it is the method with its paper's options, source and weights, in whatever precision."""

    def on(self, dataset: str) -> list[Cell]:
        """Return its cells of one dataset, a key."""
        return [cell for cell in self.cells if cell["dataset"] == dataset]


ValueKey = tuple[str, str, str, str]
"""(method label, dataset key, class key or "" for the mean, metric)."""
AverageKey = tuple[str, str, str]
"""(method label, group title, metric)."""


@dataclass(frozen=True)
class Results:
    """Means and what is to be said about them. Where nothing was run there is no value."""

    origin: str
    columns: tuple[ColumnCells, ...]
    groups: tuple[Group, ...]
    values: Mapping[ValueKey, Value]
    footer: str
    headlines: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    """The caller's sentences below a table."""
    absent: str = NOT_RUN
    """What stands for a number that a dataset could have and that is not here."""
    misprints: Mapping[AverageKey, str] = field(default_factory=dict)
    """Where printed averages are not the means of their rows, and what is to be said of it."""

    @property
    def rows(self) -> tuple[DatasetRow, ...]:
        """Every dataset, group by group."""
        return tuple(row for group in self.groups for row in group.datasets)

    def known(self, metrics: Sequence[str]) -> tuple[str, ...]:
        """Return those of the metrics that some dataset here could have (in print: that are printed)."""
        levels = {level for row in self.rows for level in row.levels}
        printed = {metric for *_, metric in self.values}
        return tuple(
            metric
            for metric in metrics
            if metric.partition("_")[0] in levels and (self.absent == NOT_RUN or metric in printed)
        )

    def value(self, label: str, place: Place, metric: str, class_key: str = "") -> Value:
        """Return the value of a dataset or class, or the gap that stands for it.

        Of a group it is the mean over its datasets; trained-on ones are left out, which makes it partial.
        """
        level = metric.partition("_")[0]
        if isinstance(place, Group):
            values = [self.value(label, row, metric) for row in place.at(level)]
            subject = Subject(self.origin, label, place.title, place.average or "")
            return mean(values, len(values), metric, subject, without=Mark.SEEN)
        value = self.values.get((label, place.key, class_key, metric))
        if value is not None:
            return value
        subject = Subject(self.origin, label, place.group, place.title, class_key)
        return Value(metric, subject, gap=self.absent if level in place.levels else NOT_APPLICABLE)


def mean(
    values: Sequence[Value], expected: int, metric: str, subject: Subject, without: Mark | None = None
) -> Value:
    """Return the exact mean of the defined values, marked partial if they are fewer than `expected`.

    Values marked `without` are left out. Every seed gets its own mean, and these are averaged; a value
    without seeds (published weights) counts for each. A seed that lacks some of the values makes it partial.
    """
    defined = [value for value in values if value.number is not None and without not in value.marks]
    if not defined:
        gaps = [value.gap for value in values if value.number is None]
        gap = next((gap for gap in (UNDEFINED, NOT_RUN) if gap in gaps), NOT_APPLICABLE)
        return Value(metric, subject, gap=gap, traces=_traces(values))
    marks = frozenset[Mark]().union(*(value.marks for value in defined))
    by_seed, even = [], all(value.even for value in defined)
    for seed in sort_seeds(seed for value in defined for seed, _ in value.by_seed):
        own = [dict(value.by_seed).get(seed) if value.by_seed else value.number for value in defined]
        there = [number for number in own if number is not None]
        by_seed.append((seed, sum(there) / Fraction(len(there))))
        even = even and len(there) == len(own)
    if len(defined) < expected or not even:
        marks |= {Mark.PARTIAL}
    numbers = [number for _, number in by_seed] or [
        value.number for value in defined if value.number is not None
    ]
    total = sum(numbers, Fraction(0))
    return Value(
        metric,
        subject,
        total / len(numbers),
        marks=marks,
        by_seed=tuple(by_seed),
        even=even,
        traces=_traces(defined),
    )


def _traces(values: Iterable[Value]) -> frozenset[Trace]:
    return frozenset[Trace]().union(*(value.traces for value in values))


def sort_seeds(seeds: Iterable[str]) -> list[str]:
    """Return every seed once, numbers by size."""
    return sorted(set(seeds), key=lambda seed: (len(seed), seed))
