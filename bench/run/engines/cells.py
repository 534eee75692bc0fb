"""A plan of cells on several workers: the same units, worker and cells as in one process."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bench.run.cost import Rates
from bench.run.engines.driver import Engine
from bench.run.engines.remote import Link, RefusedError, Site
from bench.run.engines.schedule import Item
from bench.run.execute import Listener, Outcome, Worker, complete_cells
from bench.run.grouping import specs_of
from bench.run.machine import Machine
from bench.run.plan import Plan, Task, Unit
from bench.store.cells import CellId, CellStore
from methods import registry


def execute_on(engine: Engine, plan: Plan, store: CellStore, machine: Machine, listener: Listener) -> Outcome:
    """Compute the plan's tasks on the engine's workers, which are like `machine`; what fails is recorded.

    Workers write cells to the store's folder, or send them here if the engine collects.
    """
    complete_cells(plan, store)
    machine = replace(machine, models=engine.models_room(machine))
    units = plan.units(machine.memory, machine.models)
    records = _CellRecords(plan, store, listener)
    items = items_of(units, Rates.of(plan, store), machine.device.type)
    if items:
        parcel = units, None if engine.collect else store.root
        engine.run(CellPerformer, parcel, items, machine, records, store.root)
    return records.outcome


def items_of(units: tuple[Unit, ...], rates: Rates, device: str) -> list[Item]:
    """Return the units as the driver schedules them, with what they cost by the rates of past cells."""
    return [
        Item(
            index,
            [task.cell.key for task in unit],
            sum(rates.weight(task, device) for task in unit),
            tuple(map(repr, specs_of(unit))),
        )
        for index, unit in enumerate(units)
    ]


class _CellRecords:
    def __init__(self, plan: Plan, store: CellStore, listener: Listener) -> None:
        self.outcome, self.remark = Outcome(), listener.engine
        self._tasks = {task.cell.key: task for task in plan.tasks}
        self._store, self._listener = store, listener

    def written(self, key: str, content: Any) -> None:
        cell = self._tasks[key].cell
        if content is not None:
            self._store.write(cell, content)
        self.outcome.finished.append(cell)

    def failed(self, key: str, reason: str, trace: str | None) -> None:
        cell = self._tasks[key].cell
        if trace is not None:
            self._store.fail(cell, reason, trace)
        self.outcome.failed.append((cell, reason))
        self._listener.failure(cell, reason, trace or "")

    def event(self, name: str, *told: Any) -> None:
        match name:
            case "task":
                self._listener.task(self._tasks[told[0]])
            case "images":
                self._listener.images(told[0])
            case "remark":
                self._listener.remark(self._tasks[told[0]].cell, told[1])


class CellPerformer:
    """Computes units of a plan in a worker's process."""

    def __init__(self, site: Site, link: Link) -> None:
        """Write to the store that the site's units come with, or send cells where there is none."""
        self._units, root = site.units
        self._site = site
        store = None if root is None else CellStore(root)
        if store is not None:
            store.ensure_writable()
        self._worker = Worker(store, site.machine, _Relay(link, sends=store is None))

    def run(self, index: int, keys: frozenset[str]) -> None:
        """Compute those cells of a unit; raises `RefusedError` where files differ from the plan's."""
        unit = tuple(task for task in self._units[index] if task.cell.key in keys)
        for task in unit:
            self._compare(task)
        self._worker.run(unit)

    def settle(self) -> None:
        """Have all cells so far written."""
        self._worker.settle()

    def _compare(self, task: Task) -> None:
        config, method = task.cell.config, task.cell.method
        self._site.compare((path, config["weights"][role]) for role, path in task.spec.files.items())
        if registry.file_digest(method) != config.get("method_file"):
            raise RefusedError(f"the method {method} is another file than the one planned with")
        try:
            same = task.data.fingerprint(self._site.digest) == config["data"]
        except OSError as error:
            raise RefusedError(f"{task.folder.root}: {error}") from error
        if not same:
            raise RefusedError(
                f"files of {task.cell.class_key} in {task.folder.root} are not those planned with"
            )


class _Relay(Listener):
    """Tells the driver how the worker goes; `sends`: with the content of cells, which the driver writes."""

    def __init__(self, link: Link, *, sends: bool) -> None:
        self._link, self._sends = link, sends

    def images(self, count: int) -> None:
        self._link.images(count)

    def task(self, task: Task) -> None:
        self._link.event("task", task.cell.key)

    def remark(self, cell: CellId, text: str) -> None:
        self._link.event("remark", cell.key, text)

    def finished(self, cell: CellId, content: Mapping[str, Any]) -> None:
        self._link.written(cell.key, content if self._sends else None)

    def failure(self, cell: CellId, reason: str, trace: str) -> None:
        self._link.failed(cell.key, reason, trace if self._sends else None)
