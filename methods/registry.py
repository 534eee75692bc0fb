"""Which methods there are: found by name from their files, and imported only when one is asked for.

A file holds a method if it defines a class that derives from `ZeroShotDetector`, directly or through other
files, and declares a `title` of its own; a shared base class declares none. Beside the files here, those of
the folders in ZSAD_METHODS (or `--methods-path`) count. A broken file is no obstacle to the others.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from methods.card import Card, detectors, read_card
from methods.static import Reader

if TYPE_CHECKING:
    from methods.base import ZeroShotDetector

VARIABLE = "ZSAD_METHODS"
_HERE = Path(__file__).resolve().parent


class MethodError(ValueError):
    """A method's file that cannot be used; one line that names it and the reason."""


@dataclass(frozen=True)
class _Entry:
    card: Card
    module: str
    digest: str | None


@dataclass(frozen=True)
class _Findings:
    entries: Mapping[str, _Entry]
    broken: Mapping[str, str]


_chosen: tuple[Path, ...] | None = None


def use_folders(others: Sequence[Path] | None) -> None:
    """Look for methods in these folders too; None: in those of ZSAD_METHODS."""
    global _chosen  # noqa: PLW0603 (what the process was asked to look in, like an import path)
    _chosen = None if others is None else tuple(others)


def folders() -> tuple[Path, ...]:
    """Return the folders that are looked in beside this one."""
    if _chosen is not None:
        return _chosen
    return tuple(Path(each) for each in os.environ.get(VARIABLE, "").split(os.pathsep) if each)


def keys() -> tuple[str, ...]:
    """Return the keys of all methods, sorted; raises `MethodError` for a folder or key that cannot be."""
    return tuple(sorted(_findings().entries))


def card(key: str) -> Card:
    """Return the card of the method `key`, without importing it; raises `KeyError`."""
    return _findings().entries[key].card


def broken() -> Mapping[str, str]:
    """Return key -> reason for files that cannot be read as Python or hold two methods."""
    return _findings().broken


def failures() -> dict[str, str]:
    """Return key -> reason for all methods that cannot be used; imports the others."""
    found = dict(broken())
    for key in keys():
        try:
            find(key)
        except MethodError as error:
            found[key] = str(error)
    return found


def file_digest(key: str) -> str | None:
    """Return the SHA-256 (hex) of the file of a method from outside; None for one of the suite's own.

    Where the file imports others of its folder (`from .shared import Base`), theirs enter too. Raises
    `KeyError` if there is no such method.
    """
    return _findings().entries[key].digest


def find(key: str) -> type[ZeroShotDetector]:
    """Import the method `key` and return its class.

    Raises:
        KeyError: There is no such method.
        MethodError: Its file is broken, or fails when it is imported.
    """
    findings = _findings()
    if key in findings.broken:
        raise MethodError(findings.broken[key])
    entry = findings.entries[key]
    return _load(entry.module, entry.card.class_name, entry.card.path)


@cache
def _load(module: str, class_name: str, path: Path) -> type[ZeroShotDetector]:
    from methods.base import ZeroShotDetector as Contract  # noqa: PLC0415 (needs torch)

    try:
        detector = getattr(importlib.import_module(module), class_name)
    except (Exception, SystemExit) as error:
        raise MethodError(f"{path} cannot be imported: {_reason(error)}") from error
    if not (isinstance(detector, type) and issubclass(detector, Contract)):
        raise MethodError(f"{path}: {class_name} does not derive from ZeroShotDetector")
    return detector


def _reason(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        where = f" ({Path(error.filename).name}, line {error.lineno})" if error.filename else ""
        return f"{type(error).__name__}: {error.msg}{where}"
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _findings() -> _Findings:
    return _scan(_HERE, folders())


@cache
def _scan(here: Path, others: tuple[Path, ...]) -> _Findings:
    packages = {"methods": here}
    for folder in dict.fromkeys(each.resolve() for each in others):
        if not folder.is_dir():
            raise MethodError(f"no such folder of methods: {folder}; see --methods-path and {VARIABLE}")
        package = f"zsad_methods_{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}"
        packages[package] = folder
        _make_package(package, folder)
    reader = Reader(packages, transparent=("Preset",))
    entries: dict[str, _Entry] = {}
    broken: dict[str, str] = {}
    claimed: dict[str, Path] = {}
    for package, folder in packages.items():
        for path in sorted(folder.glob("*.py")):
            key, entry = path.stem, None
            try:
                entry = _read(reader, package, path)
            except MethodError as error:
                broken[key] = str(error)
            if entry is not None:
                entries[key] = entry
            if (key in entries or key in broken) and claimed.setdefault(key, path) != path:
                raise MethodError(f"{path}: a method {key} is in {claimed[key]} already; rename the file")
    return _Findings(entries, broken)


def _read(reader: Reader, package: str, path: Path) -> _Entry | None:
    """Return the method in the file; None if it holds none."""
    try:
        module = reader.module(f"{package}.{path.stem}")
        if module is None:
            return None
        names = detectors(reader, module)
        if not names:
            return None
        if len(names) > 1:
            raise MethodError(
                f"{path} holds {len(names)} methods, {' and '.join(names)}; a file holds one "
                "(a shared base class declares no title)"
            )
        digest = None
        if package != "methods":
            parts = sorted(hashlib.sha256(each.content).hexdigest() for each in reader.used(module))
            digest = parts[0] if len(parts) == 1 else hashlib.sha256("".join(parts).encode()).hexdigest()
        return _Entry(read_card(reader, module, names[0]), module.name, digest)
    except (SyntaxError, ValueError, OSError, RecursionError) as error:
        if isinstance(error, MethodError):
            raise
        raise MethodError(f"{path} cannot be read: {_reason(error)}") from error


def _make_package(name: str, folder: Path) -> None:
    """Let the files of a folder be imported under a name that nothing else has."""
    package = ModuleType(name, f"Methods in {folder}.")
    package.__path__ = [str(folder)]
    sys.modules.setdefault(name, package)
