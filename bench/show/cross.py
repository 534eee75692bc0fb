"""The source x target matrix: what a method learned on one dataset, judged on all the others."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain

from bench.errors import BenchError, refuse_unknown
from bench.grouped import grouped
from bench.results import source_of
from bench.show.layouts import make_table
from bench.show.means import ColumnCells, DatasetRow, Results, mean
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
    known = (metric for column in results.columns for metric in column.cells[0]["metrics"])
    refuse_unknown("metric", metrics, known)
    shown = results.known(with_aupro(metrics or METRICS, aupro))
    domains = grouped(results.rows, lambda target: target.group)
    targets = list(chain(*domains.values()))
    refuse_mixed_worlds([(target.key, target.target) for target in targets])
    matrices = grouped(results.columns, lambda column: (column.method, column.variant))
    means = _common_means(targets) if any(len(rows) > 1 for rows in matrices.values()) else []
    sections: list[Section] = []
    over: dict[tuple[str, ...], list[str]] = {}
    for (_, variant), sources in matrices.items():
        for metric in shown:
            title = f"{variant}: {LEVELS[metric.partition('_')[0]]} {metric_title(metric)}"
            rows, common = _matrix(results, _ordered(sources), targets, means, metric)
            sections.append(Section(title, tuple(rows)))
            if len(sources) > 1:
                over.setdefault(common, []).append(title)
    if not sections:
        raise BenchError(
            f"{', '.join(metrics or METRICS)}: defined for none of these datasets; choose other --metrics"
        )
    heads = [
        *(Column(target.title, group=target.group) for target in targets),
        Column(_MEAN, group=_MEAN),
        *(Column(title, group=_MEAN) for title, _ in means),
    ]
    remarks = [_NOTE, _RANKED] + [
        f"{_COMMON}, {'all matrices' if len(over) == 1 else '; '.join(titles)}: over "
        f"{', '.join(names) or 'no target: none is in every row'}"
        for names, titles in over.items()
    ]
    return make_table(results, "cross", _TITLE, ("Trained on",), heads, sections, remarks)


def _common_means(targets: Sequence[DatasetRow]) -> list[CommonMean]:
    """Return the mean over common targets of each domain."""
    domains = grouped(range(len(targets)), lambda place: targets[place].group)
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


def _matrix(
    results: Results,
    sources: Sequence[ColumnCells],
    targets: Sequence[DatasetRow],
    means: Sequence[CommonMean],
    metric: str,
) -> tuple[list[Row], tuple[str, ...]]:
    """Return one method's rows in one metric, and the titles of the targets that its common means are over.

    There is a row for each source, then one of the means of the columns if there are several.
    """

    def average(values: Iterable[Value], label: str, source: str = "", dataset: str = "Average") -> Value:
        others = [
            replace(value, marks=value.marks - {Mark.PROTOCOL}, rank=None)
            for value in values
            if Mark.SEEN not in value.marks and _applies(value)
        ]
        subject = Subject(results.origin, label, "cross", dataset, source=source)
        return mean(others, len(others), metric, subject)

    def over_common(values: Sequence[Value], label: str, source: str = "") -> Entry:
        return tuple(
            average((values[each] for each in places), label, source, name) for name, places in shared
        )

    grid = ranked(
        [
            tuple(_marked(source, target, results.value(source.label, target, metric)) for target in targets)
            for source in sources
        ]
    )
    columns = list(zip(*grid, strict=True))
    common = [
        place
        for place, values in enumerate(columns)
        if all(value.number is not None and Mark.SEEN not in value.marks for value in values)
    ]
    shared = [
        (f"Average, {title.lower()}", [place for place in places if place in common])
        for title, places in means
    ]
    commons = ranked(
        [over_common(values, each.label, each.source) for each, values in zip(sources, grid, strict=True)]
    )
    rows = []
    for source, values, of_common in zip(sources, grid, commons, strict=True):
        of_row = average(values, source.label, source.source)
        rows.append(Row((_name(source),), tuple((value,) for value in (*values, of_row, *of_common))))
    if len(sources) > 1:
        label = f"{sources[0].variant} (mean of sources)"
        of_columns = [
            average(column, label, dataset=target.title)
            for column, target in zip(columns, targets, strict=True)
        ]
        of_all = (*of_columns, average(chain(*grid), label), *over_common(of_columns, label))
        rows.append(Row((_MEAN,), tuple((value,) for value in of_all), is_average=True))
    return rows, tuple(targets[place].title for place in common)


def _marked(source: ColumnCells, target: DatasetRow, value: Value) -> Value:
    """Return the value with the marks of the pair of source and target."""
    value = replace(value, subject=value.subject._replace(source=source.source))
    if not _applies(value):
        return value
    if source.source and any(cell["protocol_source"] for cell in source.on(target.key)):
        value = replace(value, marks=value.marks | {Mark.PROTOCOL})
    if target.target in _parts(source):
        value = replace(value, marks=value.marks | {Mark.SEEN}, gap=NOT_APPLICABLE)
    return value


def _applies(value: Value) -> bool:
    return value.number is not None or value.gap != NOT_APPLICABLE


def _name(source: ColumnCells) -> str:
    titles = [CATALOG[part].title if part in CATALOG else part for part in _parts(source)]
    return " + ".join(titles or ["no training"]) + (" (retrained)" if source.retrained else "")
