"""The source x target matrix: what a method learned on one dataset, judged on all the others."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from bench.errors import BenchError, unknown
from bench.show.choose import Filling, HomeSource
from bench.show.model import LEVELS, NOT_APPLICABLE, Column, Row, Section, Subject, Table, Value, metric_title
from bench.show.results import DatasetRow, Results, mean
from bench.show.summary import STANDIN
from bench.store.marks import Mark
from datasets.catalog import CATALOG

METRICS = ("image_auroc", "pixel_auroc", "pixel_aupro")
"""Shown unless others are asked for."""
_MEAN = "Mean"
_NOTE = "means of rows leave out what the row was trained on: they are over different targets"
_TITLE = "Trained on one dataset (rows), tested on the others (columns): means over classes, in percent"


def cross(
    results: Results,
    fillings: Sequence[Filling],
    home_source: HomeSource | None = None,
    metrics: Sequence[str] = (),
) -> Table:
    """Return a matrix for each method and metric: rows sources, columns targets.

    Where the source includes the target, the number is marked and out of the averages. Row means are over
    the other targets, column means over the other sources; where some are missing, the mean is partial.

    Args:
        results: Of `fillings`.
        fillings: One for each method and source (`fill_columns` with `by_source`).
        home_source: The protocol's source for (method, target); its numbers are marked.
        metrics: Their keys; empty: those of `METRICS` that the datasets have.

    Raises:
        BenchError: A metric is unknown, none applies, or real and generated datasets would be averaged.
    """
    known = {metric for filling in fillings for metric in filling.cells[0]["metrics"]}
    for metric in metrics:
        if metric not in known:
            raise unknown("metric", metric, known)
    shown = results.known(metrics or METRICS)
    targets = [dataset for group in results.groups for dataset in group.datasets]
    refuse_mixed_worlds([target.key for target in targets])
    matrices: dict[tuple[str, str], list[Filling]] = {}
    for filling in fillings:
        matrices.setdefault((filling.method, filling.variant), []).append(filling)
    sections = tuple(
        Section(
            f"{variant}: {LEVELS[metric.partition('_')[0]]} {metric_title(metric)}",
            _Matrix(results, variant, _ordered(sources), targets, metric, home_source).rows(),
        )
        for (_, variant), sources in matrices.items()
        for metric in shown
    )
    if not sections:
        raise BenchError(
            f"{', '.join(metrics or METRICS)}: defined for none of these datasets; choose other --metrics"
        )
    columns = tuple(Column(title) for title in (*(target.title for target in targets), _MEAN))
    notes = (*results.notes, _NOTE)
    return Table(
        "cross", _TITLE, ("Trained on",), columns, sections, results.headlines, notes, results.footer
    )


def refuse_mixed_worlds(keys: Sequence[str]) -> None:
    """Raise `BenchError` if real and generated stand-in datasets stand together: no mean is over both."""
    generated = [key for key in keys if key.startswith(STANDIN)]
    if 0 < len(generated) < len(keys):
        raise BenchError(
            f"{generated[0]} is generated and others are real, and no mean is over both: choose --datasets"
        )


def _ordered(sources: Sequence[Filling]) -> list[Filling]:
    order = {key: place for place, key in enumerate(CATALOG)}

    def place(filling: Filling) -> tuple[object, ...]:
        parts = _parts(filling)
        return len(parts), [order.get(part, len(order)) for part in parts], filling.source, filling.retrained

    return sorted(sources, key=place)


def _parts(filling: Filling) -> list[str]:
    return [part.removeprefix(STANDIN) for part in filling.source.split("+") if part]


class _Matrix:
    """One method and one metric."""

    def __init__(
        self,
        results: Results,
        variant: str,
        sources: Sequence[Filling],
        targets: Sequence[DatasetRow],
        metric: str,
        home_source: HomeSource | None,
    ) -> None:
        self.variant, self.metric, self.sources, self.home_source = variant, metric, sources, home_source
        self.targets, self.origin = targets, results.origin
        group_of = {dataset.key: group for group in results.groups for dataset in group.datasets}
        self.grid = [
            [
                self._value(source, target, results.of(source.label, group_of[target.key], target, metric))
                for target in targets
            ]
            for source in sources
        ]

    def _value(self, source: Filling, target: DatasetRow, value: Value) -> Value:
        base, parts = target.key.removeprefix(STANDIN), _parts(source)
        value = replace(value, subject=value.subject._replace(source=source.source))
        if not _applies(value):
            return value
        home = self.home_source(source.method, base) if self.home_source else None
        if home and set(home.split("+")) == set(parts):
            value = replace(value, marks=value.marks | {Mark.PROTOCOL})
        if base in parts:
            value = replace(value, marks=value.marks | {Mark.SEEN}, gap=NOT_APPLICABLE)
        return value

    def rows(self) -> tuple[Row, ...]:
        """Return a row for each source, and the means of the columns."""
        rows = tuple(self._of_sources())
        return (*rows, self._of_means()) if len(rows) > 1 else rows

    def _of_sources(self) -> Iterator[Row]:
        for source, values in zip(self.sources, self.grid, strict=True):
            average = self._mean(values, source.label, source.source, "Average")
            yield Row((_name(source),), tuple((value,) for value in (*values, average)))

    def _of_means(self) -> Row:
        label = f"{self.variant} (mean of sources)"
        means = [
            self._mean([values[place] for values in self.grid], label, "", target.title)
            for place, target in enumerate(self.targets)
        ]
        overall = self._mean([value for values in self.grid for value in values], label, "", "Average")
        return Row((_MEAN,), tuple((value,) for value in (*means, overall)), is_average=True)

    def _mean(self, values: Sequence[Value], method: str, source: str, dataset: str) -> Value:
        subject = Subject(self.origin, method, "cross", dataset, source=source)
        others = [
            replace(value, marks=value.marks - {Mark.PROTOCOL})
            for value in values
            if Mark.SEEN not in value.marks and _applies(value)
        ]
        return mean(others, len(others), self.metric, subject)


def _applies(value: Value) -> bool:
    return value.number is not None or value.gap != NOT_APPLICABLE


def _name(source: Filling) -> str:
    titles = [CATALOG[part].title if part in CATALOG else part for part in _parts(source)]
    return " + ".join(titles or ["no training"]) + (" (retrained)" if source.retrained else "")
