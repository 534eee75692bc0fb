"""A worker: keeps loaded models, computes units of a plan one after the other, writes their cells."""

import time
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Self

from bench.errors import BenchError
from bench.run.collect import Collected, collect, load, refuse_batchwise
from bench.run.machine import Machine
from bench.run.plan import Job, Task, Unit
from bench.run.record import cell_content, image_report, pixel_report
from bench.store.cells import CellId, CellStore
from datasets.truth import summarise
from methods.base import ZeroShotDetector

_FAILURES = (Exception, SystemExit)
"""What fails one model or cell and lets the others go on; a method may call `sys.exit`."""


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


class Worker:
    """Computes units on one device; what fails is recorded with its reason, and the others go on.

    The metrics of one unit are computed while the next one is being inferred, at most one unit behind, so
    that memory stays bounded. Leave its context, or call `settle`, to have everything written.
    """

    def __init__(self, store: CellStore, machine: Machine, listener: Listener | None = None) -> None:
        """Write cells to `store`."""
        self.outcome = Outcome()
        self._store, self._machine, self._listener = store, machine, listener or Listener()
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self._behind: list[tuple[Task, Future[None]]] = []
        self._loaded: _Loaded | None = None

    def __enter__(self) -> Self:
        """Return the worker itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Finish what is behind, unless the run is being broken off."""
        if kind is None:
            self.settle()
        self._finisher.shutdown(wait=True)

    def run(self, unit: Unit) -> None:
        """Compute the unit's tasks; their cells are written by the end of the next call, or of `settle`."""
        for job in unit.jobs:
            for task in job.tasks:
                try:
                    loaded = self._load(job)
                    self._listener.task(task)
                    loaded.look_over(task, self._machine)
                    collected = collect(loaded.model, task, self._machine, self._listener.images)
                    collected.seconds["load"] = loaded.seconds
                except _FAILURES as error:
                    self._failed(task.cell, error)
                    continue
                for text in summarise(collected.remarks):
                    self._listener.remark(task.cell, text)
                self.settle()
                self._behind.append((task, self._finisher.submit(self._finish, collected, task, job)))

    def settle(self) -> None:
        """Wait until the cells of all units so far are written or failed."""
        while self._behind:
            task, future = self._behind.pop(0)
            try:
                future.result()
                self.outcome.finished.append(task.cell)
            except Exception as error:
                self._failed(task.cell, error)

    def _load(self, job: Job) -> "_Loaded":
        """Return the job's model, loaded once; raises again what loading it raised."""
        alone = replace(job, tasks=())
        if self._loaded is None or self._loaded.job != alone:
            self._loaded = None  # two models at once may not fit
            self._listener.job(job)
            self._loaded = _Loaded.of(alone, self._machine)
        if self._loaded.failure is not None:
            raise self._loaded.failure
        return self._loaded

    def _finish(self, collected: Collected, task: Task, job: Job) -> None:
        # A cell never carries the fingerprint of other data than were read.
        if task.data.fingerprint(self._machine.digest) != task.cell.config["data"]:
            raise BenchError(f"files of {task.folder.root} changed since the run was planned; run it again")
        started = time.perf_counter()
        image = image_report(collected.scores, task.data.no_image_level)
        pixel = pixel_report(collected.pixels, task.data.no_pixel_level)
        collected.seconds["metrics"] += time.perf_counter() - started
        if collected.maps is not None:
            collected.maps.write(self._store.maps_path(task.cell), task.cell.key, collected.scores)
        self._store.write(task.cell, cell_content(collected, task, job, image, pixel, self._machine))

    def _failed(self, cell: CellId, error: BaseException) -> None:
        expected = isinstance(error, BenchError)
        reason = str(error) if expected else f"{type(error).__name__}: {error}"
        self.outcome.failed.append((cell, reason))
        self._listener.failure(cell, reason)
        self._store.fail(cell, reason, "".join(traceback.format_exception(error)))


@dataclass
class _Loaded:
    """A job's model, or why there is none."""

    job: Job
    _model: ZeroShotDetector | None
    seconds: float
    failure: BaseException | None = None
    _looked_over: bool = False

    @classmethod
    def of(cls, job: Job, machine: Machine) -> Self:
        try:
            return cls(job, *load(job, machine.device))
        except _FAILURES as error:
            return cls(job, None, 0.0, error)

    @property
    def model(self) -> ZeroShotDetector:
        assert self._model is not None
        return self._model

    def look_over(self, task: Task, machine: Machine) -> None:
        """Refuse, on the first images that can be read, a model whose answers depend on the batch."""
        if not self._looked_over:
            try:
                self._looked_over = refuse_batchwise(self.model, task, machine)
            except _FAILURES as error:
                self.failure, self._model = error, None
                raise
