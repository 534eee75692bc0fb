"""The source x target matrix: what a method learned on one dataset, judged on all the others."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

from bench.errors import BenchError, unknown
from bench.results import source_of
from bench.show.layouts import make_table
from bench.show.means import ColumnCells, DatasetRow, Group, Results, mean
from bench.show.model import (
    LEVELS,
    NOT_APPLICABLE,
    Column,
    Entry,
    Row,
    Section,
    Subject,
    Table,
    Value,
    metric_title,
    ranked,
    with_aupro,
)
from bench.store.marks import Mark
from datasets.catalog import CATALOG, place_of

METRICS = ("image_auroc", "pixel_auroc", "pixel_aupro")
"""Shown unless others are asked for."""
Target = tuple[Group, DatasetRow]
CommonMean = tuple[str, Sequence[int]]
"""Title and places of the targets it is over, as far as they are common."""
_MEAN = "Mean"
_COMMON = "Common"
_NOTE = "means of rows leave out what the row was trained on: they are over different targets"
_RANKED = "best and second: among the sources of a matrix, on a target or a common mean"
_TITLE = "Trained on one dataset (rows), tested on the others (columns): means over classes, in percent"


def cross(results: Results, metrics: Sequence[str] = (), aupro: str | None = None) -> Table:
    """Return a matrix for each method and metric: rows sources, columns targets.

    Targets stand in the catalog's order, industrial ones before medical ones. Where the source includes the
    target, the number is marked and out of the averages. Row means are over the other targets, column means
    over the other sources; where some are missing, the mean is partial. `Common` is the mean over the
    targets of a domain that every row of the matrix has and none was trained on. In the columns of targets
    and of common means the sources are ranked.

    Args:
        results: With a column for each method and source (`fill_columns` with `by_source`).
        metrics: Their keys; empty: those of `METRICS` that the datasets have.
        aupro: Which AUPRO, a key of `model.AUPRO`.

    Raises:
        BenchError: A metric is unknown, none applies, or real and generated datasets would be averaged.
    """
    known = {metric for column in results.columns for metric in column.cells[0]["metrics"]}
    for metric in metrics:
        if metric not in known:
            raise unknown("metric", metric, known)
    shown = results.known(with_aupro(metrics or METRICS, aupro))
    targets = _apart(results.rows)
    refuse_mixed_worlds([(target.key, target.target) for _, target in targets])
    matrices: dict[tuple[str, str], list[ColumnCells]] = {}
    for column in results.columns:
        matrices.setdefault((column.method, column.variant), []).append(column)
    means = _common_means(targets) if any(len(rows) > 1 for rows in matrices.values()) else []
    sections: list[Section] = []
    over: dict[tuple[str, ...], list[str]] = {}
    for (_, variant), sources in matrices.items():
        for metric in shown:
            title = f"{variant}: {LEVELS[metric.partition('_')[0]]} {metric_title(metric)}"
            matrix = _Matrix(results, variant, _ordered(sources), targets, means, metric)
            sections.append(Section(title, tuple(matrix.rows())))
            if len(sources) > 1:
                over.setdefault(matrix.common_titles, []).append(title)
    if not sections:
        raise BenchError(
            f"{', '.join(metrics or METRICS)}: defined for none of these datasets; choose other --metrics"
        )
    heads = [
        *(Column(target.title, group=group.title) for group, target in targets),
        Column(_MEAN, group=_MEAN),
        *(Column(title, group=_MEAN) for title, _ in means),
    ]
    remarks = [_NOTE, _RANKED] + [
        f"{_COMMON}, {'all matrices' if len(over) == 1 else '; '.join(titles)}: over "
        f"{', '.join(names) or 'no target: none is in every row'}"
        for names, titles in over.items()
    ]
    return make_table(results, "cross", _TITLE, ("Trained on",), heads, sections, remarks)


def _apart(targets: Sequence[Target]) -> list[Target]:
    """Return the targets domain by domain; within one in the order they have."""
    domains = list(dict.fromkeys(group.title for group, _ in targets))
    return sorted(targets, key=lambda target: domains.index(target[0].title))


def _common_means(targets: Sequence[Target]) -> list[CommonMean]:
    """Return the mean over common targets of each domain."""
    domains: dict[str, list[int]] = {}
    for place, (group, _) in enumerate(targets):
        domains.setdefault(group.title, []).append(place)
    return [
        (f"{_COMMON}, {domain.partition(',')[0].lower()}" if len(domains) > 1 else _COMMON, places)
        for domain, places in domains.items()
    ]


def refuse_mixed_worlds(datasets: Sequence[tuple[str, str]]) -> None:
    """Raise `BenchError` if real and generated datasets (key, target) stand together."""
    generated = [key for key, _ in datasets if key.startswith("standin_")]
    if 0 < len(generated) < len(datasets):
        raise BenchError(
            f"{generated[0]} is generated and others are real, and no mean is over both: choose --datasets"
        )


def _ordered(sources: Sequence[ColumnCells]) -> list[ColumnCells]:
    def place(column: ColumnCells) -> tuple[object, ...]:
        parts = _parts(column)
        return len(parts), [*map(place_of, parts)], column.source, column.retrained

    return sorted(sources, key=place)


def _parts(column: ColumnCells) -> tuple[str, ...]:
    source = source_of(column.cells[0])
    return source.datasets if source else ()


@dataclass(frozen=True)
class _Matrix:
    """One method and one metric."""

    results: Results
    variant: str
    sources: Sequence[ColumnCells]
    targets: Sequence[Target]
    means: Sequence[CommonMean]
    metric: str

    @cached_property
    def grid(self) -> tuple[Entry, ...]:
        """The numbers of each source, with ranks among the sources of a target."""
        return ranked(
            [
                tuple(
                    _marked(source, target, self.results.value(source.label, group, target, self.metric))
                    for group, target in self.targets
                )
                for source in self.sources
            ]
        )

    @cached_property
    def common(self) -> set[int]:
        """The places of the targets that every source has and none includes."""
        return {
            place
            for place, values in enumerate(zip(*self.grid, strict=True))
            if all(value.number is not None and Mark.SEEN not in value.marks for value in values)
        }

    @property
    def common_titles(self) -> tuple[str, ...]:
        """The titles of the common targets."""
        return tuple(self.targets[place][1].title for place in sorted(self.common))

    def rows(self) -> Iterator[Row]:
        """Yield a row for each source, then the means of the columns."""
        common = ranked(
            [
                self._common(values, source.label, source.source)
                for source, values in zip(self.sources, self.grid, strict=True)
            ]
        )
        for source, values, common_means in zip(self.sources, self.grid, common, strict=True):
            of_row = self._average(values, source.label, source.source)
            yield Row((_name(source),), tuple((value,) for value in (*values, of_row, *common_means)))
        if len(self.sources) > 1:
            label = f"{self.variant} (mean of sources)"
            of_columns = [
                self._average(column, label, dataset=target.title)
                for column, (_, target) in zip(zip(*self.grid, strict=True), self.targets, strict=True)
            ]
            overall = self._average(chain(*self.grid), label)
            of_all = (*of_columns, overall, *self._common(of_columns, label))
            yield Row((_MEAN,), tuple((value,) for value in of_all), is_average=True)

    def _common(self, values: Sequence[Value], label: str, source: str = "") -> Entry:
        """Return the means over the common targets of each domain."""
        return tuple(
            self._average(
                (values[place] for place in places if place in self.common),
                label,
                source,
                f"Average, {title.lower()}",
            )
            for title, places in self.means
        )

    def _average(
        self, values: Iterable[Value], label: str, source: str = "", dataset: str = "Average"
    ) -> Value:
        others = [
            replace(value, marks=value.marks - {Mark.PROTOCOL}, rank=None)
            for value in values
            if Mark.SEEN not in value.marks and _applies(value)
        ]
        subject = Subject(self.results.origin, label, "cross", dataset, source=source)
        return mean(others, len(others), self.metric, subject)


def _marked(source: ColumnCells, target: DatasetRow, value: Value) -> Value:
    """Return the value with the marks of the pair of source and target."""
    value = replace(value, subject=value.subject._replace(source=source.source))
    if not _applies(value):
        return value
    cells = [cell for cell in source.cells if cell["dataset"] == target.key]
    if source.source and any(cell["protocol_source"] for cell in cells):
        value = replace(value, marks=value.marks | {Mark.PROTOCOL})
    if target.target in _parts(source):
        value = replace(value, marks=value.marks | {Mark.SEEN}, gap=NOT_APPLICABLE)
    return value


def _applies(value: Value) -> bool:
    return value.number is not None or value.gap != NOT_APPLICABLE


def _name(source: ColumnCells) -> str:
    titles = [CATALOG[part].title if part in CATALOG else part for part in _parts(source)]
    return " + ".join(titles or ["no training"]) + (" (retrained)" if source.retrained else "")
