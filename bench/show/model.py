"""A table as a value: columns, sections of rows, entries of one to five numbers, notes. Knows no format."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from bench.errors import refuse_unknown
from bench.results import Trace
from bench.show.ranking import dense_ranks, percent
from bench.store.marks import INDUCTIVE, SETTINGS, Mark, legend, symbols

NOT_APPLICABLE = "-"
NOT_RUN = "n/a"
UNDEFINED = "undef."

METRIC_TITLES = {
    "auroc": "AUROC",
    "ap": "AP",
    "f1max": "F1-max",
    "aupro": "AUPRO",
    "aupro_exact": "exact AUPRO",
}
LEVELS = {"image": "Image level", "pixel": "Pixel level"}
TRIPLES = {
    "image": ("image_auroc", "image_ap", "image_f1max"),
    "pixel": ("pixel_auroc", "pixel_aupro", "pixel_f1max"),
}
AUPRO = {
    "protocol": ("pixel_aupro",),
    "exact": ("pixel_aupro_exact",),
    "both": ("pixel_aupro", "pixel_aupro_exact"),
}
"""Which AUPRO is shown: by the published protocol's 200 thresholds, by all of them, or both."""


def with_aupro(metrics: Sequence[str], which: str | None) -> tuple[str, ...]:
    """Return the metrics with that AUPRO (a key of `AUPRO`) where they have one; None: as they are."""
    if which is None:
        return tuple(metrics)
    refuse_unknown("AUPRO", [which], AUPRO)
    if not set(AUPRO["both"]) & set(metrics):
        return tuple(metrics)
    place = min(metrics.index(metric) for metric in AUPRO["both"] if metric in metrics)
    others = [metric for metric in metrics if metric not in AUPRO["both"]]
    return (*others[:place], *AUPRO[which], *others[place:])


def metric_title(metric: str) -> str:
    """Return the label of `pixel_aupro` and its like, without the level."""
    name = metric.partition("_")[2]
    return METRIC_TITLES.get(name, name)


class Subject(NamedTuple):
    """What a number is about; names as people read them. An empty `class_key` means the mean."""

    origin: str
    method: str
    domain: str
    dataset: str
    class_key: str = ""
    source: str = ""
    """What the weights were trained on, where the table tells sources apart."""


@dataclass(frozen=True)
class Value:
    """One number of a table, or what stands in its place."""

    metric: str
    subject: Subject
    number: Fraction | None = None
    """Fraction of one, exact and unrounded, the mean over the seeds; a difference may be negative."""
    gap: str = NOT_RUN
    """What is shown where there is no number."""
    marks: frozenset[Mark] = frozenset()
    rank: int | None = None
    """Dense rank among its rivals, 1 is best; None: not ranked."""
    signed: bool = False
    """Whether the number is a difference, shown with its sign."""
    interval: tuple[float, float] | None = None
    """Bounds of a difference's 95% interval, fractions of one."""
    p: float | None = None
    """A difference's p-value, in [0, 1]."""
    clear: bool = False
    """Whether a difference is told from 0 by its test."""
    is_rank: bool = False
    """Whether the number is an average rank, 1 or more, and no fraction of one."""
    by_seed: tuple[tuple[str, Fraction], ...] = ()
    """(seed, its own number) where weights were trained here; empty for published ones."""
    even: bool = True
    """Whether every seed has the same classes and datasets; if not, they cannot be compared."""
    traces: frozenset[Trace] = frozenset()
    """The cells that the number, or that there is none, comes from; empty for published ones."""

    @property
    def std(self) -> float | None:
        """Sample standard deviation (n - 1) over the seeds; None for fewer than two or uneven ones."""
        if self.number is None or len(self.by_seed) < 2 or not self.even:
            return None
        squares = sum((number - self.number) ** 2 for _, number in self.by_seed)
        return math.sqrt(squares / (len(self.by_seed) - 1))

    @property
    def spread(self) -> Decimal | None:
        """The standard deviation in percent with one decimal."""
        return None if self.std is None else percent(Fraction(self.std))

    @property
    def shown(self) -> Decimal | None:
        """The percentage with one decimal, or the average rank with two."""
        if self.number is None:
            return None
        return round(Decimal(float(self.number)), 2) if self.is_rank else percent(self.number)

    @property
    def text(self) -> str:
        """What is printed, without standard deviation and marks."""
        if self.number is None:
            return self.gap
        if self.interval is not None:
            low, high = (_signed(percent(Fraction(bound))) for bound in self.interval)
            p = "" if self.p is None else f", {p_text(self.p)}"
            return f"{_signed(percent(self.number))} [{low}, {high}]{p}"
        return _signed(percent(self.number)) if self.signed else str(self.shown)

    @property
    def bold(self) -> bool:
        """Whether the number is the best of its rivals, or a difference told from 0."""
        return self.rank == 1 or self.clear

    @property
    def symbols(self) -> str:
        """The signs that refer to the notes."""
        return symbols(self.marks)

    @property
    def setting(self) -> str:
        """How much of the test set the scores have seen; numbers are ranked within their setting."""
        return next((setting for setting in SETTINGS if setting in self.marks), INDUCTIVE)

    @property
    def competes(self) -> bool:
        """Whether the number may be ranked."""
        return self.number is not None and not self.signed and all(mark.ranked for mark in self.marks)


