"""Which cells fill which column: choosing, and never mixing what was measured differently."""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

from bench.errors import BenchError, printable, unknown
from bench.grouped import grouped
from bench.results import plain_source, seed_of
from bench.show.means import ColumnCells
from bench.show.published import method_order
from bench.store.cells import Cell
from bench.store.marks import BASELINES, SETTINGS

_PER_CLASS = {"data", "prompt"}
"""Settings with another value for each class."""
_PER_DATASET = ("weights.", "names", "dataset_protocol")
"""Settings that may rightly differ between the datasets of one column."""
_UNIFORM = ("precision", "protocol.", "method_version")
"""Settings that are the same all down a column."""
_VERSIONS = {"method_version", "protocol.metrics_version"}
_title, _dataset = itemgetter("title"), itemgetter("dataset")
_kind = itemgetter("method", "preset", "setting")
_LEARNED = "weights.learned"
"""The one setting in which the seeds of a training differ."""


def settings(cell: Cell) -> dict[str, Any]:
    """Return what a cell was measured with, flat: `precision`, `options.sigma`, `protocol.limit`..."""
    flat: dict[str, Any] = {name: cell.get(name) for name in ("names", "dataset_protocol")}
    for name, value in cell["config"].items():
        flat |= {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, Mapping) else {}
        if not isinstance(value, Mapping):
            flat[name] = value
    flat.pop("precision_of", None)  # says what the word means; where it is not there, the preset tells
    return flat


def choose(
    cells: Iterable[Cell],
    *,
    methods: Sequence[str] = (),
    datasets: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
    latest: bool = False,
) -> list[Cell]:
    """Return the wanted cells, each once, in the order of `methods` if given, else as the paper has it.

    Cells of classes that are gone from their dataset are left out.

    Args:
        cells: As read from the store.
        methods: `key` or title (with all variants), `key:variant` or a column's label; empty: all.
        datasets: Dataset keys; empty: all.
        where: Values that `settings`, `preset`, `setting`, `source` or `seed` must have, written as text;
            `sigma` will do for `options.sigma`, and `seed=none` is published weights. What may differ
            between datasets (`weights.*`, `names`, `dataset_protocol`; a digest may be cut short) decides
            only on the datasets that have it.
        latest: Of cells that differ only in data, prompt, weights or versions, take the newest.

    Raises:
        BenchError: Nothing is left.
    """
    known = {cell["key"]: cell for cell in cells if not cell.get("gone")}
    unique: list[Cell] = [  # but for scores: most of a cell, not shown, and looked up by their images' names
        {name: value if name == "scores" else printable(value) for name, value in cell.items()}
        for cell in known.values()
    ]
    wanted = [
        cell
        for cell in unique
        if (not methods or _place(cell, methods) < len(methods))
        and (not datasets or cell["dataset"] in datasets)
    ]
    for name, text in (where or {}).items():
        wanted = _where(wanted, name, text)
    if not wanted:
        asked = [*methods, *datasets, *(f"{name}={text}" for name, text in (where or {}).items())]
        raise BenchError(
            f"none of {len(unique)} cells matches {' '.join(asked)}; see `run_bench.py list`"
            if unique
            else "no cells yet: make some with `run_bench.py run`, or name their folder with --results"
        )
    if latest:
        wanted = _newest(wanted)
    order = {title.casefold(): place for place, title in enumerate(method_order())}

    def place(cell: Cell) -> tuple[object, ...]:
        method, by_paper = cell["method"], order.get(cell["title"].casefold(), len(order))
        return _place(cell, methods), method in BASELINES, by_paper, method, cell["preset"] or ""

    return sorted(wanted, key=place)


def _place(cell: Cell, methods: Sequence[str]) -> int:
    known = _names(cell)
    return next((place for place, name in enumerate(methods) if name.casefold() in known), len(methods))


def _names(cell: Cell) -> set[str]:
    method, title, variant = cell["method"], cell["title"], cell["preset"]
    names = {method, title, f"{method}:{variant}", _label(title, [variant])}
    return {name.casefold() for name in names}


def unmatched(cells: Iterable[Cell], methods: Sequence[str]) -> list[str]:
    """Return those of the words in `methods` that none of the cells is called by."""
    known = set[str]().union(*map(_names, cells))
    return [word for word in methods if word.casefold() not in known]


def _where(cells: Sequence[Cell], name: str, text: str) -> list[Cell]:
    flat = [
        settings(cell)
        | {name: cell[name] for name in ("preset", "setting")}
        | {"source": plain_source(cell) or None, "seed": seed_of(cell) or None}
        for cell in cells
    ]
    known = {key for each in flat for key in each} - _PER_CLASS
    meant = [key for key in known if name in (key, key.rpartition(".")[2])]
    name = meant[0] if len(meant) == 1 else name
    if cells and name not in known:
        raise unknown("setting of the cells", name, known)

    def matches(each: Mapping[str, Any]) -> bool:
        value = str(each.get(name)).lower()
        return value.startswith(text.lower()) if name.startswith("weights.") else value == text.lower()

    found = [cell for cell, each in zip(cells, flat, strict=True) if matches(each)]
    if not name.startswith(_PER_DATASET):
        return found
    keys, decided = {cell["key"] for cell in found}, {_dataset(cell) for cell in found}
    return [cell for cell in cells if cell["key"] in keys or _dataset(cell) not in decided]


