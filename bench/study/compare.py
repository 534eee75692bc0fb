"""Two methods on the same images: differences of the image metrics, with 95% intervals.

A dataset's number is the mean over its classes, the last one the mean over datasets, as in every table.
The intervals (`bench.study.bootstrap`) cover the choice of test images and nothing else: a method with
several training seeds enters with the mean of their metrics, in every resample anew.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.results import marks_of, seed_of
from bench.show.choose import Cell, ColumnCells, choose, fill_columns
from bench.show.cross import refuse_mixed_worlds
from bench.show.footer import footer
from bench.show.means import sort_seeds
from bench.show.model import Column, Row, Section, Subject, Table, Value, metric_title
from bench.show.notes import headlines
from bench.show.summary import ORIGIN
from bench.store.marks import Mark
from bench.study.bootstrap import METRICS, paired_differences
from datasets.catalog import CATALOG
from metrics import image_metrics

Marks = tuple[frozenset[Mark], frozenset[Mark]]
"""The marks of either method's cells."""
_MEAN = "Mean"
_RESAMPLED = "{} resamples of the images within class and label, seed {}"
_BOLD = "bold: the interval leaves out 0; differences are those of the unrounded numbers"


@dataclass(frozen=True)
class _Found:
    """Of a class, a dataset or the mean of several: the methods' metrics (2, 3), and (3, resamples)."""

    points: np.ndarray
    differences: np.ndarray

    @classmethod
    def mean(cls, parts: Sequence["_Found"]) -> "_Found":
        points, differences = zip(*((part.points, part.differences) for part in parts), strict=True)
        return cls(np.mean(points, axis=0), np.mean(differences, axis=0))

    def row(self, place: int, sides: Sequence[ColumnCells], title: str, marks: Marks) -> Row:
        """Return the row of one of the `METRICS`: both methods and their difference."""
        metric, subjects = METRICS[place], [Subject(ORIGIN, side.label, "compare", title) for side in sides]
        first, second = (Fraction(number) for number in self.points[:, place].tolist())
        low, high = np.quantile(self.differences[place], (0.025, 0.975)).tolist()
        between = Subject("difference", f"{sides[0].label} - {sides[1].label}", "compare", title)
        values = (
            Value(metric, subjects[0], first, marks=marks[0]),
            Value(metric, subjects[1], second, marks=marks[1]),
            Value(metric, between, first - second, signed=True, interval=(low, high)),
        )
        return Row((title,), tuple((value,) for value in values), is_average=title == _MEAN)


def compare(
    cells: Iterable[Cell],
    first: str,
    second: str,
    *,
    datasets: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
    latest: bool = False,
    resamples: int = 2000,
    seed: int = 0,
) -> Table:
    """Return the differences `first - second` of image AUROC, AP and F1-max: a section for each.

    Args:
        cells: As read from the store.
        first: `key` or `key:preset`.
        second: Likewise.
        datasets: Their keys; empty: all that both methods have cells of.
        where: As in `bench.show.build`, for both methods.
        latest: Likewise.
        resamples: How many.
        seed: What they are drawn by.

    Raises:
        BenchError: A method has not just one column, or not the cells that are wanted, or was not measured
            on the same images as the other; or nothing is defined at image level.
    """
    if resamples < 1:
        raise BenchError(f"{resamples} resamples: at least 1 is needed")
    cells = list(cells)

    def column(word: str) -> ColumnCells:
        chosen = choose(
            cells, methods=[word], datasets=datasets, where=_fitting(where, cells, word), latest=latest
        )
        return _only(word, fill_columns(chosen))

    sides = column(first), column(second)
    if (sides[0].method, sides[0].label) == (sides[1].method, sides[1].label):
        raise BenchError(f"{first} and {second} are both {sides[0].label}; name two methods or presets")
    keys, notes = _targets(sides, datasets)
    sides = _restricted(sides[0], keys), _restricted(sides[1], keys)
    rows: list[tuple[_Found, str, Marks]] = []
    for key in keys:
        of_classes, left_out = _classes(sides, key, resamples, seed)
        notes += left_out
        if of_classes:
            rows.append((_Found.mean(of_classes), _title(sides, key), _marks(sides, key, len(of_classes))))
    if not rows:
        raise BenchError(f"nothing to compare at image level: {'; '.join(notes)}")
    counted = [(found, marks) for found, _, marks in rows if Mark.SEEN not in marks[0] | marks[1]]
    if len(rows) > 1 and counted:
        parts, marks_of_parts = zip(*counted, strict=True)
        first_marks, second_marks = (
            frozenset[Mark]().union(*each) for each in zip(*marks_of_parts, strict=True)
        )
        rows.append((_Found.mean(parts), _MEAN, (first_marks, second_marks)))
    sections = tuple(
        Section(
            metric_title(metric), tuple(found.row(place, sides, name, marks) for found, name, marks in rows)
        )
        for place, metric in enumerate(METRICS)
    )
    labels = [side.label for side in sides]
    last = Column("Difference, 95% interval", setting=sides[1].setting)
    return Table(
        "compare",
        f"{' against '.join(labels)}: image level, in percent",
        ("Dataset",),
        (*(Column(side.label, setting=side.setting) for side in sides), last),
        sections,
        headlines(sides),
        (_BOLD, *notes, *_notes(sides), _RESAMPLED.format(resamples, seed)),
        footer(sides),
    )


