"""The driver: gives units to workers, hears what became of them, and outlives any worker."""

import time
import uuid
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from bench.errors import BenchError
from bench.run.engines.remote import Command, Link, Message, Performer, Setup, Site
from bench.run.engines.schedule import Item, Schedule
from bench.run.machine import Machine

_GPU_ELSEWHERE = 8 << 30
"""Bytes for models on a GPU that this machine does not have."""
_MOST_DEATHS = 2
_MOST_STARTS = 3
"""A slot whose worker died so often before it was ready is given up."""


class Pool(Protocol):
    """Starts workers, carries messages; a slot is a place for one worker."""

    slots: list[str]
    """Their names; more may come."""
    patience: float
    """Seconds that a worker may take to start."""

    def start(self, slot: str) -> None:
        """Start a (new) worker; it will tell that it is ready, or broken, or died."""

    def tell(self, slot: str, command: Command) -> None:
        """Send a command to the slot's worker."""

    def hear(self, seconds: float) -> list[tuple[str, Message]]:
        """Return messages with their slots, after `seconds` at the latest.

        A worker that ends tells `("died", reason, node_lost)`. What `("event", "at", node)` tells is a name
        for people.
        """

    def close(self) -> None:
        """End all workers."""


@dataclass(frozen=True)
class Engine:
    """How workers are started, and what they share."""

    pool_of: Callable[[Setup], Pool]
    roots: Mapping[str, Path]
    """The folders of `data`, `weights` and `results`, which a node may have elsewhere."""
    collect: bool = False
    """Results are sent to the driver: the nodes share no folder."""
    share: int = 1
    """Workers that share a device."""

    def models_room(self, machine: Machine) -> int:
        """Return the bytes that a worker's models may take together, by what this machine has."""
        if machine.models is not None:
            return machine.models
        here = machine.device.type != "cuda" or torch.cuda.is_available()
        return machine.models_room() // self.share if here else _GPU_ELSEWHERE

    def run(
        self,
        performer: Callable[[Site, Link], Performer],
        units: Any,
        items: Iterable[Item],
        machine: Machine,
        records: "Records",
        shared: Path,
    ) -> None:
        """Have `items`, which stand for `units`, computed by workers like `machine`.

        Nodes must share the folder `shared`, unless results are collected.
        """
        proof = None if self.collect else shared / f".shared-{uuid.uuid4().hex}"
        try:
            if proof is not None:
                proof.touch()
            setup = Setup.of(performer, units, self.roots, machine, proof)
            Driver(items, self.pool_of(setup), records).run()
        finally:
            if proof is not None:
                proof.unlink(missing_ok=True)


class Records(Protocol):
    """Takes down what became of results."""

    def written(self, key: str, content: Any) -> None:
        """The result is there; with `content`, write it."""

    def failed(self, key: str, reason: str, trace: str | None) -> None:
        """The result cannot be had; with `trace`, record it."""

    def event(self, name: str, *told: Any) -> None:
        """Something for whoever watches."""

    def remark(self, text: str) -> None:
        """One line about the engine itself."""


@dataclass
class _Slot:
    state: str = "starting"
    """`starting`, `idle`, `busy` or `gone`."""
    node: str = ""
    since: float = 0.0
    starts: int = 0
    loaded: Hashable = None
    at_work: list[Item] = field(default_factory=list)
    """Units whose results are not all there: one being computed, one being written."""


