"""Columns of a table as runs of an experiment tracker: settings, numbers and where they come from."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.results import numbers_of, plain_source, trace
from bench.show import select
from bench.show.choose import settings
from bench.show.means import ColumnCells, Results
from bench.show.model import Value
from bench.show.render_data import origin
from bench.store.cells import Cell

_PER_CLASS = ("data", "prompt")
"""Settings with another value for each class."""
_REFUSED = re.compile(r"[^\w\-. ]")
"""What a tracker may not take in a name."""


@dataclass(frozen=True)
class Run:
    """A method's column as a run of a tracker."""

    name: str
    """The column's label."""
    group: str
    """The method's title."""
    config: Mapping[str, Any]
    """Settings, flat; `{dataset: value}` where one differs between datasets."""
    metrics: Mapping[str, float]
    """Fractions of one: `mvtec/image_auroc` (mean over classes), `mvtec/bottle/image_auroc`,
    `average/industrial/image_auroc`."""
    tags: Mapping[str, str]
    """The origin of the numbers, their `setting`, and `marks/mvtec` and the like where some have marks."""
    rows: Sequence[Mapping[str, Any]]
    """Its part of `bench.results.frame`."""
    started: str
    """When the first cell was begun, ISO 8601."""

    @property
    def column(self) -> str:
        """Sixteen hexadecimal digits over the name: the column whatever its numbers."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:16]

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits over what is exported: unchanged results are the same run again."""
        content = [self.name, self.config, self.metrics, self.tags]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def runs(cells: Iterable[Cell], **wanted: Any) -> list[Run]:
    """Return a run for each column; `wanted` chooses cells as in `bench.show.select`.

    Raises:
        BenchError: Nothing is there, or cells of one column were measured differently.
    """
    chosen = select(cells, **wanted)
    return [_run(column, chosen.results) for column in chosen.columns]


def _run(column: ColumnCells, results: Results) -> Run:
    values = [(place, value) for place, value in _values(column, results) if value.number is not None]
    marks: dict[str, set[str]] = {}
    for place, value in values:
        marks.setdefault(place, set()).update(value.marks)
    return Run(
        column.label,
        column.title,
        _config(column.cells),
        {f"{place}/{value.metric}": float(value.number or 0) for place, value in values},
        {
            **origin(map(trace, column.cells)),
            "setting": column.setting,
            **{f"marks/{place}": " ".join(sorted(words)) for place, words in marks.items() if words},
        },
        [row for cell in column.cells for row in numbers_of(cell)],
        min(str(cell["provenance"].get("started", "")) for cell in column.cells),
    )


def _values(column: ColumnCells, results: Results) -> Iterator[tuple[str, Value]]:
    """Yield (place, value) of datasets, classes and averages."""
    for (label, *parts, _), value in results.values.items():
        if label == column.label:
            yield "/".join(_REFUSED.sub(_code, part) for part in parts if part), value
    for group in results.groups:
        for metric in column.cells[0]["metrics"] if group.average else ():
            place = f"average/{_REFUSED.sub('', group.title.lower())}"
            yield place, results.value(column.label, group, metric)


def _code(letter: re.Match[str]) -> str:
    return f":{ord(letter[0]):x}:"  # no other name becomes the same


def _config(cells: Sequence[Cell]) -> dict[str, Any]:
    """Return the settings of the cells, those that differ by dataset."""
    by_dataset: dict[str, dict[str, Any]] = {}
    for cell in cells:
        flat = {"method": cell["method"], "variant": cell["preset"], "trained_on": plain_source(cell)}
        for name, value in (flat | settings(cell)).items():
            if name not in _PER_CLASS:
                by_dataset.setdefault(name, {})[cell["dataset"]] = value
    return {
        name: values if len({repr(value) for value in values.values()}) > 1 else next(iter(values.values()))
        for name, values in by_dataset.items()
    }
