"""From cells to means, seed by seed, and to the notes that belong to them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

from bench.show.choose import Cell, Filling, marks_of, seed_of
from bench.show.model import UNDEFINED, Subject, Value, metric_title
from bench.show.results import DatasetRow, Group, Place, Results, mean, sort_seeds
from bench.store.marks import Mark
from datasets.catalog import CATALOG

ORIGIN = "zsad-bench"
STANDIN = "standin_"
_DOMAINS = ("industrial", "medical")
_OTHER = "Other"


def summarise(
    fillings: Sequence[Filling],
    *,
    datasets: Sequence[str] = (),
    headline: str | None = None,
    footer: str = "",
) -> Results:
    """Return class values and their means for the cells of all columns.

    Args:
        fillings: The columns.
        datasets: Keys of the rows wanted; empty: the whole catalogue and what else has cells.
        headline: The caller's sentence above the table.
        footer: Line for the end of the table.
    """
    cells = [cell for filling in fillings for cell in filling.cells]
    groups = _groups(cells, datasets)
    values: dict[Place, Value] = {}
    notes: list[tuple[str, str, str]] = []
    for filling in fillings:
        for group in groups:
            for dataset in group.datasets:
                alike = [cell for cell in filling.cells if cell["dataset"] == dataset.key]
                if alike:
                    values |= _values(filling, group, dataset, alike)
                    notes += _notes(filling, dataset, alike)
    return Results(
        ORIGIN,
        tuple((filling.label, filling.title) for filling in fillings),
        groups,
        values,
        ((headline,) if headline else ()) + headlines(fillings, without=headline),
        (*_seeds(fillings), *_joined(notes)),
        footer,
    )


def _values(filling: Filling, group: Group, dataset: DatasetRow, cells: Sequence[Cell]) -> dict[Place, Value]:
    """Return the values of a dataset's classes and their means for one column."""
    values: dict[Place, Value] = {}
    expected = max(cell["n_classes"] for cell in cells)
    mean_of = Subject(ORIGIN, filling.label, group.title, dataset.title, source=filling.source)
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
            values[filling.label, dataset.key, class_key, metric] = value
        values[filling.label, dataset.key, "", metric] = mean(of_classes, expected, metric, mean_of)
    return values


def _of_class(cells: Sequence[Cell], metric: str, subject: Subject) -> Value:
    """Return the value of one class, whose cells are its seeds."""
    defined = [cell for cell in cells if cell["metrics"][metric] is not None]
    if not defined:
        return Value(metric, subject, gap=UNDEFINED)
    numbers = {seed_of(cell): Fraction(cell["metrics"][metric]) for cell in defined}
    marks = frozenset[Mark]().union(*(_marks(cell, metric) for cell in defined))
    if len(defined) < len(cells):
        marks |= {Mark.PARTIAL}
    by_seed = tuple((seed, numbers[seed]) for seed in sort_seeds(numbers) if seed)
    return Value(
        metric, subject, sum(numbers.values()) / Fraction(len(numbers)), marks=marks, by_seed=by_seed
    )


def _marks(cell: Cell, metric: str) -> frozenset[Mark]:
    few = metric == "pixel_aupro" and cell["details"].get("pixel_aupro_few_thresholds")
    return marks_of(cell) | ({Mark.FEW_THRESHOLDS} if few else set())


