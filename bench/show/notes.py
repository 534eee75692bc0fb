"""What is said above and below a table: warnings, seeds, and what is missing, undefined or doubtful."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from bench.grouped import grouped
from bench.results import marks_of, relations, seed_of
from bench.show.means import ColumnCells, DatasetRow, Results, sort_seeds
from bench.show.model import metric_title
from bench.store.cells import Cell
from bench.store.marks import Mark

Remark = tuple[str, str, str]
"""(column, dataset, what is said of it)."""


def headlines(columns: Sequence[ColumnCells], without: str | None = None) -> tuple[str, ...]:
    """Return the warnings that belong above numbers of these columns, but for what `without` says already."""

    def labels(mark: Mark) -> list[str]:
        return [each.label for each in columns if any(mark in cell["marks"] for cell in each.cells)]

    lines = []
    if untrained := labels(Mark.UNTRAINED):
        lines.append(f"untrained: chance. Untrained weights in {', '.join(untrained)}: not ranked.")
    if labels(Mark.STANDIN):
        lines.append("demo: generated data, small models; not the paper's numbers.")
    return tuple(line for line in lines if line.rstrip(".") != (without or "").rstrip("."))


def notes(results: Results, metrics: Collection[str]) -> tuple[str, ...]:
    """Return what is to be said of the results where a table shows these metrics."""
    columns = results.columns
    of_datasets: list[Remark] = []
    few: dict[str, list[str]] = {}
    for column in columns:
        for dataset in results.rows:
            if cells := column.on(dataset.key):
                of_datasets += _of_dataset(column, dataset, cells, metrics)
                few.setdefault(column.label, []).extend(_few(dataset, cells, metrics))
    resting = "; ".join(f"{label} on {', '.join(where)}" for label, where in few.items() if where)
    return (
        *results.remarks,
        *(text for (_, _, metric), text in results.misprints.items() if metric in metrics),
        *_titles(columns),
        *seeds(columns),
        *_joined(of_datasets, len(columns)),
        *([f"AUPRO rests on few thresholds, in so many classes: {resting}"] if resting else []),
    )


def _joined(remarks: Sequence[Remark], n_columns: int) -> list[str]:
    """Return remarks as sentences; what is said of several datasets or columns is said once."""
    of_column = [
        (label, ", ".join(title for _, title, _ in alike), remark)
        for (label, remark), alike in grouped(remarks, lambda each: (each[0], each[2])).items()
    ]
    return [
        f"{'all methods' if len(alike) == n_columns > 1 else ', '.join(label for label, *_ in alike)} "
        f"on {titles}{remark}"
        for (titles, remark), alike in grouped(of_column, lambda each: each[1:]).items()
    ]


def _titles(columns: Sequence[ColumnCells]) -> Iterator[str]:
    for title, alike in grouped(columns, lambda column: column.title).items():
        methods = list(dict.fromkeys(column.method for column in alike))
        if len(methods) > 1:
            yield f"the methods {' and '.join(methods)} have one title, {title}: told apart by their keys"


def seeds(columns: Sequence[ColumnCells]) -> list[str]:
    """Say over which seeds numbers are averaged; columns with the same ones share a statement."""
    shared: dict[tuple[str, ...], list[str]] = {}
    for column in columns:
        of_column = sort_seeds(seed for cell in column.cells if (seed := seed_of(cell)))
        untrained = any(Mark.UNTRAINED in cell["marks"] for cell in column.cells)
        if len(of_column) > 1 or (of_column and not untrained):
            shared.setdefault(tuple(of_column), []).append(column.label)
    return [
        f"{', '.join(labels)}: "
        + (
            f"mean ± sample standard deviation over {len(each)} training seeds ({', '.join(each)})"
            if len(each) > 1
            else f"trained here, with one seed ({each[0]})"
        )
        for each, labels in shared.items()
    ]


def _of_dataset(
    column: ColumnCells, dataset: DatasetRow, cells: Sequence[Cell], metrics: Collection[str]
) -> Iterator[Remark]:
    """Yield what is to be said of a column on a dataset; what all seeds share is said once."""
    of_dataset = sort_seeds(map(seed_of, cells))
    everywhere = sort_seeds(seed for cell in column.cells if (seed := seed_of(cell)))
    if of_dataset != [""] and len(of_dataset) < len(everywhere):
        yield column.label, dataset.title, f": only seeds {', '.join(of_dataset)}"
    said: dict[str, list[str]] = {}
    for seed in of_dataset:
        for text in _of_seed(dataset, [cell for cell in cells if seed_of(cell) == seed], metrics):
            said.setdefault(text, []).append(seed)
    for text, of_seeds in said.items():
        of = "" if of_seeds == of_dataset else f", seed {', '.join(of_seeds)}"
        yield column.label, dataset.title, f"{of}: {text}"


def _of_seed(dataset: DatasetRow, cells: Sequence[Cell], metrics: Collection[str]) -> Iterator[str]:
    expected = max(cell["n_classes"] for cell in cells)
    if len(cells) < expected:
        yield f"{len(cells)} of {expected} classes run"
    counts = [sum(cell["counts"][kind] for cell in cells) for kind in ("normal", "anomalous")]
    if any(Mark.PARTIAL in cell["marks"] for cell in cells):
        yield f"not all images, only {counts[0]} normal and {counts[1]} anomalous ones"
    if overlapping := [cell for cell in cells if Mark.OVERLAP in cell["marks"]]:
        count = sum(cell["details"]["overlap_images"] for cell in overlapping)
        yield f"{count} of the {sum(counts)} test images were among the training images"
    yield from dict.fromkeys(f"trained on {why}" for cell in cells for why in relations(cell))
    for level in dataset.levels:
        of_level = [metric for metric in cells[0]["metrics"] if metric.startswith(f"{level}_")]
        by_reasons: dict[tuple[tuple[str, int], ...], list[str]] = {}
        for metric in of_level:
            why = Counter(
                str(cell["reasons"].get(metric, "no reason given"))
                for cell in cells
                if cell["metrics"][metric] is None
            )
            by_reasons.setdefault(tuple(why.items()), []).append(metric)
        for reasons, undefined in by_reasons.items():
            shown = [metric_title(metric) for metric in undefined if metric in metrics]
            if reasons and shown:
                name = f"{level} level" if undefined == of_level else f"{level} {', '.join(shown)}"
                yield f"{name} {_undefined(dict(reasons), expected, len(cells))}"


def _undefined(reasons: dict[str, int], expected: int, n_cells: int) -> str:
    missing = sum(reasons.values())
    if missing == expected and len(reasons) == 1:
        return f"is undefined{' in every class' if expected > 1 else ''} ({next(iter(reasons))})"
    why = "; ".join(f"{reason} in {count}" for reason, count in reasons.items())
    return f"is defined in {n_cells - missing}/{expected} classes ({why})"


def _few(dataset: DatasetRow, cells: Sequence[Cell], metrics: Collection[str]) -> Iterator[str]:
    """Yield the dataset's name with the number of classes whose AUPRO rests on few thresholds."""
    measured = {cell["class"] for cell in cells if cell["metrics"].get("pixel_aupro") is not None}
    few = {cell["class"] for cell in cells if Mark.FEW_THRESHOLDS in marks_of(cell, "pixel_aupro")} & measured
    if few and "pixel_aupro" in metrics:
        yield dataset.title + (f" ({len(few)}/{len(measured)})" if len(measured) > 1 else "")