def _newest(cells: Sequence[Cell]) -> list[Cell]:
    newest: dict[tuple[Any, ...], Cell] = {}
    for cell in sorted(cells, key=_started):
        kept = {name: value for name, value in settings(cell).items() if not _goes_stale(name)}
        place = (cell["method"], cell["preset"], cell["source"], cell["dataset"], cell["class"])
        newest[(*place, repr(sorted(kept.items())))] = cell
    return list(newest.values())


def _started(cell: Cell) -> str:
    return str(cell["provenance"].get("started", ""))


def _goes_stale(name: str) -> bool:
    return name in _PER_CLASS | _VERSIONS or name.startswith(_PER_DATASET)


def fill_columns(cells: Sequence[Cell], *, by_source: bool = False) -> list[ColumnCells]:
    """Distribute cells over columns: one for each method and variant, in the order of the cells.

    Cells of one class that were measured with other options, precision or protocol get columns of their
    own, labelled by what differs: "Tipsomaly (image_size=336)". So do sources that are not the protocol's,
    "Tipsomaly (btad)". Seeds share a column, but where weights trained here meet published ones on a
    target, those trained here are "Tipsomaly (retrained)". `by_source` gives every source a column.
    Settings other than inductive stand last.

    Raises:
        BenchError: Cells differ in what no column can be labelled by (data, prompt, weights).
    """

    def source_label(cell: Cell) -> str:
        return plain_source(cell) if by_source or not cell["protocol_source"] else ""

    columns: list[ColumnCells] = []
    titled = grouped(cells, _title)
    for (method, preset, setting), group in grouped(cells, _kind).items():
        paths = _splitting(group)
        for variant, of_variant in grouped(group, partial(_variant, paths)).items():
            sources = grouped(of_variant, source_label)
            for source, of_source in sorted(sources.items(), key=lambda pair: bool(pair[0])):
                for retrained, alike in sorted(grouped(of_source, _retrained_among(of_source)).items()):
                    title = _title(alike[0])
                    in_title = alike[0].get("titled_preset")
                    named = (preset or "").partition(",")[2] if in_title else preset
                    origin = [source, "retrained" if retrained else ""]
                    options = [part for part in variant if not part.startswith("precision")]
                    key = f" [{method}]" if len({cell["method"] for cell in titled[title]}) > 1 else ""
                    columns.append(
                        ColumnCells(
                            _label(title, [named, *origin, *variant]) + key,
                            title,
                            method,
                            tuple(alike),
                            source,
                            retrained,
                            _label(title, [named, *variant]) + key,
                            setting,
                            not any((named, *origin, *options)),
                        )
                    )
    for column in columns:
        for alike in grouped(column.cells, _dataset).values():
            _refuse_mixture(column.label, alike)
    return sorted(columns, key=lambda column: SETTINGS.index(column.setting))


def _label(title: str, parts: Sequence[str | None]) -> str:
    said = [part for part in parts if part]
    return f"{title} ({', '.join(said)})" if said else title


def _retrained_among(cells: Sequence[Cell]) -> Callable[[Cell], bool]:
    """Return what tells published weights from those trained here, if some target has both."""
    of_dataset = grouped(cells, _dataset).values()
    both = any(len({bool(seed_of(cell)) for cell in alike}) > 1 for alike in of_dataset)
    return lambda cell: both and bool(seed_of(cell))


def _differing(cells: Sequence[Cell]) -> list[str]:
    flat = [settings(cell) for cell in cells]
    names = sorted({name for each in flat for name in each})
    return [name for name in names if len({repr(each.get(name)) for each in flat}) > 1]


def _splitting(cells: Sequence[Cell]) -> list[str]:
    """Return the settings that a column must be split by.

    Options may differ between targets, as the method's paper has it, but not within one.
    """
    everywhere = [name for name in _differing(cells) if name.startswith(_UNIFORM)]
    within = {name for alike in grouped(cells, _dataset).values() for name in _differing(alike)}
    return everywhere + sorted(name for name in within if name.startswith("options."))


def _variant(paths: Sequence[str], cell: Cell) -> tuple[str, ...]:
    values = settings(cell)
    return tuple(
        f"{name.rpartition('.')[2]}={values[name]}" for name in paths if values.get(name) is not None
    )


def _refuse_mixture(label: str, cells: Sequence[Cell]) -> None:
    where = cells[0]["dataset"]
    for of_seed in grouped(cells, seed_of).values():
        _refuse_differences(label, where, of_seed, _PER_CLASS)
    _refuse_differences(label, where, cells, {*_PER_CLASS, _LEARNED})
    for class_key, alike in grouped(cells, lambda cell: cell["class"]).items():
        seeds, differing = sorted({seed_of(cell) for cell in alike}), _differing(alike)
        if len(alike) > len(seeds):
            dates = " and ".join(_started(cell) or "?" for cell in alike)
            raise BenchError(
                f"{label} on {where}/{class_key}: {len(alike)} cells (begun {dates}) differ in "
                f"{', '.join(differing)}. Take the newest with --latest, or delete the others"
            )
        if between := [name for name in differing if name != _LEARNED]:
            raise BenchError(
                f"{label} on {where}/{class_key}: seeds {', '.join(seeds)} differ in {', '.join(between)}. "
                "Run the older ones again"
            )


def _refuse_differences(label: str, where: str, cells: Sequence[Cell], rightful: Container[str]) -> None:
    between = [name for name in _differing(cells) if name not in rightful]
    if between:
        name, value = between[0], str(settings(cells[0])[between[0]])[:10]
        raise BenchError(
            f"{label} on {where}: its cells differ in {', '.join(between)}. Choose with "
            f"--where {name}={value}, take the newest with --latest, or run the classes that lag behind again"
        )
