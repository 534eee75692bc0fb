"""Workers as processes of this machine, one for each device."""

import multiprocessing
import os
import platform
import signal
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from bench.run.engines.remote import Command, Link, Message, Setup, begin, obey


class ProcessPool:
    """One process for each of `devices`; a device may stand there several times."""

    patience: float = 600.0
    start_method: str = "spawn"
    """Of `multiprocessing`; what was begun on a GPU does not survive a fork."""

    def __init__(self, setup: Setup, devices: Sequence[str]) -> None:
        """Start nothing yet."""
        self.slots = [f"{platform.node()}, worker {place} ({it})" for place, it in enumerate(devices, 1)]
        self._devices = dict(zip(self.slots, devices, strict=True))
        self._setup = setup
        self._running: dict[str, tuple[BaseProcess, Connection]] = {}

    def start(self, slot: str) -> None:
        """Start the slot's process."""
        context: Any = multiprocessing.get_context(self.start_method)
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(self._setup, self._devices[slot], theirs), name=slot, daemon=True
        )
        process.start()
        theirs.close()
        self._running[slot] = process, ours

    def tell(self, slot: str, command: Command) -> None:
        """Send a command; a worker that is gone says so in `hear`."""
        with suppress(OSError):
            self._running[slot][1].send(command)

    def _stop(self, slot: str) -> None:
        if found := self._running.pop(slot, None):
            process, connection = found
            process.kill()
            process.join()
            connection.close()

    def hear(self, seconds: float) -> list[tuple[str, Message]]:
        """Return one message of every worker that has one; a worker that ended says how."""
        slots = {connection: slot for slot, (_, connection) in self._running.items()}
        heard: list[tuple[str, Message]] = []
        for connection in wait(list(slots), seconds):
            assert isinstance(connection, Connection)
            slot = slots[connection]
            try:
                heard.append((slot, connection.recv()))
            except (EOFError, OSError):
                process, _ = self._running[slot]
                process.join()
                self._stop(slot)
                heard.append((slot, ("died", _how(process.exitcode), False)))
        return heard

    def close(self) -> None:
        """End all processes."""
        for slot in list(self._running):
            self._stop(slot)


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _serve(setup: Setup, device: str, connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver is interrupted too, and ends its workers

    def send(message: Message) -> None:
        try:
            connection.send(message)
        except OSError:  # the driver is gone, and with it the reason to go on
            os._exit(1)

    link = Link(send)
    performer = begin(setup, device, link, platform.node())
    while performer is not None:
        try:
            command = connection.recv()
        except (EOFError, OSError):
            return
        obey(performer, command, link)
