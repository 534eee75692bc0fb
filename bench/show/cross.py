"""The source x target matrix: what a method learned on one dataset, judged on all the others."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from bench.errors import BenchError, unknown
from bench.results import source_of
from bench.show.choose import ColumnCells
from bench.show.layouts import make_table
from bench.show.means import DatasetRow, Group, Results, mean
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
    with_aupro,
)
from bench.store.marks import Mark
from datasets.catalog import CATALOG

METRICS = ("image_auroc", "pixel_auroc", "pixel_aupro")
"""Shown unless others are asked for."""
Target = tuple[Group, DatasetRow]
_MEAN = "Mean"
_NOTE = "means of rows leave out what the row was trained on: they are over different targets"
_TITLE = "Trained on one dataset (rows), tested on the others (columns): means over classes, in percent"


def cross(
    results: Results,
    columns: Sequence[ColumnCells],
    metrics: Sequence[str] = (),
    aupro: str | None = None,
) -> Table:
    """Return a matrix for each method and metric: rows sources, columns targets.

    Where the source includes the target, the number is marked and out of the averages. Row means are over
    the other targets, column means over the other sources; where some are missing, the mean is partial.

    Args:
        results: Of `columns`.
        columns: One for each method and source (`fill_columns` with `by_source`).
        metrics: Their keys; empty: those of `METRICS` that the datasets have.
        aupro: Which AUPRO, a key of `model.AUPRO`.

    Raises:
        BenchError: A metric is unknown, none applies, or real and generated datasets would be averaged.
    """
    known = {metric for column in columns for metric in column.cells[0]["metrics"]}
    for metric in metrics:
        if metric not in known:
            raise unknown("metric", metric, known)
    shown = results.known(with_aupro(metrics or METRICS, aupro))
    targets = [(group, dataset) for group in results.groups for dataset in group.datasets]
    refuse_mixed_worlds([(target.key, target.target) for _, target in targets])
    matrices: dict[tuple[str, str], list[ColumnCells]] = {}
    for column in columns:
        matrices.setdefault((column.method, column.variant), []).append(column)
    sections = [
        Section(
            f"{variant}: {LEVELS[metric.partition('_')[0]]} {metric_title(metric)}",
            tuple(_rows(results, variant, _ordered(sources), targets, metric)),
        )
        for (_, variant), sources in matrices.items()
        for metric in shown
    ]
    if not sections:
        raise BenchError(
            f"{', '.join(metrics or METRICS)}: defined for none of these datasets; choose other --metrics"
        )
    heads = [Column(title) for title in (*(target.title for _, target in targets), _MEAN)]
    return make_table(results, "cross", _TITLE, ("Trained on",), heads, sections, [_NOTE])


def refuse_mixed_worlds(datasets: Sequence[tuple[str, str]]) -> None:
    """Raise `BenchError` if real and generated datasets (key, target) stand together."""
    generated = [key for key, _ in datasets if key.startswith("standin_")]
    if 0 < len(generated) < len(datasets):
        raise BenchError(
            f"{generated[0]} is generated and others are real, and no mean is over both: choose --datasets"
        )


def _ordered(sources: Sequence[ColumnCells]) -> list[ColumnCells]:
    order = {key: place for place, key in enumerate(CATALOG)}

    def place(column: ColumnCells) -> tuple[object, ...]:
        parts = _parts(column)
        return len(parts), [order.get(part, len(order)) for part in parts], column.source, column.retrained

    return sorted(sources, key=place)


def _parts(column: ColumnCells) -> tuple[str, ...]:
    source = source_of(column.cells[0])
    return source.datasets if source else ()


def _rows(
    results: Results, variant: str, sources: Sequence[ColumnCells], targets: Sequence[Target], metric: str
) -> Iterator[Row]:
    """Yield the matrix of one method and one metric: a row for each source, then the means of the columns."""

    def average(values: Iterable[Value], label: str, dataset: str, source: str = "") -> Value:
        others = [
            replace(value, marks=value.marks - {Mark.PROTOCOL})
            for value in values
            if Mark.SEEN not in value.marks and _applies(value)
        ]
        subject = Subject(results.origin, label, "cross", dataset, source=source)
        return mean(others, len(others), metric, subject)

    grid = []
    for source in sources:
        values = [
            _marked(source, target, results.value(source.label, group, target, metric))
            for group, target in targets
        ]
        grid.append(values)
        of_row = average(values, source.label, "Average", source.source)
        yield Row((_name(source),), tuple((value,) for value in (*values, of_row)))
    if len(sources) > 1:
        label = f"{variant} (mean of sources)"
        means = [
            average(column, label, target.title)
            for column, (_, target) in zip(zip(*grid, strict=True), targets, strict=True)
        ]
        overall = average(chain(*grid), label, "Average")
        yield Row((_MEAN,), tuple((value,) for value in (*means, overall)), is_average=True)


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
