"""Runs a plan: a worker keeps loaded models, computes units one after the other, writes their cells."""

import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

from bench.errors import BenchError, reason_of
from bench.run.collect import collect
from bench.run.grouping import fitting, model_bytes, specs_of
from bench.run.machine import Machine, out_of_memory
from bench.run.models import Models
from bench.run.noting import TaskRun
from bench.run.plan import ModelSpec, Plan, Task, Unit
from bench.run.record import cell_content
from bench.store.cells import CellId, CellStore
from datasets.truth import summarise


@dataclass
class Outcome:
    """What a run did."""

    finished: list[CellId] = field(default_factory=list)
    failed: list[tuple[CellId, str]] = field(default_factory=list)


class Listener:
    """Is told how a run goes; the base class ignores everything."""

    def loading(self, spec: ModelSpec) -> None:
        """A model is about to be loaded."""

    def task(self, task: Task) -> None:
        """A task begins, together with others on its class."""

    def images(self, count: int) -> None:
        """`count` more images are done for one task."""

    def remark(self, cell: CellId, text: str) -> None:
        """Hear what is odd about a class's masks."""

    def engine(self, text: str) -> None:
        """Hear what becomes of nodes and workers."""

    def finished(self, cell: CellId, content: Mapping[str, Any]) -> None:
        """A cell is written."""

    def failure(self, cell: CellId, reason: str, trace: str) -> None:
        """A cell failed."""


class Worker:
    """Computes units on one device; what fails is recorded with its reason, and the others go on.

    The metrics of one pass over a class are computed while the next one is being inferred, at most one pass
    behind, so that memory stays bounded. Leave its context, or call `settle`, to have everything written.
    """

    def __init__(self, store: CellStore | None, machine: Machine, listener: Listener | None = None) -> None:
        """Write cells to `store`; without one they are for the listener alone."""
        self.outcome = Outcome()
        self._store, self._machine, self._listener = store, machine, listener or Listener()
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self._behind: list[tuple[Task, Future[None]]] = []
        self._models = Models(machine.device, self._listener.loading)
        self._room = machine.models_room()

    def __enter__(self) -> Self:
        """Return the worker itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Finish what is behind, unless the run is being broken off."""
        if kind is None:
            self.settle()
        self._finisher.shutdown(wait=True)

    def run(self, unit: Unit) -> None:
        """Compute the unit's tasks; their cells are written by the end of the next call, or of `settle`.

        One pass over the class serves as many tasks as have models that fit. Where memory does not suffice
        after all, what failed of it is tried again alone, and so is everything from then on.
        """
        for specs in fitting(specs_of(unit), model_bytes, self._room):
            for task in self._pass([task for task in unit if task.spec in specs]):
                self._room = 0
                self._models.forget(task.spec)
                self._pass([task], alone=True)

    def _pass(self, tasks: Sequence[Task], *, alone: bool = False) -> list[Task]:
        """Compute tasks in one pass; returns those for which memory may suffice alone."""
        self._models.make_room([task.spec for task in tasks], self._room)
        models = [self._models.get(task.spec) for task in tasks]
        runs = [TaskRun(task, model, model.failure) for task, model in zip(tasks, models, strict=True)]
        if ready := [run for run in runs if run.failure is None]:
            for run in ready:
                self._listener.task(run.task)
            collect(ready, self._machine, self._listener.images)
        self.settle()
        again = []
        for run in runs:
            if not alone and out_of_memory(run.failure) and len(self._models) > 1:
                again.append(run.task)
            elif run.failure is not None:
                self._failed(run.task.cell, run.failure)
            else:
                for text in summarise(run.remarks):
                    self._listener.remark(run.task.cell, text)
                self._behind.append((run.task, self._finisher.submit(self._finish, run)))
        return again

    def settle(self) -> None:
        """Wait until the cells of all units so far are written or failed."""
        while self._behind:
            task, future = self._behind.pop(0)
            try:
                future.result()
                self.outcome.finished.append(task.cell)
            except Exception as error:
                self._failed(task.cell, error)

    def _finish(self, run: TaskRun) -> None:
        # A cell never carries the fingerprint of other data than were read.
        task = run.task
        if task.data.fingerprint(self._machine.digest) != task.cell.config["data"]:
            raise BenchError(f"files of {task.folder.root} changed since the run was planned; run it again")
        content = cell_content(run, self._machine)
        if self._store is not None:
            if run.maps is not None:
                run.maps.write(self._store.maps_path(task.cell), task.cell.key, run.scores)
            self._store.write(task.cell, content)
        self._listener.finished(task.cell, content)

    def _failed(self, cell: CellId, error: BaseException) -> None:
        reason, trace = reason_of(error), "".join(traceback.format_exception(error))
        self.outcome.failed.append((cell, reason))
        if self._store is not None:
            self._store.fail(cell, reason, trace)
        self._listener.failure(cell, reason, trace)


def execute(plan: Plan, store: CellStore, machine: Machine, listener: Listener | None = None) -> Outcome:
    """Compute the plan's tasks here and write their cells; what fails is recorded, and the others go on."""
    complete_cells(plan, store)
    with Worker(store, machine, listener) as worker:
        for unit in plan.units(machine.memory, machine.models_room()):
            worker.run(unit)
    return worker.outcome


def complete_cells(plan: Plan, store: CellStore) -> None:
    """Write to finished cells what they lack; raises `BenchError` if the store cannot be written to."""
    store.ensure_writable()
    for cell, facts in plan.lacking:
        if (finished := store.read(cell)) is not None:
            store.write(cell, {**finished, **facts})
