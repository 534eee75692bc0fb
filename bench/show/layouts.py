"""The layouts: which numbers stand where, and which of them are rivals."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from bench.errors import BenchError
from bench.show.model import (
    LEVELS,
    NOT_APPLICABLE,
    TRIPLES,
    Column,
    Entry,
    Row,
    Section,
    Table,
    Value,
    metric_title,
    ranked,
)
from bench.show.results import DatasetRow, Group, Results

_TITLE = "Zero-shot anomaly detection: means over classes, in percent"
_ABLATION = {
    "image": TRIPLES["image"],
    "pixel": ("pixel_auroc", "pixel_aupro", "pixel_aupro_exact", "pixel_f1max"),
}
_ALL = {
    "image": TRIPLES["image"],
    "pixel": ("pixel_auroc", "pixel_aupro", "pixel_aupro_exact", "pixel_f1max", "pixel_ap"),
}
Look = Callable[[str, str], Value]
"""(method label, metric) -> the value in the row at hand."""


def paper(results: Results) -> Table:
    """Return the layout of Tipsomaly's Table 1: datasets by level and domain, methods side by side."""
    labels = [label for label, _ in results.methods]

    def entries(look: Look, metrics: Sequence[str]) -> tuple[Entry, ...]:
        return ranked([tuple(look(label, metric) for metric in metrics) for label in labels])

    columns = tuple(Column(label) for label in labels)
    return _table(
        results, "paper", _TITLE, ("Domain", "Dataset"), columns, tuple(_sections(results, entries))
    )


def _sections(
    results: Results, entries: Callable[[Look, Sequence[str]], tuple[Entry, ...]]
) -> Iterator[Section]:
    """Yield a section for each level, with a row for each dataset and each average."""
    for level in LEVELS:
        metrics, rows = results.known(TRIPLES[level]), []
        for group in results.groups:
            members = group.at(level)
            for dataset in members:
                look = _look_at(results, group, dataset)
                rows.append(Row((group.title, dataset.title), entries(look, metrics)))
            if members and group.average:
                look = _look_average(results, group)
                rows.append(Row((group.title, group.average), entries(look, metrics), is_average=True))
        if rows:
            yield Section(f"{LEVELS[level]} {_names(metrics)}", tuple(rows))


def _look_at(results: Results, group: Group, dataset: DatasetRow, class_key: str = "") -> Look:
    return lambda label, metric: results.of(label, group, dataset, metric, class_key)


def _look_average(results: Results, group: Group) -> Look:
    return lambda label, metric: results.average(label, group, metric)


def _names(metrics: Sequence[str]) -> str:
    return f"({', '.join(metric_title(metric) for metric in metrics)})"


def per_class(results: Results) -> Table:
    """Return every class with all metrics, both AUPROs among them; a section for each dataset with cells."""
    labels = [label for label, _ in results.methods]
    run = {(label, dataset) for label, dataset, class_key, _ in results.values if class_key}
    keys = {dataset for _, dataset in run}
    levels = {
        level for group in results.groups for row in group.datasets if row.key in keys for level in row.levels
    }
    metrics = [metric for level in LEVELS if level in levels for metric in results.known(_ALL[level])]
    columns = tuple(Column(metric_title(metric), _short(metric.partition("_")[0])) for metric in metrics)
    stubs = ("Class", "Method") if len(labels) > 1 else ("Class",)
    sections = []
    for group in results.groups:
        for dataset in group.datasets:
            present = [label for label in labels if (label, dataset.key) in run]
            classes = (*dataset.classes, "") if len(dataset.classes) > 1 else dataset.classes
            rows: list[Row] = []
            for class_key in classes if present else ():
                look = _look_at(results, group, dataset, class_key)
                rivals = ranked([tuple(look(label, metric) for metric in metrics) for label in present])
                for label, values in zip(present, rivals, strict=True):
                    names = (class_key or "Mean", label)[: len(stubs)]
                    rows.append(Row(names, tuple((value,) for value in values), is_average=not class_key))
            if rows:
                sections.append(Section(f"{dataset.title} ({group.title.lower()})", tuple(rows)))
    if not sections:
        raise BenchError(f"{results.origin} has no numbers of single classes; choose another layout")
    title = "Results per class, in percent" + (f": {labels[0]}" if len(labels) == 1 else "")
    return _table(results, "per-class", title, stubs, columns, tuple(sections))