def _joined(notes: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return (column, dataset, remark) as sentences; what is said of several datasets is said once."""
    places: dict[tuple[str, str], list[str]] = {}
    for label, title, remark in notes:
        places.setdefault((label, remark), []).append(title)
    return [f"{label} on {', '.join(titles)}{remark}" for (label, remark), titles in places.items()]


def _notes(filling: Filling, dataset: DatasetRow, cells: Sequence[Cell]) -> list[tuple[str, str, str]]:
    """Return what is to be said of a column on a dataset; what all seeds share is said once."""
    seeds = sort_seeds(map(seed_of, cells))
    everywhere = sort_seeds(seed for cell in filling.cells if (seed := seed_of(cell)))
    said: dict[str, list[str]] = {}
    for seed in seeds:
        for remark in _remarks(dataset, [cell for cell in cells if seed_of(cell) == seed]):
            said.setdefault(remark, []).append(seed)
    notes = []
    if seeds != [""] and len(seeds) < len(everywhere):
        notes.append((filling.label, dataset.title, f": only seeds {', '.join(seeds)}"))
    for remark, of_seeds in said.items():
        of = "" if of_seeds == seeds else f", seed {', '.join(of_seeds)}"
        notes.append((filling.label, dataset.title, f"{of}: {remark}"))
    return notes


def _remarks(dataset: DatasetRow, cells: Sequence[Cell]) -> Iterator[str]:
    expected = max(cell["n_classes"] for cell in cells)
    if len(cells) < expected:
        yield f"{len(cells)} of {expected} classes run"
    counts = [sum(cell["counts"][kind] for cell in cells) for kind in ("normal", "anomalous")]
    if any(Mark.PARTIAL in cell["marks"] for cell in cells):
        yield f"not all images, only {counts[0]} normal and {counts[1]} anomalous ones"
    if overlapping := [cell for cell in cells if Mark.OVERLAP in cell["marks"]]:
        count = sum(cell["details"]["overlap_images"] for cell in overlapping)
        yield f"{count} of the {sum(counts)} test images were among the training images"
    for metric in cells[0]["metrics"]:
        level = metric.partition("_")[0]
        reasons = Counter(
            cell["reasons"].get(metric, "no reason given")
            for cell in cells
            if cell["metrics"][metric] is None
        )
        if reasons and level in dataset.levels:
            why = "; ".join(f"{reason} in {count}" for reason, count in reasons.items())
            defined = f"{len(cells) - reasons.total()}/{expected}"
            if reasons.total() == expected and len(reasons) == 1:
                yield f"{level} {metric_title(metric)} is undefined in every class ({next(iter(reasons))})"
            else:
                yield f"{level} {metric_title(metric)} is defined in {defined} classes ({why})"
    measured = [cell for cell in cells if cell["metrics"].get("pixel_aupro") is not None]
    if few := sum(Mark.FEW_THRESHOLDS in _marks(cell, "pixel_aupro") for cell in measured):
        share = "every class" if few == len(cells) > 1 else f"{few} of {len(cells)} classes"
        yield f"AUPRO rests on few thresholds in {share}"


def _seeds(fillings: Sequence[Filling]) -> list[str]:
    """Say over which seeds numbers are averaged; columns with the same ones share a statement."""
    columns: dict[tuple[str, ...], list[str]] = {}
    for filling in fillings:
        seeds = sort_seeds(seed for cell in filling.cells if (seed := seed_of(cell)))
        untrained = any(Mark.UNTRAINED in cell["marks"] for cell in filling.cells)
        if len(seeds) > 1 or (seeds and not untrained):
            columns.setdefault(tuple(seeds), []).append(filling.label)
    return [
        f"{', '.join(labels)}: "
        + (
            f"mean ± sample standard deviation over {len(seeds)} training seeds ({', '.join(seeds)})"
            if len(seeds) > 1
            else f"trained here, with one seed ({seeds[0]})"
        )
        for seeds, labels in columns.items()
    ]


def headlines(fillings: Sequence[Filling], without: str | None = None) -> tuple[str, ...]:
    """Return the warnings that belong above numbers of these columns, but for what `without` says already."""

    def labels(mark: str) -> list[str]:
        return [each.label for each in fillings if any(mark in cell["marks"] for cell in each.cells)]

    lines = []
    if untrained := labels(Mark.UNTRAINED):
        lines.append(f"untrained: chance. Untrained weights in {', '.join(untrained)}: not ranked.")
    if labels("stand-in"):
        lines.append("demo: generated data, small models; not the paper's numbers.")
    return tuple(line for line in lines if line.rstrip(".") != (without or "").rstrip("."))


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
