"""From cells to the means of datasets, seed by seed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from bench.results import marks_of, seed_of, trace
from bench.show.footer import footer
from bench.show.means import ColumnCells, DatasetRow, Group, Results, ValueKey, mean, sort_seeds
from bench.show.model import LEVELS, UNDEFINED, Subject, Value
from bench.show.notes import headlines
from bench.store.cells import Cell
from bench.store.marks import Mark
from datasets.catalog import CATALOG, GROUPS, place_of

ORIGIN = "zsad-bench"
_STANDIN = "standin_"
_OTHER = "Other"
_BEYOND = "Beyond the paper's table: "


def summarise(
    columns: Sequence[ColumnCells],
    *,
    datasets: Sequence[str] = (),
    headline: str | None = None,
    remarks: Sequence[str] = (),
) -> Results:
    """Return class values and their means for the cells of all columns.

    Args:
        columns: The columns.
        datasets: Keys of the rows wanted; empty: the whole catalog and what else has cells.
        headline: The caller's sentence above the table.
        remarks: The caller's sentences below it.
    """
    groups = _groups([cell for column in columns for cell in column.cells], datasets)
    values: dict[ValueKey, Value] = {}
    for column in columns:
        for row in (row for group in groups for row in group.datasets):
            if alike := column.on(row.key):
                values |= _values(column, row, alike)
    return Results(
        ORIGIN,
        tuple(columns),
        groups,
        values,
        footer(columns),
        ((headline,) if headline else ()) + headlines(columns, without=headline),
        tuple(remarks),
    )


def _values(column: ColumnCells, dataset: DatasetRow, cells: Sequence[Cell]) -> dict[ValueKey, Value]:
    """Return the values of a dataset's classes and their means for one column."""
    values: dict[ValueKey, Value] = {}
    expected = max(cell["n_classes"] for cell in cells)
    mean_of = Subject(ORIGIN, column.label, dataset.group, dataset.title, source=column.source)
    for metric in cells[0]["metrics"]:
        if metric.partition("_")[0] not in dataset.levels:
            continue
        of_classes = []
        for class_key in dict.fromkeys(cell["class"] for cell in cells):
            alike = [cell for cell in cells if cell["class"] == class_key]
            value = _of_class(alike, metric, mean_of._replace(class_key=class_key))
            if len(alike) < len({seed_of(cell) for cell in cells}):
                value = replace(value, marks=value.marks | {Mark.PARTIAL})
            of_classes.append(value)
            values[column.label, dataset.key, class_key, metric] = value
        values[column.label, dataset.key, "", metric] = mean(of_classes, expected, metric, mean_of)
    return values


def _of_class(cells: Sequence[Cell], metric: str, subject: Subject) -> Value:
    """Return the value of one class, whose cells are its seeds."""
    defined = [cell for cell in cells if cell["metrics"].get(metric) is not None]
    if not defined:
        return Value(metric, subject, gap=UNDEFINED, traces=frozenset(map(trace, cells)))
    numbers = {seed_of(cell): Fraction(cell["metrics"][metric]) for cell in defined}
    marks = frozenset[Mark]().union(*(marks_of(cell, metric) for cell in defined))
    if len(defined) < len(cells):
        marks |= {Mark.PARTIAL}
    by_seed = tuple((seed, numbers[seed]) for seed in sort_seeds(numbers) if seed)
    number = sum(numbers.values()) / Fraction(len(numbers))
    return Value(metric, subject, number, marks=marks, by_seed=by_seed, traces=frozenset(map(trace, defined)))


def _groups(cells: Sequence[Cell], wanted: Sequence[str]) -> tuple[Group, ...]:
    """Return the paper's datasets by domain, the catalog's others, stand-ins of both, then own folders."""
    found = {cell["dataset"]: cell for cell in cells}
    groups, used = [], set[str]()
    for prefix, kind in (("", ""), (_STANDIN, ", stand-in")):
        of_paper = {prefix + key: key for key in GROUPS["all"]}
        others = {key: target for key, target in _beyond(prefix, found, wanted) if key not in of_paper}
        used |= {*of_paper, *others}
        if not any(key in found or key in wanted for key in of_paper):
            of_paper = {}
        for keys, heading in ((of_paper, ""), (others, _BEYOND)):
            for domain in ("industrial", "medical"):
                of_domain = [key for key, target in keys.items() if CATALOG[target].domain == domain]
                shown = [key for key in of_domain if key in wanted or not wanted]
                title = domain.capitalize() + kind
                rows = tuple(_row(key, keys[key], title, cells) for key in shown)
                whole = len(rows) == len(of_domain)
                average = None if heading else "Average" if whole else "Average of these"
                if rows:
                    groups.append(Group(title, rows, average, whole, heading))
    own = [key for key in wanted or sorted(found) if key in found and key not in used]
    rows = tuple(_row(key, str(found[key]["target"]), _OTHER, cells) for key in own)
    return (*groups, Group(_OTHER, rows, None)) if rows else tuple(groups)


def _beyond(prefix: str, found: Mapping[str, Cell], wanted: Sequence[str]) -> list[tuple[str, str]]:
    """Return (key, target) of the catalog's datasets that are asked for or, if none is, have cells."""
    targets = {prefix + key: key for key in CATALOG}
    alike = {key: cell for key, cell in found.items() if key.startswith(_STANDIN) == bool(prefix)}
    targets |= {key: cell["target"] for key, cell in alike.items() if cell["target"] in CATALOG}
    keys = sorted(set(targets) & {*(wanted or found)}, key=lambda key: (place_of(targets[key]), key))
    return [(key, targets[key]) for key in keys]


def _row(key: str, target: str, group: str, cells: Sequence[Cell]) -> DatasetRow:
    alike = [cell for cell in cells if cell["dataset"] == key]
    classes = tuple(dict.fromkeys(cell["class"] for cell in alike))
    entry = CATALOG.get(target)
    if entry is None:
        title = alike[0]["dataset_title"]
        namesakes = {cell["dataset"] for cell in cells if cell["dataset_title"] == title}
        # What a folder lacks for a level is said in its row, which therefore stands at every level.
        return DatasetRow(key, target, title if len(namesakes) == 1 else key, tuple(LEVELS), group, classes)
    if key.removeprefix(_STANDIN) != target:  # a part of the dataset, as its protocol has it
        return DatasetRow(key, target, alike[0]["dataset_title"], tuple(alike[0]["levels"]), group, classes)
    known = tuple(each.key for each in entry.classes)
    whole = all(cell["n_classes"] == len(known) for cell in alike) and set(classes) <= set(known)
    return DatasetRow(key, target, entry.title, entry.levels, group, known if whole else classes)
