"""The cell: one method on one class of one dataset, as one small JSON file.

A cell is written whole or not at all. Its name carries a hash of everything that can change its numbers
and of nothing else, so that a finished cell is found again whatever the batch size, device or folder,
and a stale one never is.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.errors import BenchError
from bench.store.atomic import write_atomically

SCHEMA = 1
Cell = dict[str, Any]
_LONGEST = 200
"""Most characters of a folder's or a cell's name."""


@dataclass(frozen=True)
class CellId:
    """What a cell is about. `config` holds JSON values only: all that can change the numbers."""

    method: str
    source: str | None
    dataset: str
    class_key: str
    config: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """Ten hexadecimal digits over method, source, dataset, class and configuration."""
        parts = {
            "schema": SCHEMA,
            "method": self.method,
            "source": self.source,
            "dataset": self.dataset,
            "class": self.class_key,
            "config": self.config,
        }
        canonical = json.dumps(
            parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
        )
        return hashlib.sha256(canonical.encode()).hexdigest()[:10]

    @property
    def name(self) -> str:
        """`method/source/dataset/class.key`, safe as a relative path."""
        folders = (self.method, self.source or "none", self.dataset, f"{self.class_key}.{self.key}")
        return "/".join(_safe(part) for part in folders)

    def __str__(self) -> str:
        """Return a name for people."""
        return f"{self.method} on {self.dataset}/{self.class_key}"


def _safe(part: str) -> str:
    quoted = quote(part, safe=" +,=@")
    if quoted.startswith("."):
        quoted = quoted.replace(".", "%2E", 1)
    # A file system takes 255 bytes; the end stays, for a cell's own name ends in its key.
    return quoted if len(quoted) <= _LONGEST else f"{quoted[: _LONGEST - 20]}~{quoted[-15:]}"


class CellStore:
    """The cells below one folder."""

    def __init__(self, root: Path) -> None:
        """Use `root`, usually `results/runs`; it need not exist yet."""
        self.root = root

    def ensure_writable(self) -> None:
        """Raise `BenchError` if no file can be made here; asked before work starts, so that none is lost."""
        probe = self.root / f".writable-{os.getpid()}"
        write_json(probe, None)
        probe.unlink(missing_ok=True)

    def path(self, cell: CellId) -> Path:
        """Return where the cell lies or will lie."""
        return self.root / f"{cell.name}.json"

    def maps_path(self, cell: CellId) -> Path:
        """Return where the cell's maps lie, if they are kept (`bench.store.maps`)."""
        return self.root / f"{cell.name}.maps.zip"

    def read(self, cell: CellId) -> Cell | None:
        """Return the finished cell, or None if there is none (a torn or foreign file is none)."""
        return _parse(self.path(cell), cell.key)

    def of(self, method: str, source: str | None, dataset: str) -> Iterator[Cell]:
        """Yield the finished cells of a method with one source's weights on a dataset."""
        folder = self.root.joinpath(*(_safe(part) for part in (method, source or "none", dataset)))
        yield from CellStore(folder)

    def of_method(self, method: str) -> Iterator[Cell]:
        """Yield the finished cells of a method."""
        yield from CellStore(self.root / _safe(method))

    def write(self, cell: CellId, content: Mapping[str, Any]) -> Path:
        """Write the finished cell whole and drop the record of an earlier failure."""
        path = self.path(cell)
        write_json(path, {"schema": SCHEMA, "key": cell.key, **content})
        self._failure(cell).unlink(missing_ok=True)
        return path

    def fail(self, cell: CellId, reason: str, trace: str) -> Path:
        """Record why the cell could not be computed; the next run tries again."""
        path = self._failure(cell)
        write_json(
            path, {"schema": SCHEMA, "key": cell.key, "cell": str(cell), "reason": reason, "trace": trace}
        )
        return path

    def _failure(self, cell: CellId) -> Path:
        return self.root / f"{cell.name}.failed.json"

    def __iter__(self) -> Iterator[Cell]:
        """Yield all finished cells, sorted by path; files that are none are passed over."""
        for path in sorted(self.root.rglob("*.json")):
            if path.name.endswith(".failed.json"):
                continue
            cell = _parse(path, path.stem.rpartition(".")[2])
            if cell is not None:
                yield cell


def _parse(path: Path, key: str) -> Cell | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError, json.JSONDecodeError):
        return None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or content.get("key") != key:
        return None
    return content


def identify(cell: Mapping[str, Any]) -> CellId:
    """Return the id of a cell as read; its key must agree with its content.

    Raises `BenchError` if somebody edited the file.
    """
    identity = CellId(cell["method"], cell["source"], cell["dataset"], cell["class"], cell["config"])
    if identity.key != cell["key"]:
        raise BenchError(
            f"cell {identity.name} does not hash to its key {cell['key']}: edited? delete it and run again"
        )
    return identity


def write_json(path: Path, content: Any, flag: str = "--results") -> None:
    """Write JSON to `path` whole or not at all; raises `ValueError` for what JSON cannot say."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(
        path, lambda place: place.write_bytes(text.encode("utf-8", "backslashreplace") + b"\n"), flag
    )
