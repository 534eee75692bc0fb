"""Workers as actors of a Ray cluster, one for each GPU (or CPU) that it has."""

import os
import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from bench.errors import BenchError
from bench.run.engines.remote import Command, Link, Message, Performer, Setup, begin, obey
from bench.store.provenance import ROOT

try:
    import ray
    from ray.exceptions import ActorUnavailableError, RayError
except ModuleNotFoundError as missing:
    raise BenchError("--engine ray needs Ray: pip install -e '.[ray]'") from missing

_LOOK = 10.0
"""Seconds between two looks at what the cluster has."""
_PAUSE = 2.0
"""Seconds before a slot gets another actor: a node that goes down is not asked again at once."""


class RayPool:
    """One actor for each share of the cluster; those that find no room yet start when there is some."""

    def __init__(
        self,
        setup: Setup,
        *,
        device: str = "auto",
        address: str | None = None,
        gpus: float | None = None,
        most: int | None = None,
        patience: float = 600.0,
    ) -> None:
        """Join the cluster at `address` (None: start one on this machine).

        A worker gets `gpus` (None: 1 if the cluster has any) and one CPU; there are as many workers as find
        room, at `most` so many. Raises `BenchError` without a cluster or room.
        """
        self.patience = patience
        self._joined = _join(address)
        self._actors: dict[str, Any] = {}
        has = ray.cluster_resources()
        self._gpus = float(has.get("GPU", 0) > 0 and device != "cpu") if gpus is None else gpus
        self._most = most
        self.slots: list[str] = []
        self._grown = float("-inf")
        self._grow()
        if not self.slots:
            self.close()
            raise BenchError(
                f"the Ray cluster has {has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs: no room for "
                f"a worker with 1 CPU and {self._gpus:g} GPUs; see --gpus-per-worker"
            )
        self._setup, self._device = ray.put(setup), device
        self._streams: dict[Any, str] = {}
        self._nodes: dict[str, str] = {}
        self._due: dict[str, float] = {}

    def _grow(self) -> None:
        """Have a slot for every worker that the cluster has room for by now."""
        if (now := time.monotonic()) - self._grown < _LOOK:
            return
        self._grown, has = now, ray.cluster_resources()
        room = has.get("CPU", 0)
        if self._gpus:
            room = min(room, has.get("GPU", 0) / self._gpus)
        wanted = int(room) if self._most is None else min(int(room), self._most)
        self.slots += [f"worker {place}" for place in range(len(self.slots) + 1, wanted + 1)]

    def start(self, slot: str) -> None:
        """Ask for an actor: at once, or after a pause if the slot had one before."""
        self._due[slot] = time.monotonic() + (_PAUSE if slot in self._nodes else 0.0)

    def tell(self, slot: str, command: Command) -> None:
        """Send a command."""
        self._listen(slot, self._actors[slot].obey.options(num_returns="streaming").remote(command))

    def hear(self, seconds: float) -> list[tuple[str, Message]]:
        """Return a message of an actor that has one; an actor that ended says how."""
        self._grow()
        for slot in [slot for slot, due in self._due.items() if due <= time.monotonic()]:
            self._start(slot)
        if not self._streams:
            time.sleep(min(seconds, 0.1))
            return []
        ready, _ = ray.wait(list(self._streams), timeout=seconds, fetch_local=False)
        return [
            (slot, message)
            for it in ready
            for slot, message in [(self._streams[it], self._next(it))]
            if message
        ]

    def close(self) -> None:
        """End all actors and leave the cluster; one that was started here ends."""
        for slot in list(self._actors):
            self._stop(slot)
        if self._joined:
            ray.shutdown()

    def _start(self, slot: str) -> None:
        del self._due[slot]
        self._nodes.setdefault(slot, "")
        actor = _Actor.options(num_gpus=self._gpus, max_concurrency=2).remote()
        self._actors[slot] = actor
        self._listen(slot, actor.begin.options(num_returns="streaming").remote(self._setup, self._device))

    def _listen(self, slot: str, stream: Any) -> None:
        self._streams[stream] = slot

    def _stop(self, slot: str) -> None:
        self._streams = {stream: other for stream, other in self._streams.items() if other != slot}
        if (actor := self._actors.pop(slot, None)) is not None:
            with suppress(RayError):
                ray.kill(actor)

    def _next(self, stream: Any) -> Message | None:
        """Return what a stream tells; None if it tells nothing more, or only later."""
        slot = self._streams[stream]
        try:
            if isinstance(stream, ray.ObjectRef):  # the answer to `ping`, by an actor that was out of reach
                ray.get(stream)
                raise ActorUnavailableError("out of reach for a while", None)
            message: Message = ray.get(next(stream))
        except StopIteration:
            del self._streams[stream]
            return None
        except ActorUnavailableError as error:
            if not isinstance(stream, ray.ObjectRef):
                # Its process has ended, or its node is lost: an answer comes as soon as Ray knows which.
                del self._streams[stream]
                self._listen(slot, self._actors[slot].ping.remote())
                return None
            return self._ended(slot, error, lost=True)
        except RayError as error:
            node = self._nodes[slot]
            return self._ended(slot, error, lost=bool(node) and node not in _names())
        if message[:2] == ("event", "at"):
            self._nodes[slot] = message[2]
            return "event", "at", _names().get(message[2], message[2])
        return message

    def _ended(self, slot: str, error: RayError, *, lost: bool) -> Message:
        self._stop(slot)
        if lost:
            return "died", "its node is lost", True
        cause = getattr(error, "cause", None)  # what was raised there, such as a checkout that is missing
        detail = f"{type(cause).__name__}: {cause}" if cause else str(error)
        detail = detail.partition("Worker exit detail:")[2] or detail
        return "died", detail.strip().partition(". Some common")[0].splitlines()[0], False


