"""From cells to means: what every layout looks its numbers up in."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from bench.tables.choose import Cell, Filling
from bench.tables.model import (
    FEW,
    NOT_APPLICABLE,
    NOT_RUN,
    PARTIAL,
    SEEN,
    SELECTED,
    UNDEFINED,
    UNRANKED,
    UNTRAINED,
    Subject,
    Value,
    metric_title,
)
from datasets.catalog import CATALOG

ORIGIN = "zsad-bench"
STANDIN = "standin_"
_DOMAINS = ("industrial", "medical")
_OTHER = "Other"


@dataclass(frozen=True)
class DatasetRow:
    """A dataset of the table."""

    key: str
    title: str
    levels: tuple[str, ...]
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

    def at(self, level: str) -> tuple[DatasetRow, ...]:
        """Return the datasets that have the level."""
        return tuple(dataset for dataset in self.datasets if level in dataset.levels)


Place = tuple[str, str, str, str]
"""(method label, dataset key or group title, class key or "" for the mean, metric)."""


@dataclass(frozen=True)
class Results:
    """Means and what is to be said about them. Where nothing was run there is no value."""

    origin: str
    methods: tuple[tuple[str, str], ...]
    """(label, plain title) of every method, in order."""
    groups: tuple[Group, ...]
    values: Mapping[Place, Value]
    headlines: tuple[str, ...]
    notes: tuple[str, ...]
    footer: str
    absent: str = NOT_RUN
    """What stands for a number that a dataset could have and that is not here."""

    def known(self, metrics: Sequence[str]) -> tuple[str, ...]:
        """Return those of the metrics that some dataset here could have (in print: that are printed)."""
        levels = {level for group in self.groups for row in group.datasets for level in row.levels}
        printed = {metric for *_, metric in self.values}
        return tuple(
            metric
            for metric in metrics
            if metric.partition("_")[0] in levels and (self.absent == NOT_RUN or metric in printed)
        )

    def of(self, label: str, group: Group, dataset: DatasetRow, metric: str, class_key: str = "") -> Value:
        """Return the value of a dataset or class, or the gap that stands for it."""
        value = self.values.get((label, dataset.key, class_key, metric))
        if value is not None:
            return value
        applies = metric.partition("_")[0] in dataset.levels
        subject = Subject(self.origin, label, group.title, dataset.title, class_key)
        return Value(metric, subject, gap=self.absent if applies else NOT_APPLICABLE)

    def average(self, label: str, group: Group, metric: str) -> Value:
        """Return the mean over the group's datasets; trained-on ones are left out, which makes it partial."""
        values = [self.of(label, group, row, metric) for row in group.at(metric.partition("_")[0])]
        subject = Subject(self.origin, label, group.title, group.average or "")
        return mean(values, len(values), metric, subject, without=SEEN)


def mean(
    values: Sequence[Value], expected: int, metric: str, subject: Subject, without: str | None = None
) -> Value:
    """Return the exact mean of the defined values, marked partial if they are fewer than `expected`.

    Values marked `without` are left out.
    """
    defined = [value for value in values if value.number is not None and without not in value.marks]
    if not defined:
        gaps = [value.gap for value in values if value.number is None]
        gap = next((gap for gap in (UNDEFINED, NOT_RUN) if gap in gaps), NOT_APPLICABLE)
        return Value(metric, subject, gap=gap)
    marks = frozenset[str]().union(*(value.marks for value in defined))
    if without:
        marks -= {FEW}
    if len(defined) < expected:
        marks |= {PARTIAL}
    total = sum((value.number for value in defined if value.number is not None), Fraction(0))
    return Value(metric, subject, total / len(defined), marks=marks)


def summarise(
    fillings: Sequence[Filling],
    *,
    datasets: Sequence[str] = (),
    unranked: frozenset[str] = frozenset(),
    footer: str = "",
) -> Results:
    """Return class values and their means for the cells of all columns.

    Args:
        fillings: The columns.
        datasets: Keys of the rows wanted; empty: the whole catalogue and what else has cells.
        unranked: Methods (keys) that take no part in the ranking.
        footer: Line for the end of the table.
    """
    cells = [cell for filling in fillings for cell in filling.cells]
    groups = _groups(cells, datasets)
    values: dict[Place, Value] = {}
    notes: list[str] = []
    for filling in fillings:
        for group in groups:
            for dataset in group.datasets:
                alike = [cell for cell in filling.cells if cell["dataset"] == dataset.key]
                if alike:
                    _fill(values, notes, filling, group, dataset, alike, filling.method in unranked)
    return Results(
        ORIGIN,
        tuple((filling.label, filling.title) for filling in fillings),
        groups,
        values,
        _headlines(fillings),
        tuple(notes),
        footer,
    )


