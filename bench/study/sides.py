"""The sides of a comparison: one column of cells a method, on the datasets and images that all have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.results import seed_of
from bench.show import select
from bench.show.cross import refuse_mixed_worlds
from bench.show.footer import footer
from bench.show.means import ColumnCells, DatasetRow, sort_seeds
from bench.show.model import Column, Section, Table
from bench.show.notes import headlines
from bench.store.cells import Cell
from datasets.catalog import CATALOG, place_of

_STANDIN = "standin_"


@dataclass(frozen=True)
class Sides:
    """The methods that are compared and what they are compared on."""

    columns: tuple[ColumnCells, ...]
    targets: tuple[DatasetRow, ...]
    """Datasets that all sides have: the groups `industrial`, `medical`, then empty; each in the catalog's
    order."""
    notes: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The methods' labels, in order."""
        return tuple(column.label for column in self.columns)

    def table(
        self,
        layout: str,
        title: str,
        stubs: tuple[str, ...],
        columns: Sequence[Column],
        sections: Sequence[Section],
        notes: Sequence[str],
    ) -> Table:
        """Return a table of a study of these methods, with what is said above and below all of them."""
        said = headlines(self.columns), tuple(notes), footer(self.columns)
        return Table(layout, title, stubs, tuple(columns), tuple(sections), *said)

    def classes(self, key: str) -> list[str]:
        """Return the classes of a dataset that some side has a cell of."""
        return list(dict.fromkeys(cell["class"] for column in self.columns for cell in column.on(key)))

    def cells(self, key: str, class_key: str) -> list[list[Cell]]:
        """Return a class's cells of every side, one for each training seed that it has on the dataset.

        Raises `BenchError` where one is missing, or where they are not about the same images.
        """
        found = [_replicates(column, key, class_key) for column in self.columns]
        for column, cells in zip(self.columns, found, strict=True):
            _refuse_other_images(f"{key}/{class_key}", (self.columns[0], column), (found[0][0], *cells))
        return found


def with_control(methods: Sequence[str], against: str | None) -> tuple[list[str], int | None]:
    """Return the methods to compare, the control among them, and its place; None without one."""
    words = [*methods, *([against] if against and against not in methods else [])]
    return words, words.index(against) if against else None


def open_sides(
    cells: Sequence[Cell],
    words: Sequence[str],
    *,
    datasets: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
    latest: bool = False,
) -> Sides:
    """Return the columns that `words` name, on `datasets` or on all that every one of them has cells of.

    `where` and `latest` are as in `bench.show.select`, for all methods.

    Raises `BenchError` if a method has not just one column, is named twice or lacks a wanted dataset, and
    if generated datasets stand beside real ones.
    """

    def column(word: str) -> ColumnCells:
        fitting = _fitting(where, cells, word)
        chosen = select(cells, methods=[word], datasets=datasets, where=fitting, latest=latest)
        return _only(word, chosen.columns)

    columns = [column(word) for word in words]
    for place, one in enumerate(columns):
        for earlier, other in enumerate(columns[:place]):
            if (one.method, one.label) == (other.method, other.label):
                raise BenchError(
                    f"{words[earlier]} and {words[place]} are both {one.label}; name other methods or presets"
                )
    targets, notes = _targets(columns, datasets)
    keys = {target.key for target in targets}
    restricted = (
        replace(column, cells=tuple(cell for cell in column.cells if cell["dataset"] in keys))
        for column in columns
    )
    return Sides(tuple(restricted), tuple(targets), tuple(notes))


def images(cell: Cell) -> list[Mapping[str, Any]]:
    """Return the rows of a cell's images by name, whatever order they were scored in."""
    return sorted(cell["scores"], key=lambda row: str(row["image"]))


def labels(cell: Cell) -> np.ndarray:
    """Return the labels of a cell's images (n,), 0 or 1, in the order of `images`."""
    return np.array([row["label"] for row in images(cell)])


def scores(cells: Sequence[Cell]) -> np.ndarray:
    """Return the image scores of a class (training seeds, n) float32, in the order of `images`."""
    return np.array([[row["score"] for row in images(cell)] for cell in cells], np.float32)


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


def _targets(columns: Sequence[ColumnCells], wanted: Sequence[str]) -> tuple[list[DatasetRow], list[str]]:
    """Return the datasets to compare on, and a note on those left out."""
    here = [{str(cell["dataset"]) for cell in column.cells} for column in columns]
    for key in wanted:
        for column, keys in zip(columns, here, strict=True):
            if key not in keys:
                raise BenchError(f"{column.label} has no cells on {key}: run it, or leave {key} out")
    shared = set.intersection(*here)
    if not shared:
        names = " and ".join(column.label for column in columns)
        raise BenchError(f"{names} have no dataset in common: run one of them")
    found = {str(cell["dataset"]): cell for cell in columns[0].cells if cell["dataset"] in shared}
    refuse_mixed_worlds([(key, str(cell["target"])) for key, cell in found.items()])
    targets = [
        DatasetRow(key, cell["target"], _title(cell), tuple(cell["levels"]), cell["domain"] or "")
        for key, cell in found.items()
    ]
    domains = {"industrial": 0, "medical": 1}
    targets.sort(key=lambda row: (domains.get(row.group, len(domains)), place_of(row.target), row.key))
    alone = sorted(set.union(*here) - shared)
    who = "only one method has cells" if len(columns) == 2 else "not all methods have cells"
    return targets, [f"not compared, because {who}: {', '.join(alone)}"] if alone else []


def _title(cell: Cell) -> str:
    entry = CATALOG.get(str(cell["dataset"]).removeprefix(_STANDIN))
    return entry.title if entry else str(cell["dataset_title"])


def _replicates(column: ColumnCells, key: str, class_key: str) -> list[Cell]:
    cells = {seed_of(cell): cell for cell in column.on(key) if cell["class"] == class_key}
    for seed in sort_seeds(map(seed_of, column.on(key))):
        if seed not in cells:
            who = f"{column.label}, seed {seed}," if seed else column.label
            raise BenchError(f"{who} has no cell of {key}/{class_key}: run it, or leave {key} out")
    return list(cells.values())


def _refuse_other_images(where: str, sides: Sequence[ColumnCells], cells: Sequence[Cell]) -> None:
    """Raise `BenchError` unless all cells are about the same images with the same labels."""
    first, *others = cells
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
