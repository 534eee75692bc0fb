"""Runs a plan in this process: one worker, unit after unit."""

from bench.run.machine import Machine
from bench.run.plan import Plan
from bench.run.worker import Listener, Outcome, Worker
from bench.store.cells import CellStore

__all__ = ["Listener", "Outcome", "execute"]


def execute(plan: Plan, store: CellStore, machine: Machine, listener: Listener | None = None) -> Outcome:
    """Compute the plan's tasks and write their cells; what fails is recorded, and the others go on."""
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