def _fill(
    values: dict[Place, Value],
    notes: list[str],
    filling: Filling,
    group: Group,
    dataset: DatasetRow,
    cells: Sequence[Cell],
    unranked: bool,
) -> None:
    expected = max(cell["n_classes"] for cell in cells)
    where = f"{filling.label} on {dataset.title}"
    if len(cells) < expected:
        notes.append(f"{where}: {len(cells)} of {expected} classes run")
    if any(PARTIAL in cell["marks"] for cell in cells):
        counts = [sum(cell["counts"][kind] for cell in cells) for kind in ("normal", "anomalous")]
        notes.append(f"{where}: not all images, only {counts[0]} normal and {counts[1]} anomalous ones")
    few = 0
    for metric in cells[0]["metrics"]:
        level, title = metric.partition("_")[0], metric_title(metric)
        if level not in dataset.levels:
            continue
        of_classes, reasons = [], Counter[str]()
        for cell in cells:
            number, subject = cell["metrics"][metric], _subject(filling, group, dataset, cell["class"])
            marks = _marks(cell, metric, unranked)
            few += FEW in marks
            if number is None:
                reasons[cell["reasons"].get(metric, "no reason given")] += 1
                value = Value(metric, subject, gap=UNDEFINED)
            else:
                value = Value(metric, subject, Fraction(number), marks=marks)
            of_classes.append(value)
            values[filling.label, dataset.key, cell["class"], metric] = value
        if reasons:
            why = "; ".join(f"{reason} in {count}" for reason, count in reasons.items())
            defined = f"{len(cells) - reasons.total()}/{expected}"
            notes.append(f"{where}: {level} {title} is defined in {defined} classes ({why})")
        subject = _subject(filling, group, dataset, "")
        values[filling.label, dataset.key, "", metric] = mean(of_classes, expected, metric, subject)
    if few:
        notes.append(f"{where}: AUPRO rests on few thresholds in {few} of {len(cells)} classes")


def _subject(filling: Filling, group: Group, dataset: DatasetRow, class_key: str) -> Subject:
    return Subject(ORIGIN, filling.label, group.title, dataset.title, class_key)


def _marks(cell: Cell, metric: str, unranked: bool) -> frozenset[str]:
    marks = {PARTIAL, SEEN, SELECTED, UNTRAINED} & set(cell["marks"])
    if unranked or "privileged" in cell["marks"]:
        marks.add(UNRANKED)
    if metric == "pixel_aupro" and cell["details"].get("pixel_aupro_few_thresholds"):
        marks.add(FEW)
    return frozenset(marks)


def _headlines(fillings: Sequence[Filling]) -> tuple[str, ...]:
    def labels(mark: str) -> list[str]:
        return [each.label for each in fillings if any(mark in cell["marks"] for cell in each.cells)]

    lines = []
    if untrained := labels(UNTRAINED):
        lines.append(f"untrained: chance. Untrained weights in {', '.join(untrained)}: not ranked.")
    if labels("stand-in"):
        lines.append("demo: generated data, small models; not the paper's numbers.")
    return tuple(lines)


def _groups(cells: Sequence[Cell], wanted: Sequence[str]) -> tuple[Group, ...]:
    """Return the domains with real data, then those with stand-in data, then data sets of the user's own."""
    found = {cell["dataset"]: cell for cell in cells}
    groups, used = [], set[str]()
    for prefix in ("", STANDIN):
        keys = [prefix + key for key in CATALOG]
        if not any(key in found or key in wanted for key in keys):
            continue
        used |= set(keys)
        for domain in _DOMAINS:
            of_domain = [key for key in keys if CATALOG[key.removeprefix(STANDIN)].domain == domain]
            rows = [_row(key, cells) for key in of_domain if not wanted or key in wanted]
            title = domain.capitalize() + (", stand-in" if prefix else "")
            whole = len(rows) == len(of_domain)
            if rows:
                groups.append(Group(title, tuple(rows), "Average" if whole else "Average of these", whole))
    others = tuple(_row(key, cells) for key in (wanted or sorted(found)) if key in found and key not in used)
    return (*groups, Group(_OTHER, others, None)) if others else tuple(groups)


def _row(key: str, cells: Sequence[Cell]) -> DatasetRow:
    alike = [cell for cell in cells if cell["dataset"] == key]
    entry = CATALOG.get(key.removeprefix(STANDIN))
    classes = tuple(dict.fromkeys(cell["class"] for cell in alike))
    if entry is not None:
        known = tuple(each.key for each in entry.classes)
        whole = all(cell["n_classes"] == len(known) for cell in alike) and set(classes) <= set(known)
        return DatasetRow(key, entry.title, entry.levels, known if whole else classes)
    first = alike[0]
    return DatasetRow(key, first["dataset_title"], tuple(first["levels"]), classes)
