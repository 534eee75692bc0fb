"""What runs in a worker's process, whichever engine started it."""

import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import torch

from bench.errors import BenchError, reason_of
from bench.run.engines.parcel import VARIABLES, own_roots, pack, unpack
from bench.run.features import FeatureCache
from bench.run.machine import Machine, choose_device
from bench.store.digests import DigestCache, cache_folder
from bench.store.provenance import ROOT
from methods import registry

Message = tuple[Any, ...]
"""What a worker tells the driver: a word and what belongs to it (`Link` has them all)."""
Command = tuple[Any, ...]
"""What the driver tells a worker: `("run", index, keys)` or `("settle",)`."""
_EVERY = 0.5
"""Seconds between two reports of progress."""
_PATIENCE = 10.0
"""Seconds in which a shared folder must show a file that the driver wrote."""
_NAMED = (*VARIABLES.values(), registry.VARIABLE)


class RefusedError(BenchError):
    """A unit that cannot be computed on this node: its files are not those that were planned with."""


class Performer(Protocol):
    """Computes the units of one kind of work, one after the other."""

    def run(self, index: int, keys: frozenset[str]) -> None:
        """Compute those results of a unit that have the keys; raises `RefusedError`."""

    def settle(self) -> None:
        """Have the results of all units so far written."""


@dataclass(frozen=True)
class Setup:
    """All that a worker needs to begin, without the units; may be pickled."""

    performer: Callable[["Site", "Link"], Performer]
    parcel: bytes
    """The units, packed; unpacked once a worker."""
    roots: Mapping[str, Path]
    machine: Machine
    """The driver's, see `Machine.elsewhere`."""
    features: int | None
    """Bytes of the feature cache; None: no features are kept."""
    threads: int
    """Of torch's arithmetic: sums on a CPU depend on how they are split."""
    methods: tuple[Path, ...]
    """Folders of further methods."""
    environment: Mapping[str, str]
    """The driver's, as far as it names folders: what a node says otherwise holds there."""
    shared: Path | None
    """A file that a node sees if it shares the driver's folder."""
    code: str
    arguments: tuple[str, ...]
    """Of the driver's command line, for provenance."""

    @classmethod
    def of(
        cls,
        performer: Callable[["Site", "Link"], Performer],
        units: Any,
        roots: Mapping[str, Path],
        machine: Machine,
        shared: Path | None,
    ) -> "Setup":
        """Return the setup of workers like the driver's own `machine`."""
        return cls(
            performer,
            pack(units, roots),
            {name: root.absolute() for name, root in roots.items()},
            machine.elsewhere(),
            machine.cache.limit if machine.cache else None,
            torch.get_num_threads(),
            tuple(folder.absolute() for folder in registry.folders()),
            {name: os.environ[name] for name in _NAMED if name in os.environ},
            shared.absolute() if shared else None,
            code_digest(),
            tuple(sys.argv),
        )


@cache
def code_digest() -> str:
    """Return a SHA-256 over the suite's own code: what two nodes must have in common."""
    total = hashlib.sha256()
    for room in ("bench", "methods", "datasets", "metrics"):
        for path in sorted((ROOT / room).rglob("*.py")):
            total.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return total.hexdigest()


class Link:
    """How a worker tells the driver something, from any thread; reports of progress are gathered."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        """Tell it by `send`."""
        self._send, self._lock = send, threading.Lock()
        self._images, self._told = 0, time.monotonic()

    def written(self, key: str, content: Any = None) -> None:
        """A result is written; with `content`, it is for the driver to write."""
        self._tell("written", key, content)

    def failed(self, key: str, reason: str, trace: str | None) -> None:
        """A result cannot be had; with `trace`, it is for the driver to record."""
        self._tell("failed", key, reason, trace)

    def event(self, name: str, *told: Any) -> None:
        """Something for the driver, or for whoever watches."""
        self._tell("event", name, *told)

    def images(self, count: int) -> None:
        """`count` more images are done."""
        self._images += count
        if time.monotonic() - self._told >= _EVERY:
            self.flush()

    def flush(self) -> None:
        """Tell now how many images are done."""
        if self._images:
            self.event("images", self._images)
        self._images, self._told = 0, time.monotonic()

    def _tell(self, *message: Any) -> None:
        with self._lock:
            self._send(message)


class Site:
    """Where a worker is: its roots, its machine, its units."""

    def __init__(self, setup: Setup, device: str) -> None:
        """Open what the setup names; raises `BenchError` if this node cannot take part."""
        sys.argv = list(setup.arguments)
        torch.set_num_threads(setup.threads)
        if setup.code != code_digest():
            raise BenchError(f"{ROOT} is another version of the suite than the driver's")
        if os.environ.get(registry.VARIABLE) in (None, setup.environment.get(registry.VARIABLE)):
            registry.use_folders(setup.methods)
        self.roots = own_roots(setup.roots, setup.environment, os.environ)
        self.digest = DigestCache()
        features = None
        if setup.features is not None:
            features = FeatureCache(cache_folder() / "features", setup.features, self.digest)
        here = choose_device(device)
        self.machine = replace(setup.machine, device=here, cache=features, digest=self.digest)
        self.units = unpack(setup.parcel, self.roots)
        if setup.shared is not None:
            self._find(unpack(pack(setup.shared, setup.roots), self.roots))

    def _find(self, shared: Path) -> None:
        end = time.monotonic() + _PATIENCE  # network file systems remember for seconds what is not there
        while not shared.exists():
            if time.monotonic() > end:
                raise BenchError(
                    f"{shared.parent} is not the driver's folder: share it, name this node's place of it in "
                    "the environment (ZSAD_RESULTS, ZSAD_WEIGHTS), or use run --collect"
                )
            time.sleep(0.2)
            with suppress(OSError):
                list(shared.parent.iterdir())  # has it asked again

    def compare(self, files: Iterable[tuple[Path, str]]) -> None:
        """Raise `RefusedError` for the first file whose SHA-256 is not the one that was planned with."""
        for path, planned in files:
            try:
                if self.digest(path) != planned:
                    raise RefusedError(f"{path} is another file than the one planned with")
            except OSError as error:
                raise RefusedError(f"{path}: {error.strerror or error}") from error


def begin(setup: Setup, device: str, link: Link, node: str) -> Performer | None:
    """Return what performs the driver's commands on the `node`, having told it so; None if it cannot."""
    link.event("at", node)
    try:
        performer = setup.performer(Site(setup, device), link)
    except Exception as error:
        link.event("broken", reason_of(error))
        return None
    link.event("ready")
    return performer


def obey(performer: Performer, command: Command, link: Link) -> None:
    """Do what the driver asks and tell it how that went."""
    try:
        match command:
            case ("run", index, keys):
                performer.run(index, keys)
            case ("settle",):
                performer.settle()
    except RefusedError as refusal:
        link.event("refused", str(refusal))
    except Exception as error:  # results cannot be written here, or a fault of the suite
        link.event("broken", reason_of(error))
        return
    link.flush()
    link.event("idle")