def _fitting(where: Mapping[str, str] | None, cells: Sequence[Cell], word: str) -> dict[str, str]:
    """Return the settings asked for, without those of a training for a method that learns nothing."""
    learns = any(cell["source"] for cell in cells if cell["method"] == word.partition(":")[0])
    return {name: text for name, text in (where or {}).items() if learns or name not in ("source", "seed")}


def _only(word: str, columns: Sequence[ColumnCells]) -> ColumnCells:
    plain = [column for column in columns if column.as_published]
    found = columns if len(columns) == 1 else plain
    if len(found) != 1:
        raise BenchError(
            f"{word} is several columns: {', '.join(column.label for column in columns)}. Choose with "
            "key:preset or --where, such as --where source=mvtec or --where seed=none"
        )
    return found[0]


def _restricted(side: ColumnCells, keys: Sequence[str]) -> ColumnCells:
    return replace(side, cells=tuple(cell for cell in side.cells if cell["dataset"] in keys))


def _targets(sides: Sequence[ColumnCells], wanted: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the datasets to compare on, in the catalog's order, and a note on those left out."""
    order = {key: place for place, key in enumerate(CATALOG)}
    first, second = ({cell["dataset"] for cell in side.cells} for side in sides)
    for key in wanted:
        for side, here in zip(sides, (first, second), strict=True):
            if key not in here:
                raise BenchError(f"{side.label} has no cells on {key}: run it, or leave {key} out")
    both = sorted(first & second, key=lambda key: (order.get(key, len(order)), key))
    if not both:
        raise BenchError(f"{sides[0].label} and {sides[1].label} have no dataset in common: run one of them")
    targets = {cell["dataset"]: cell["target"] for cell in sides[0].cells}
    refuse_mixed_worlds([(key, targets[key]) for key in both])
    alone = sorted(first ^ second)
    return both, [f"not compared, because only one method has cells: {', '.join(alone)}"] if alone else []


def _title(sides: Sequence[ColumnCells], key: str) -> str:
    cell = _on(sides[0], key)[0]
    entry = CATALOG.get(key.removeprefix("standin_"))
    return entry.title if entry else str(cell["dataset_title"])


def _on(side: ColumnCells, key: str) -> list[Cell]:
    return [cell for cell in side.cells if cell["dataset"] == key]


def _marks(sides: Sequence[ColumnCells], key: str, n_classes: int) -> Marks:
    expected = max(cell["n_classes"] for side in sides for cell in _on(side, key))
    lacking = {Mark.PARTIAL} if n_classes < expected else set()

    def of_side(side: ColumnCells) -> frozenset[Mark]:
        return frozenset[Mark](lacking).union(*map(marks_of, _on(side, key)))

    return of_side(sides[0]), of_side(sides[1])


def _classes(
    sides: Sequence[ColumnCells], key: str, resamples: int, seed: int
) -> tuple[list[_Found], list[str]]:
    """Return what was found for each class of a dataset, and notes on those without image level."""
    found: list[_Found] = []
    left_out: dict[str, list[str]] = {}
    for name in dict.fromkeys(cell["class"] for side in sides for cell in _on(side, key)):
        cells = [_replicates(side, key, name) for side in sides]
        _refuse_other_images(f"{key}/{name}", sides, cells)
        reasons = [cell["reasons"]["image_auroc"] for of in cells for cell in of if _undefined(cell)]
        if reasons:
            left_out.setdefault(reasons[0], []).append(name)
            continue
        labels = np.array([row["label"] for row in _images(cells[0][0])])
        scores = [
            np.array([[row["score"] for row in _images(cell)] for cell in of], np.float32) for of in cells
        ]
        points = [np.mean([_metrics(labels, of_seed) for of_seed in of], axis=0) for of in scores]
        drawn = paired_differences(labels, *scores, resamples=resamples, seed=seed, name=f"{key}/{name}")
        found.append(_Found(np.stack(points), drawn))
    title = _title(sides, key)
    return found, [
        f"{title}: {', '.join(names) if found else 'all'} left out, {reason}"
        for reason, names in left_out.items()
    ]


def _replicates(side: ColumnCells, key: str, class_key: str) -> list[Cell]:
    """Return a class's cells of one method, one for each training seed that it has on the dataset."""
    cells = {seed_of(cell): cell for cell in _on(side, key) if cell["class"] == class_key}
    for seed in sort_seeds(map(seed_of, _on(side, key))):
        if seed not in cells:
            who = f"{side.label}, seed {seed}," if seed else side.label
            raise BenchError(f"{who} has no cell of {key}/{class_key}: run it, or leave {key} out")
    return list(cells.values())


def _images(cell: Cell) -> list[Mapping[str, Any]]:
    return sorted(cell["scores"], key=lambda row: str(row["image"]))


def _undefined(cell: Cell) -> bool:
    return any(cell["metrics"][name] is None for name in METRICS)


def _refuse_other_images(where: str, sides: Sequence[ColumnCells], cells: Sequence[Sequence[Cell]]) -> None:
    """Raise `BenchError` unless all cells are about the same images with the same labels."""
    first, *others = [cell for of_side in cells for cell in of_side]
    known = {(row["image"], row["label"]) for row in first["scores"]}
    for other in others:
        differing = known ^ {(row["image"], row["label"]) for row in other["scores"]}
        if differing or other["config"]["data"] != first["config"]["data"]:
            names = sorted({image for image, _ in differing})
            what = f"{len(names)} differ, such as {names[0]}" if names else "same names, other data"
            raise BenchError(
                f"{where}: {sides[0].label} and {sides[1].label} were not measured on the same images "
                f"({what}); run the older one again"
            )


def _metrics(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    values = image_metrics(labels, scores).values
    return np.array([values[name] for name in METRICS], dtype=np.float64)


def _notes(sides: Sequence[ColumnCells]) -> list[str]:
    notes = []
    if sides[0].setting != sides[1].setting:
        kinds = " and ".join(f"{side.label} is {side.setting}" for side in sides)
        notes.append(f"{kinds}: they do not see the same of the test set, so the difference is no contest")
    for side in sides:
        seeds = sort_seeds(seed for cell in side.cells if (seed := seed_of(cell)))
        if len(seeds) > 1:
            notes.append(
                f"{side.label}: mean over {len(seeds)} training seeds ({', '.join(seeds)}); the intervals "
                "cover the choice of images, not that of seeds"
            )
    return notes
