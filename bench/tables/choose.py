"""Which cells fill which column: choosing, and never mixing what was measured differently."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.errors import BenchError, unknown

Cell = Mapping[str, Any]
HomeSource = Callable[[str, str], str | None]
"""(method, target) -> the source that the protocol trains on for this target."""

_PER_CLASS = {"data", "prompt"}
"""Settings with another value for each class."""
_PER_DATASET = ("weights.", "names", "dataset_protocol")
"""Settings that may rightly differ between the datasets of one column."""
_UNIFORM = ("precision", "protocol.", "method_version")
"""Settings that are the same all down a column."""
_VERSIONS = {"method_version", "protocol.metrics_version"}


@dataclass(frozen=True)
class Filling:
    """A column and the cells that fill it: per dataset and class at most one, all measured alike."""

    label: str
    title: str
    method: str
    cells: tuple[Cell, ...]


def settings(cell: Cell) -> dict[str, Any]:
    """Return what a cell was measured with, flat: `precision`, `options.sigma`, `protocol.limit`..."""
    flat: dict[str, Any] = {name: cell.get(name) for name in ("names", "dataset_protocol")}
    for name, value in cell["config"].items():
        flat |= {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, Mapping) else {}
        if not isinstance(value, Mapping):
            flat[name] = value
    return flat


def choose(
    cells: Iterable[Cell],
    *,
    methods: Sequence[str] = (),
    datasets: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
    latest: bool = False,
) -> list[Cell]:
    """Return the wanted cells, each once, in the order of `methods` if given, else by method and preset.

    Args:
        cells: As read from the store.
        methods: `key` (with all its presets) or `key:preset`; empty: all.
        datasets: Dataset keys; empty: all.
        where: Values that `settings`, `preset` or `source` must have, written as text; `sigma` will do for
            `options.sigma`. What may differ
            between datasets (`weights.*`, `names`, `dataset_protocol`; a digest may be cut short) decides
            only on the datasets that have it.
        latest: Of cells that differ only in data, prompt, weights or versions, take the newest.

    Raises:
        BenchError: Nothing is left.
    """
    unique = list({cell["key"]: cell for cell in cells}.values())
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
    return sorted(wanted, key=lambda cell: (_place(cell, methods), cell["method"], cell["preset"] or ""))


def _place(cell: Cell, methods: Sequence[str]) -> int:
    names = {cell["method"], f"{cell['method']}:{cell['preset']}"}
    return next((place for place, name in enumerate(methods) if name in names), len(methods))


def _where(cells: Sequence[Cell], name: str, text: str) -> list[Cell]:
    flat = [settings(cell) | {"preset": cell["preset"], "source": cell["source"]} for cell in cells]
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
    keys, decided = {cell["key"] for cell in found}, {_target(cell) for cell in found}
    return [cell for cell in cells if cell["key"] in keys or _target(cell) not in decided]


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


def fill_columns(cells: Sequence[Cell], home_source: HomeSource | None = None) -> list[Filling]:
    """Distribute cells over columns: one for each method and preset, in the order of the cells.

    Cells of one class that were measured with other options, precision or protocol get columns of their
    own, labelled by what differs: "Tipsomaly (image_size=336)". So do other sources, "Tipsomaly (btad)":
    those that are not `home_source`, or, if that is not given, all of a method with several for one target.

    Raises:
        BenchError: Cells differ in what no column can be labelled by (data, prompt, weights).
    """
    fillings: list[Filling] = []
    for (method, preset), group in _by(cells, lambda cell: (cell["method"], cell["preset"])).items():
        several = any(len({c["source"] for c in g}) > 1 for g in _by(group, _target).values())

        def source_label(cell: Cell, several: bool = several) -> str | None:
            if home_source is None:
                return cell["source"] if several else None
            base = cell["dataset"].removeprefix("standin_")
            return None if cell["source"] == home_source(cell["method"], base) else cell["source"]

        for source, of_source in _by(group, source_label).items():
            paths = _splitting(of_source)
            variants = _by(of_source, partial(_variant, paths))
            for variant, alike in variants.items():
                title = str(alike[0]["title"])
                parts = [part for part in (preset, source, *variant) if part]
                label = f"{title} ({', '.join(parts)})" if parts else title
                if label in {filling.label for filling in fillings}:  # two methods with one title
                    label = f"{label} [{method}]"
                fillings.append(Filling(label, title, method, tuple(alike)))
    for filling in fillings:
        for alike in _by(filling.cells, _target).values():
            _refuse_mixture(filling.label, alike)
    return fillings


def _by(cells: Iterable[Cell], key: Callable[[Cell], Any]) -> dict[Any, list[Cell]]:
    groups: dict[Any, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    return groups


def _target(cell: Cell) -> str:
    return str(cell["dataset"])


def _differing(cells: Sequence[Cell]) -> list[str]:
    flat = [settings(cell) for cell in cells]
    names = sorted({name for each in flat for name in each})
    return [name for name in names if len({repr(each.get(name)) for each in flat}) > 1]


def _splitting(cells: Sequence[Cell]) -> list[str]:
    """Return the settings that a column must be split by.

    Options may differ between targets, as the method's paper has it, but not within one.
    """
    everywhere = [name for name in _differing(cells) if name.startswith(_UNIFORM)]
    within = {name for alike in _by(cells, _target).values() for name in _differing(alike)}
    return everywhere + sorted(name for name in within if name.startswith("options."))


def _variant(paths: Sequence[str], cell: Cell) -> tuple[str, ...]:
    values = settings(cell)
    return tuple(
        f"{name.rpartition('.')[2]}={values[name]}" for name in paths if values.get(name) is not None
    )


def _refuse_mixture(label: str, cells: Sequence[Cell]) -> None:
    where, between = cells[0]["dataset"], [name for name in _differing(cells) if name not in _PER_CLASS]
    if between:
        name, value = between[0], str(settings(cells[0])[between[0]])[:10]
        raise BenchError(
            f"{label} on {where}: its cells differ in {', '.join(between)}. Choose with "
            f"--where {name}={value}, take the newest with --latest, or run the classes that lag behind again"
        )
    for class_key, alike in _by(cells, lambda cell: cell["class"]).items():
        if len(alike) > 1:
            dates = " and ".join(_started(cell) or "?" for cell in alike)
            raise BenchError(
                f"{label} on {where}/{class_key}: {len(alike)} cells (begun {dates}) differ in "
                f"{', '.join(_differing(alike))}. Take the newest with --latest, or delete the others"
            )