class Driver:
    """Has every item computed by the pool's workers."""

    def __init__(self, items: Iterable[Item], pool: Pool, records: Records) -> None:
        """Take `items`, each with the keys of its results."""
        items = list(items)
        self._schedule, self._pool, self._records = Schedule(items), pool, records
        self._open = {key for item in items for key in item.open}
        self._slots: dict[str, _Slot] = {}
        self._broken: dict[str, str] = {}
        self._said: set[str] = set()

    def run(self) -> None:
        """Return when every result is written or failed; raises `BenchError` if no worker is left."""
        try:
            while self._open:
                for name in self._pool.slots[len(self._slots) :]:
                    self._slots[name] = _Slot()
                    self._start(name)
                self._give_up_waiting()
                for name, slot in self._slots.items():
                    if slot.state == "idle":
                        self._assign(name, slot)
                for name, message in self._pool.hear(1.0):
                    self._take(name, self._slots[name], message)
        finally:
            self._pool.close()

    def _start(self, name: str) -> None:
        slot = self._slots[name]
        slot.state, slot.loaded, slot.since = "starting", None, time.monotonic()
        slot.starts += 1
        self._pool.start(name)

    def _assign(self, name: str, slot: _Slot) -> None:
        if slot.node in self._broken:
            self._retire(slot)
            return
        live = sum(other.state in ("idle", "busy") for other in self._slots.values())
        item = self._schedule.next(slot.node, slot.loaded, live)
        alone = any(each.alone for each in (item, *slot.at_work) if each)
        if slot.at_work and (item is None or alone):
            self._pool.tell(name, ("settle",))
        elif item is not None:
            item = self._schedule.take(item, live)
            slot.at_work.append(item)
            slot.loaded = item.models
            self._pool.tell(name, ("run", item.index, frozenset(item.open)))
        else:
            return
        slot.state = "busy"

    def _take(self, name: str, slot: _Slot, message: Message) -> None:
        if slot.state == "gone":
            return
        match message:
            case ("written", key, content):
                if key in self._open:
                    self._records.written(key, content)
                    self._resolve(slot, key)
            case ("failed", key, reason, trace):
                if key in self._open:
                    self._records.failed(key, reason, trace)
                    self._resolve(slot, key)
            case ("event", "at", node):
                slot.node = node
            case ("event", "ready"):
                slot.state, slot.starts = "idle", 0
            case ("event", "idle"):
                slot.state = "idle"
            case ("event", "refused", reason):
                item = slot.at_work.pop()
                item.refused[slot.node] = reason
                self._schedule.add(item)
                self._say(f"node {slot.node} is left out of some units: {reason}")
            case ("event", "broken", reason):
                self._broken[slot.node or name] = reason
                self._say(f"node {slot.node or name} is left out: {reason}")
                self._retire(slot)
            case ("died", reason, node_lost):
                self._died(name, slot, reason, node_lost)
            case ("event", kind, *told):
                self._records.event(kind, *told)

    def _resolve(self, slot: _Slot, key: str) -> None:
        self._open.discard(key)
        for item in slot.at_work:
            item.open = [other for other in item.open if other != key]
        slot.at_work = [item for item in slot.at_work if item.open]

    def _died(self, name: str, slot: _Slot, reason: str, node_lost: bool) -> None:
        self._say(f"a worker on {slot.node or name} ended: {reason}; its units are done by another")
        for place, item in enumerate(reversed(slot.at_work)):
            if node_lost:
                self._schedule.add(item)
                continue
            deaths = item.deaths + (place == 0)  # those before the last were only being written
            for key in item.open:
                if deaths >= _MOST_DEATHS:
                    text = f"its worker ended {_MOST_DEATHS} times over it, the last time so: {reason}"
                    self._records.failed(key, text, "")
                    self._open.discard(key)
                else:
                    self._schedule.add(replace(item, open=[key], deaths=deaths, alone=True))
        slot.at_work = []
        if slot.state == "starting" and slot.starts >= _MOST_STARTS and not node_lost:
            self._broken[name] = reason
            self._retire(slot)
        else:
            self._start(name)

    def _retire(self, slot: _Slot) -> None:
        """Give the slot no more work. Its worker stays, so that no other is started in its place."""
        for item in slot.at_work:
            self._schedule.add(item)
        slot.at_work, slot.state = [], "gone"

    def _give_up_waiting(self) -> None:
        """Fail units that no node can compute; raise `BenchError` where no worker is left or comes."""
        now = time.monotonic()
        coming = [
            slot
            for slot in self._slots.values()
            if slot.state == "starting" and now - slot.since < self._pool.patience
        ]
        if coming:
            return
        live = {slot.node for slot in self._slots.values() if slot.state in ("idle", "busy")}
        if not live:
            reasons = "; ".join(f"{node}: {reason}" for node, reason in self._broken.items())
            raise BenchError(
                f"no worker is left ({reasons or f'none started in {self._pool.patience:g} s'}); what is "
                "finished is kept, run it again"
            )
        for item in self._schedule.withdraw(lambda item: live <= item.refused.keys()):
            why = "; ".join(f"{node}: {reason}" for node, reason in sorted(item.refused.items()))
            for key in item.open:
                self._records.failed(key, f"no node has its files as planned: {why}", "")
                self._open.discard(key)

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._records.remark(text)
        self._said.add(text)
