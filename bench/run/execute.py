"""The order of a run: models one after the other, classes one after the other, one cell each."""

import time
import traceback
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from bench.errors import BenchError
from bench.run.collect import Collected, collect, load, refuse_batchwise
from bench.run.machine import Machine
from bench.run.plan import Job, Plan, Task
from bench.run.record import cell_content, image_report, pixel_report
from bench.store.cells import CellId, CellStore
from datasets.truth import summarise


@dataclass
class Outcome:
    """What a run did."""

    finished: list[CellId] = field(default_factory=list)
    failed: list[tuple[CellId, str]] = field(default_factory=list)


class Listener:
    """Is told how a run goes; the base class ignores everything."""

    def job(self, job: Job) -> None:
        """A model is about to be loaded."""

    def task(self, task: Task) -> None:
        """A class begins."""

    def images(self, count: int) -> None:
        """`count` more images are done."""

    def remark(self, cell: CellId, text: str) -> None:
        """Hear what is odd about a class's masks."""

    def failure(self, cell: CellId, reason: str) -> None:
        """A cell failed."""


def execute(plan: Plan, store: CellStore, machine: Machine, listener: Listener | None = None) -> Outcome:
    """Compute the plan's tasks and write their cells.

    A task that fails is recorded with its reason, and the others go on. The metrics of one class are
    computed while the next one is being inferred, at most one class behind, so that memory stays bounded.
    """
    listener = listener or Listener()
    outcome = Outcome()
    store.ensure_writable()
    for cell, facts in plan.lacking:
        if (finished := store.read(cell)) is not None:
            store.write(cell, {**finished, **facts})
    with ThreadPoolExecutor(1, thread_name_prefix="metrics") as finisher:
        behind: deque[tuple[Task, Future[None]]] = deque()

        def settle(keep: int) -> None:
            while len(behind) > keep:
                task, future = behind.popleft()
                try:
                    future.result()
                    outcome.finished.append(task.cell)
                except Exception as error:
                    _failed(task.cell, error, store, outcome, listener)

        looked_over: set[str] = set()
        for job in plan.jobs:
            listener.job(job)
            try:
                model, load_seconds = load(job, machine.device)
                name = repr((job.request.key, model.version, sorted(job.options.items())))
                if name not in looked_over and any(
                    refuse_batchwise(model, task, machine) for task in job.tasks
                ):
                    looked_over.add(name)
            except _FAILURES as error:
                settle(0)
                for task in job.tasks:
                    _failed(task.cell, error, store, outcome, listener)
                continue
            for task in job.tasks:
                listener.task(task)
                try:
                    collected = collect(model, task, machine, listener.images)
                    collected.seconds["load"] = load_seconds
                except _FAILURES as error:
                    _failed(task.cell, error, store, outcome, listener)
                    continue
                for text in summarise(collected.remarks):
                    listener.remark(task.cell, text)
                settle(0)
                behind.append((task, finisher.submit(_finish, collected, task, job, store, machine)))
            del model
        settle(0)
    return outcome


_FAILURES = (Exception, SystemExit)
"""What fails one model or cell and lets the others go on; a method may call `sys.exit`."""


def _failed(
    cell: CellId, error: BaseException, store: CellStore, outcome: Outcome, listener: Listener
) -> None:
    expected = isinstance(error, BenchError)
    reason = str(error) if expected else f"{type(error).__name__}: {error}"
    outcome.failed.append((cell, reason))
    listener.failure(cell, reason)
    store.fail(cell, reason, "".join(traceback.format_exception(error)))


def _finish(collected: Collected, task: Task, job: Job, store: CellStore, machine: Machine) -> None:
    # A cell never carries the fingerprint of other data than were read.
    if task.data.fingerprint(machine.digest) != task.cell.config["data"]:
        raise BenchError(f"files of {task.folder.root} changed since the run was planned; run it again")
    started = time.perf_counter()
    image = image_report(collected.scores, task.data.no_image_level)
    pixel = pixel_report(collected.pixels, task.data.no_pixel_level)
    collected.seconds["metrics"] += time.perf_counter() - started
    store.write(task.cell, cell_content(collected, task, job, image, pixel, machine))
