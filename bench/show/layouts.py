"""The layouts: which numbers stand where, and which of them are rivals."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby, product

from bench.errors import BenchError
from bench.show.means import ColumnCells, Place, Results
from bench.show.model import (
    LEVELS,
    TRIPLES,
    Column,
    Entry,
    Row,
    Section,
    Table,
    metric_title,
    ranked,
    with_aupro,
)
from bench.show.notes import notes
from bench.store.marks import INDUCTIVE

_TITLE = "Zero-shot anomaly detection: means over classes, in percent"
_ABLATION = {
    "image": TRIPLES["image"],
    "pixel": ("pixel_auroc", "pixel_aupro", "pixel_aupro_exact", "pixel_f1max"),
}
_ALL = {"image": TRIPLES["image"], "pixel": (*_ABLATION["pixel"], "pixel_ap")}
Entries = Callable[[Place, Sequence[str]], tuple[Entry, ...]]
"""(dataset or group, metrics) -> the entries of that row."""


def paper(results: Results, aupro: str | None = None) -> Table:
    """Return the layout of Tipsomaly's Table 1: datasets by level and domain, methods side by side."""

    columns = [Column(each.label, setting=each.setting) for each in results.columns]
    sections = level_sections(results, partial(_rivals, results, results.columns), aupro)
    return make_table(results, "paper", _TITLE, ("Domain", "Dataset"), columns, sections)


def _rivals(
    results: Results,
    columns: Sequence[ColumnCells],
    place: Place,
    metrics: Sequence[str],
    class_key: str = "",
) -> tuple[Entry, ...]:
    """Return the entries of columns that are ranked against each other."""
    return ranked(
        [
            tuple(results.value(column.label, place, metric, class_key) for metric in metrics)
            for column in columns
        ]
    )


def level_sections(results: Results, entries: Entries, aupro: str | None) -> Iterator[Section]:
    """Yield a section for each level, with a row for each dataset and each average."""
    headings = dict.fromkeys(group.heading for group in results.groups)
    for heading, level in product(headings, LEVELS):
        metrics, rows = results.known(with_aupro(TRIPLES[level], aupro)), []
        for group in (group for group in results.groups if group.heading == heading):
            members = group.at(level)
            for dataset in members:
                rows.append(Row((group.title, dataset.title), entries(dataset, metrics)))
            if members and group.average:
                row = Row((group.title, group.average), entries(group, metrics), is_average=True)
                rows.append(row)
        if rows:
            yield Section(f"{heading}{LEVELS[level]} {_names(metrics)}", tuple(rows))


def _names(metrics: Sequence[str]) -> str:
    return f"({', '.join(metric_title(metric) for metric in metrics)})"


def per_class(results: Results, aupro: str | None = None) -> Table:
    """Return every class with all metrics, both AUPROs among them; a section for each dataset with cells."""
    run = {(label, dataset) for label, dataset, class_key, _ in results.values if class_key}
    keys = {key for _, key in run}
    datasets = [row for row in results.rows if row.key in keys]
    if not datasets:
        raise BenchError(f"{results.origin} has no numbers of single classes; choose another layout")
    levels = [level for level in LEVELS if any(level in dataset.levels for dataset in datasets)]
    metrics = [metric for level in levels for metric in results.known(with_aupro(_ALL[level], aupro))]
    stubs = ("Class", "Method") if len(results.columns) > 1 else ("Class",)
    sections = []
    for dataset in datasets:
        present = [method for method in results.columns if (method.label, dataset.key) in run]
        for setting, alike in _by_setting(present):
            rows: list[Row] = []
            for class_key in (*dataset.classes, "") if len(dataset.classes) > 1 else dataset.classes:
                rivals = _rivals(results, alike, dataset, metrics, class_key)
                for method, values in zip(alike, rivals, strict=True):
                    names = (class_key or "Mean", method.label)[: len(stubs)]
                    rows.append(Row(names, tuple((value,) for value in values), is_average=not class_key))
            sections.append(Section(f"{dataset.title} ({dataset.group.lower()}{setting})", tuple(rows)))
    title = "Results per class, in percent"
    title += f": {results.columns[0].label}" if len(results.columns) == 1 else ""
    columns = [Column(metric_title(metric), metric.partition("_")[0].capitalize()) for metric in metrics]
    return make_table(results, "per-class", title, stubs, columns, sections)


def _by_setting(methods: Sequence[ColumnCells]) -> Iterator[tuple[str, list[ColumnCells]]]:
    """Yield methods of one setting after the other, with what a heading adds for it."""
    for setting, alike in groupby(methods, key=lambda method: method.setting):
        yield "" if setting == INDUCTIVE else f", {setting}", list(alike)


def methods(results: Results, aupro: str | None = None) -> Table:
    """Return one row for each method or variant, with the averages of the domains; for ablations too."""
    places: list[tuple[Column, Place, Sequence[str]]] = []
    headings = []
    for level in LEVELS:
        metrics = results.known(with_aupro(_ABLATION[level], aupro))
        headings += [f"{LEVELS[level]} {_names(metrics)}"] if metrics else []
        for group in results.groups:
            rows = group.at(level)
            if rows and group.average:
                title = group.title.lower() + ("" if group.is_whole else f" ({len(rows)} datasets)")
                places.append((Column(title, level.capitalize()), group, metrics))
            else:
                places += [(Column(row.title, level.capitalize()), row, metrics) for row in rows]

    def rows_of(alike: Sequence[ColumnCells]) -> Iterator[Row]:
        grid = [_rivals(results, alike, place, metrics) for _, place, metrics in places]
        for method, entries in zip(alike, zip(*grid, strict=True), strict=True):
            yield Row((method.label,), entries)

    sections = [
        Section("; ".join(headings) + setting, tuple(rows_of(alike)))
        for setting, alike in _by_setting(results.columns)
    ]
    columns = [column for column, *_ in places]
    title = "Averages over datasets, in percent"
    return make_table(results, "methods", title, ("Method",), columns, sections)


def make_table(
    results: Results,
    layout: str,
    title: str,
    stubs: tuple[str, ...],
    columns: Sequence[Column],
    sections: Iterator[Section] | Sequence[Section],
    remarks: Sequence[str] = (),
) -> Table:
    """Return the table with the notes on what it shows; `remarks` come last."""
    rows = tuple(sections)
    table = Table(layout, title, stubs, tuple(columns), rows, results.headlines, (), results.footer)
    said = notes(results, {value.metric for value in table.values()})
    return replace(table, notes=(*said, *remarks))


LAYOUTS: Mapping[str, Callable[[Results, str | None], Table]] = {
    "paper": paper,
    "per-class": per_class,
    "methods": methods,
}