def methods(results: Results) -> Table:
    """Return one row for each method or preset, with the averages of the domains; for ablations too."""
    looks: list[tuple[Column, Look, Sequence[str]]] = []
    for level in LEVELS:
        metrics = results.known(_ABLATION[level])
        for group in results.groups:
            rows = group.at(level)
            if rows and group.average:
                title = group.title.lower() + ("" if group.is_whole else f" ({len(rows)} datasets)")
                looks.append((Column(title, _short(level)), _look_average(results, group), metrics))
            elif rows:
                looks += [
                    (Column(row.title, _short(level)), _look_at(results, group, row), metrics) for row in rows
                ]
    labels = [label for label, _ in results.methods]
    grid = [
        ranked([tuple(look(label, metric) for metric in metrics) for label in labels])
        for _, look, metrics in looks
    ]
    lines = tuple(
        Row((label,), entries) for label, entries in zip(labels, zip(*grid, strict=True), strict=True)
    )
    levels = [level for level in LEVELS if results.known(_ABLATION[level])]
    heading = "; ".join(f"{LEVELS[level]} {_names(results.known(_ABLATION[level]))}" for level in levels)
    heads = tuple(column for column, _, _ in looks)
    return _table(
        results,
        "methods",
        "Averages over datasets, in percent",
        ("Method",),
        heads,
        (Section(heading, lines),),
    )


def _short(level: str) -> str:
    return level.capitalize()


def against(ours: Results, printed: Results) -> Table:
    """Return the paper layout with our number, the paper's and the difference of the two as shown.

    Methods are matched by their titles, so a preset is held against its method's printed numbers.
    """
    theirs = {title.casefold(): label for label, title in printed.methods}
    both = [(label, theirs[title.casefold()]) for label, title in ours.methods if title.casefold() in theirs]
    alone = [label for label, title in ours.methods if title.casefold() not in theirs]
    if not both:
        raise BenchError(
            f"{printed.origin} prints none of {', '.join(alone)}; it has "
            f"{', '.join(title for _, title in printed.methods)}"
        )

    def entries(look: Look, metrics: Sequence[str]) -> tuple[Entry, ...]:
        found = []
        for label, their_label in both:
            mine = tuple(look(label, metric) for metric in metrics)
            other = tuple(_counterpart(ours, printed, their_label, value) for value in mine)
            found += [mine, other, tuple(map(_difference, mine, other))]
        return tuple(found)

    columns = tuple(Column(part, label) for label, _ in both for part in ("ours", "paper", "difference"))
    sections = tuple(_sections(ours, entries))
    title = f"Ours against the paper ({printed.origin}), in percent; differences of the numbers as shown"
    notes = [f"paper: {printed.footer}", *printed.notes]
    if alone:
        notes.append(f"not in {printed.origin}: {', '.join(alone)}")
    table = _table(ours, "against", title, ("Domain", "Dataset"), columns, sections)
    return replace(table, notes=(*table.notes, *notes))


def _counterpart(ours: Results, printed: Results, label: str, value: Value) -> Value:
    """Return the printed number for the place of ours: same dataset, or average over the same datasets."""
    title, name, level = value.subject.domain, value.subject.dataset, value.metric.partition("_")[0]
    for group in printed.groups:
        if group.title != title:
            continue
        for dataset in group.datasets:
            if dataset.title == name:
                return printed.of(label, group, dataset, value.metric)
        (mine,) = (each for each in ours.groups if each.title == title)
        same = {row.key for row in mine.at(level)} == {row.key for row in group.at(level)}
        if name == mine.average and same:
            return printed.average(label, group, value.metric)
    subject = value.subject._replace(origin=printed.origin, method=label)
    return Value(value.metric, subject, gap=NOT_APPLICABLE)


def _difference(mine: Value, other: Value) -> Value:
    subject = mine.subject._replace(origin="difference")
    if mine.shown is None or other.shown is None:
        return Value(mine.metric, subject, gap=NOT_APPLICABLE)
    number = (Fraction(mine.shown) - Fraction(other.shown)) / 100
    return Value(mine.metric, subject, number, marks=mine.marks | other.marks, signed=True)


def _table(
    results: Results,
    layout: str,
    title: str,
    stubs: tuple[str, ...],
    columns: tuple[Column, ...],
    sections: tuple[Section, ...],
) -> Table:
    return Table(layout, title, stubs, columns, sections, results.headlines, results.notes, results.footer)


LAYOUTS: Mapping[str, Callable[[Results], Table]] = {
    "paper": paper,
    "per-class": per_class,
    "methods": methods,
}
