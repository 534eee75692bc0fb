"""A method's card: the literals of its class, read without importing its file. Nothing here needs torch."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from methods.static import COMPUTED, Found, Module, Reader, members

_MAPPINGS = ("presets", "defaults", "sources", "target_options", "selected_on")
_TEXTS = ("title", "paper", "code", "licence", "notes")


@dataclass(frozen=True)
class Option:
    """One knob of a method."""

    name: str
    default: Any
    meaning: str
    """The comment beside it in `defaults`, its own or that of a base class; may be empty."""
    others: tuple[Any, ...]
    """Further values that presets and targets of the method give it."""


@dataclass(frozen=True)
class Card:
    """The literals of a method's class and its bases; `COMPUTED` where a value is not a literal."""

    key: str
    path: Path
    class_name: str
    title: str
    paper: str = ""
    code: str = ""
    licence: str = ""
    notes: str = ""
    presets: Mapping[str, Any] = field(default_factory=dict)
    """Name -> options, also where the preset changes more than options."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, Any] = field(default_factory=dict)
    target_options: Mapping[str, Any] = field(default_factory=dict)
    selected_on: Mapping[str, Any] = field(default_factory=dict)
    options: tuple[Option, ...] = ()
    computed: tuple[str, ...] = ()
    """Members among these that the file computes; they are empty here."""
    learns: bool = False
    """Whether it has a training recipe."""
    keeps_features: bool = False
    """Whether the features of its encoder may be kept on disk."""


def detectors(reader: Reader, module: Module) -> list[str]:
    """Return the classes of a file that are methods: derived from the contract, with a title of their own."""

    def is_method(node: ast.ClassDef) -> bool:
        return "title" in members(node) and reader.derives(
            Found(module, node), "methods.base", "ZeroShotDetector"
        )

    return [node.name for node in module.tree.body if isinstance(node, ast.ClassDef) and is_method(node)]


def read_card(reader: Reader, module: Module, class_name: str) -> Card:
    """Return the card of class `class_name` of the file."""
    (node,) = (each for each in module.tree.body if getattr(each, "name", "") == class_name)
    found = Found(module, node)
    read = {name: _value(reader, found, name) for name in (*_TEXTS, *_MAPPINGS, "recipe", "encoder_options")}
    computed = tuple(sorted(name for name in _MAPPINGS if read[name] is COMPUTED))
    mappings = {name: {} if name in computed else read[name] or {} for name in _MAPPINGS}
    told: dict[str, str] = {}
    for one in reader.lineage(found):
        if isinstance(one.node, ast.ClassDef):
            own = replace(one, node=members(one.node).get("defaults"), owner=one.node)
            told = {**reader.meanings(own), **told}
    facts: dict[str, Any] = {**mappings, **{name: str(read[name] or "") for name in _TEXTS}}
    return Card(
        key=module.path.stem,
        path=module.path,
        class_name=class_name,
        options=tuple(_options(mappings, told)),
        computed=computed,
        learns=read["recipe"] is not None,
        keeps_features=read["encoder_options"] is not None,
        **facts,
    )


def _value(reader: Reader, found: Found, name: str) -> Any:
    member = reader.member(found, name)
    try:
        return None if member is None else reader.value(member)
    except RecursionError:  # a name that is defined by itself
        return COMPUTED


def _options(mappings: Mapping[str, Mapping[str, Any]], told: Mapping[str, str]) -> Iterator[Option]:
    sets = [
        each
        for name in ("presets", "target_options")
        for each in mappings[name].values()
        if isinstance(each, dict)
    ]
    for name, default in mappings["defaults"].items():
        used = [each[name] for each in sets if name in each and each[name] != default]
        others = tuple(value for index, value in enumerate(used) if value not in used[:index])
        yield Option(name, default, told.get(name, ""), others)


def as_typed(value: object) -> str:
    """Return an option's value as `--set` takes it."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return ",".join(map(as_typed, value)) if isinstance(value, tuple | list) else str(value)
