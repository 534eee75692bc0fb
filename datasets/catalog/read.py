"""Entries of the catalog from its TOML files."""

import tomllib
from pathlib import Path
from typing import Any

from datasets.entry import NAME_SETS, Archive, ClassEntry, Dataset, Part, Protocol, Raw


def read_entries(path: Path) -> tuple[Dataset, ...]:
    """Return a file's entries in its order; raises `ValueError` naming one with wrong or absent facts."""
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    common = tables.pop("common", {})
    entries = []
    for key, facts in tables.items():
        try:
            shared = common[facts.pop("common")] if "common" in facts else {}
            raw = shared.get("raw", {}) | facts["raw"]
            entries.append(_entry(key, _tuples({**shared, **facts, "raw": raw})))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: [{key}]: {type(error).__name__}: {error}") from error
    return tuple(entries)


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(each) for key, each in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _entry(key: str, facts: dict[str, Any]) -> Dataset:
    raw, classes = facts.pop("raw"), facts.pop("classes")
    if not isinstance(classes, dict):
        classes = {name: {} for name in classes}
    known = tuple(_class(name, counts) for name, counts in classes.items())
    own = {entry.key: entry.counts for entry in known}
    parts = tuple(Part(**part) for part in raw.pop("parts", ()))
    return Dataset(
        key=key,
        classes=known,
        raw=Raw(parts=parts, **raw),
        archives=tuple(Archive(**archive) for archive in facts.pop("archives", ())),
        protocols=tuple(
            Protocol(key=name, **{"counts": own, **protocol})
            for name, protocol in facts.pop("protocols", {}).items()
        ),
        **facts,
    )


def _class(key: str, facts: Any) -> ClassEntry:
    table = dict(facts) if isinstance(facts, dict) else {"counts": facts}
    prompts = {name: table.pop(name, key) for name in NAME_SETS}
    return ClassEntry(key, prompts, **table)
