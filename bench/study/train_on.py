"""Independent trainings on several workers: each as in one process, on whichever worker is free."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.errors import BenchError, reason_of
from bench.run.engines.driver import Engine
from bench.run.engines.remote import Link, RefusedError, Site
from bench.run.engines.schedule import Item
from bench.run.machine import Machine
from bench.study.job import Digest, TrainJob, examples_of, record_of
from bench.study.train import TrainListener, train


def train_on(
    engine: Engine, jobs: Sequence[TrainJob], machine: Machine, digest: Digest, say: Callable[[str], None]
) -> list[str]:
    """Train all `jobs` on workers like `machine`; returns the reasons of those that failed.

    Nodes share the weights folder. A training whose worker ended goes on elsewhere after its last epoch.
    `say` gets a line for each epoch, result and event of the engine.
    """
    if engine.collect:
        raise BenchError("trainings are not collected: the nodes must share the weights folder")
    if not jobs:
        return []
    records = _Records({str(job.out): job for job in jobs}, say)
    parcel = tuple((job, record_of(job, digest).data) for job in jobs)
    items = [
        Item(place, [str(job.out)], float(job.epochs * len(examples_of(job))), job.request.key)
        for place, job in enumerate(jobs)
    ]
    for folder in {job.out.parent for job in jobs}:
        folder.mkdir(parents=True, exist_ok=True)
    engine.run(TrainPerformer, parcel, items, machine, records, engine.roots["weights"])
    return records.failures


class _Records:
    def __init__(self, jobs: Mapping[str, TrainJob], say: Callable[[str], None]) -> None:
        self.failures: list[str] = []
        self._jobs, self._say = jobs, say

    def written(self, key: str, content: Any) -> None:
        self._say(f"wrote {self._jobs[key].out}")

    def failed(self, key: str, reason: str, trace: str | None) -> None:
        self.failures.append(f"{self._jobs[key]}: {reason}")
        self._say(f"failed: {self._jobs[key]}: {reason}")

    def event(self, name: str, *told: Any) -> None:
        if name == "epoch":
            self._say(str(told[0]))

    def remark(self, text: str) -> None:
        self._say(f"note: {text}")


class TrainPerformer:
    """Trains in a worker's process."""

    def __init__(self, site: Site, link: Link) -> None:
        """Take the jobs, each with the fingerprints of its data."""
        self._site, self._link = site, link
        self._jobs: tuple[tuple[TrainJob, dict[str, str]], ...] = site.units

    def run(self, index: int, keys: frozenset[str]) -> None:
        """Train; raises `RefusedError` where files differ from those of the driver."""
        (key,) = keys
        job, data = self._jobs[index]
        self._site.compare((path, job.digests[role]) for role, path in job.files.items())
        try:
            found = record_of(job, self._site.digest).data
        except OSError as error:
            raise RefusedError(f"{job}: {error}") from error
        if found != data:
            raise RefusedError(f"{job}: other training data than the driver's")
        try:
            train(job, self._site.machine, self._site.digest, _Relay(job, self._link))
        except Exception as error:
            self._link.failed(key, reason_of(error), None)
        else:
            self._link.written(key)

    def settle(self) -> None:
        """Nothing is left behind."""


class _Relay(TrainListener):
    def __init__(self, job: TrainJob, link: Link) -> None:
        self._job, self._link = job, link

    def finished(self, number: int, losses: dict[str, float]) -> None:
        self._link.event("epoch", epoch_line(self._job, number, losses))


def epoch_line(job: TrainJob, number: int, losses: Mapping[str, float]) -> str:
    """Return what is said of a finished epoch."""
    terms = ", ".join(f"{name} {value:.4f}" for name, value in losses.items())
    return f"{job}: epoch {number}: {terms}"