def p_text(p: float) -> str:
    """Return a p-value as it is printed."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _signed(shown: Decimal) -> str:
    return f"{shown:+}" if shown else f"{shown}"


Entry = tuple[Value, ...]
"""What stands in one place of the grid: a triple of metrics, or one number."""


def only_gap(entry: Entry) -> str | None:
    """Return the gap that stands for a whole entry without numbers; None if its values must be listed."""
    gaps = {value.text for value in entry if value.number is None}
    return gaps.pop() if len(gaps) == 1 and all(value.number is None for value in entry) else None


def common_symbols(entry: Entry) -> str:
    """Return the symbols that all values of an entry share, to be shown once; empty if they differ."""
    kinds = {value.symbols for value in entry}
    return kinds.pop() if len(kinds) == 1 else ""


@dataclass(frozen=True)
class Column:
    """A column of entries; neighbours with the same `span` share a heading above their own."""

    title: str
    span: str = ""
    setting: str = INDUCTIVE
    group: str = ""
    """A rule stands between neighbours of different settings or groups."""


@dataclass(frozen=True)
class Row:
    """A row: one label for each of the table's `stubs`, one entry for each column."""

    labels: tuple[str, ...]
    entries: tuple[Entry, ...]
    is_average: bool = False


@dataclass(frozen=True)
class Section:
    """Rows under a common heading."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """A table to be rendered. All texts are plain; renderers escape them."""

    layout: str
    title: str
    stubs: tuple[str, ...]
    columns: tuple[Column, ...]
    sections: tuple[Section, ...]
    headlines: tuple[str, ...]
    """Warnings that stand above the numbers."""
    notes: tuple[str, ...]
    footer: str
    """One line: commits, date, number of cells, protocol."""

    def rules(self) -> tuple[bool, ...]:
        """Whether a rule stands before each column: it parts settings and groups."""
        kinds = [(column.setting, column.group) for column in self.columns]
        return tuple(left != right for left, right in pairwise([*kinds[:1], *kinds]))

    def values(self) -> Iterator[Value]:
        """Yield every number in reading order."""
        for section in self.sections:
            for row in section.rows:
                for entry in row.entries:
                    yield from entry

    def legend(self) -> tuple[tuple[str, str], ...]:
        """Return (symbol, meaning) for the marks that occur."""
        used = frozenset[Mark]().union(*(value.marks for value in self.values()))
        return legend(used)


def ranked(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Rank rival entries against each other, metric by metric and setting by setting."""
    places: list[list[Value]] = [[] for _ in entries]
    for rivals in zip(*entries, strict=True):
        ranks: list[int | None] = [None] * len(rivals)
        for setting in SETTINGS:
            of_setting = dense_ranks(
                [value.shown if value.competes and value.setting == setting else None for value in rivals]
            )
            ranks = [rank or own for rank, own in zip(ranks, of_setting, strict=True)]
        for place, value, rank in zip(places, rivals, ranks, strict=True):
            place.append(replace(value, rank=rank))
    return tuple(map(tuple, places))