def _join(address: str | None) -> bool:
    """Return whether this process was connected to a cluster just now, and is to leave it again."""
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a run tells nobody that it takes place
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is not None and (place := address.removeprefix("ray://").rpartition(":"))[2].isdigit():
            socket.create_connection((place[0], int(place[2])), _LOOK).close()  # Ray itself tries for minutes
        if address is None:
            ray.init("local", include_dashboard=False, **quiet)
        else:
            ray.init(address, **quiet)
    except (OSError, ValueError, RuntimeError, RayError) as error:
        reason = str(error).splitlines()[0]
        raise BenchError(f"--address {address}: {reason}; start a cluster with `ray start --head`") from error
    return True


def _names() -> dict[str, str]:
    """Return the names of the nodes that are there, by their ids."""
    return {
        node["NodeID"]: node["NodeName"]
        if node["NodeName"] != node["NodeManagerAddress"]
        else f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        for node in ray.nodes()
        if node["Alive"]
    }


class _Worker:
    """A worker; its methods are streams of messages."""

    def __init__(self) -> None:
        self._performer: Performer | None = None
        self._said: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._link = Link(self._said.put)

    def begin(self, setup: Setup, device: str) -> Iterator[Message]:
        """Open what the setup names."""

        def work() -> None:
            self._performer = begin(setup, device, self._link, ray.get_runtime_context().get_node_id())

        yield from self._said_during(work)

    def obey(self, command: Command) -> Iterator[Message]:
        """Do what the driver asks."""
        performer = self._performer
        assert performer is not None
        yield from self._said_during(lambda: obey(performer, command, self._link))

    def ping(self) -> None:
        """Answer."""

    def _said_during(self, work: Any) -> Iterator[Message]:
        def whole() -> None:
            try:
                work()
            finally:
                self._said.put(None)

        threading.Thread(target=whole, daemon=True).start()
        while (message := self._said.get()) is not None:
            yield message


_Actor: Any = ray.remote(
    num_cpus=1,
    max_restarts=0,
    max_task_retries=0,
    scheduling_strategy="SPREAD",
    runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
)(_Worker)
