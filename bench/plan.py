"""From a request to a plan: which cells are wanted, with which weights, what is here, what is refused.

A plan is a value. It opens no image and builds no model; whoever holds it can run its tasks, here or on a
cluster, or only print it (`--dry-run`).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import metrics
from bench.cells import CellId, CellStore
from bench.errors import BenchError
from bench.protocol import MethodRequest, is_seen
from datasets.samples import ClassData, Folder, Sample
from methods import weights
from methods.weights import WeightsError

Digest = Callable[[Path], str]


@dataclass(frozen=True)
class Settings:
    """What holds for all cells of a request and can change their numbers."""

    precision: str = "float32"
    masks: str = "resized"
    """`resized`: to the method's map size, as published codes do; `native`: maps go to the mask's size."""
    mask_threshold: int = 0
    metrics_mode: str = "exact"
    aupro_flavour: str = "numpy1"
    limit: int | None = None
    """At most so many images a class; marks the cells partial."""

    def as_config(self) -> dict[str, Any]:
        """Return the part of a cell's configuration that these settings fill."""
        return {
            "masks": self.masks,
            "mask_threshold": self.mask_threshold,
            "metrics_mode": self.metrics_mode,
            "aupro_flavour": self.aupro_flavour,
            "metrics_version": metrics.VERSION,
            "limit": self.limit,
        }


@dataclass(frozen=True)
class Permissions:
    """What the user explicitly allows; each leaves a mark on the cells it concerns."""

    seen: bool = False
    partial: bool = False


@dataclass(frozen=True)
class Task:
    """One cell to compute."""

    cell: CellId
    request: MethodRequest
    folder: Folder
    data: ClassData
    marks: tuple[str, ...]
    settings: Settings

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The images to look at; under a limit, evenly spaced, so that normal and anomalous ones occur."""
        everything, limit = self.data.samples, self.settings.limit
        if limit is None or limit >= len(everything):
            return everything
        return tuple(everything[index * len(everything) // limit] for index in range(limit))


@dataclass(frozen=True)
class Job:
    """The tasks that share one loaded model."""

    request: MethodRequest
    source: str | None
    options: Mapping[str, Any]
    files: Mapping[str, Path]
    tasks: tuple[Task, ...]

    def __str__(self) -> str:
        """Return a name for people."""
        variant = f":{self.request.variant}" if self.request.variant else ""
        return f"{self.request.key}{variant}" + (f" (trained on {self.source})" if self.source else "")


@dataclass(frozen=True)
class Refusal:
    """A method on a dataset that will not be run, and why."""

    method: str
    dataset: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What a run will do. `done` are the wanted cells that are here already."""

    jobs: tuple[Job, ...] = ()
    done: tuple[CellId, ...] = ()
    refused: tuple[Refusal, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """All cells to compute, in order."""
        return tuple(task for job in self.jobs for task in job.tasks)

    @property
    def wanted(self) -> tuple[CellId, ...]:
        """All cells the request covers, computed already or not (refused ones have no cell)."""
        return (*self.done, *(task.cell for task in self.tasks))

    @property
    def n_images(self) -> int:
        """Images to look at."""
        return sum(len(task.samples) for task in self.tasks)

    def metrics_memory(self) -> int:
        """Return the bytes that the metrics will need at most: two classes, one computed, one collected."""
        needs = sorted(
            metrics.memory_estimate(
                len(task.samples) * int(job.options["image_size"]) ** 2, task.settings.metrics_mode
            )
            for job in self.jobs
            for task in job.tasks
            if task.data.has_pixel_level
        )
        return sum(needs[-2:])

    def shard(self, index: int, count: int) -> "Plan":
        """Return the part `index` (from 1) of `count`; the parts are disjoint and together everything."""
        if not 1 <= index <= count:
            raise BenchError(f"--shard {index}/{count}: the first number goes from 1 to {count}")

        def mine(cell: CellId) -> bool:
            return int(cell.key, 16) % count == index - 1

        jobs = tuple(
            Job(job.request, job.source, job.options, job.files, tasks)
            for job in self.jobs
            if (tasks := tuple(task for task in job.tasks if mine(task.cell)))
        )
        return Plan(jobs, tuple(cell for cell in self.done if mine(cell)), self.refused, self.warnings)


def make_plan(
    requests: Sequence[MethodRequest],
    folders: Sequence[Folder],
    store: CellStore,
    *,
    weights_root: Path,
    digest: Digest,
    settings: Settings | None = None,
    source: str | None = None,
    allow: Permissions | None = None,
    force: bool = False,
) -> Plan:
    """Return the plan for all requests on all folders.

    `source` overrides the protocol's choice of weights. `digest` gives a file's SHA-256 (see
    `bench.digests`); it is asked for every image, so pass one that remembers.
    """
    settings, allow = settings or Settings(), allow or Permissions()
    jobs: list[Job] = []
    done: list[CellId] = []
    refused: list[Refusal] = []
    known_files: dict[Path, tuple[str, bool]] = {}
    fingerprints = {
        (folder.key, data.key): data.fingerprint(digest) for folder in folders for data in folder.classes
    }
    for request in requests:
        groups: dict[str, list[Task]] = {}
        shared: dict[str, tuple[str | None, dict[str, Any], dict[str, Path]]] = {}
        for folder in folders:
            target = folder.entry.key if folder.entry else folder.key
            options = request.options(target)
            trained_on = (
                source
                if source and request.detector.sources
                else request.detector.source_for(target, options)
            )
            try:
                marks = _marks(request, folder, target, trained_on, settings, allow)
                files, digests, untrained = _weights(
                    request, options, trained_on, weights_root, digest, known_files
                )
            except (BenchError, WeightsError) as error:
                refused.append(Refusal(request.key, folder.key, str(error)))
                continue
            if untrained:
                marks = (*marks, "untrained")
            for data in folder.classes:
                config = {
                    "method_version": request.detector.version,
                    "options": options,
                    "precision": settings.precision,
                    "prompt": data.prompt,
                    "weights": digests,
                    "data": fingerprints[folder.key, data.key],
                    "protocol": settings.as_config(),
                }
                cell = CellId(request.key, trained_on, folder.key, data.key, _plain(config))
                if not force and store.read(cell) is not None:
                    done.append(cell)
                    continue
                job_key = repr((trained_on, sorted(options.items()), sorted(digests.items())))
                shared[job_key] = (trained_on, options, files)
                groups.setdefault(job_key, []).append(Task(cell, request, folder, data, marks, settings))
        jobs += [Job(request, *shared[job_key], tuple(tasks)) for job_key, tasks in groups.items()]
    warnings = tuple(f"{folder.key}: {warning}" for folder in folders for warning in folder.warnings)
    return Plan(tuple(jobs), tuple(done), tuple(refused), warnings)


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    # A cell is JSON: tuples become lists before hashing, so that the key of a cell as read is the same.
    return {
        name: _plain(value) if isinstance(value, dict) else list(value) if isinstance(value, tuple) else value
        for name, value in config.items()
    }


def _marks(
    request: MethodRequest,
    folder: Folder,
    target: str,
    source: str | None,
    settings: Settings,
    allow: Permissions,
) -> tuple[str, ...]:
    marks = []
    if is_seen(source, target):
        if not allow.seen:
            raise BenchError(
                f"its weights were trained on {source}, which includes {target}: that is not zero-shot. "
                "Choose another --source, or run it marked and unranked with --allow-seen"
            )
        marks.append("seen")
    if target in request.detector.selected_on.get(source or "", ()):
        marks.append("selected")
    if folder.partial and not allow.partial:
        raise BenchError(
            f"{folder.root} does not hold the expected test images ({_brief(folder.differences)}). Run "
            f"`run_bench.py check {target}`; to go on with what is there, marked partial, add --allow-partial"
        )
    if folder.partial or settings.limit is not None:
        marks.append("partial")
    if folder.standin:
        marks.append("stand-in")
    if request.detector.privileged:
        marks.append("privileged")
    return tuple(marks)


def _brief(differences: Sequence[str], most: int = 3) -> str:
    rest = len(differences) - most
    return "; ".join(differences[:most]) + (f"; and {rest} more" if rest > 0 else "")


def _weights(
    request: MethodRequest,
    options: Mapping[str, Any],
    source: str | None,
    root: Path,
    digest: Digest,
    known: dict[Path, tuple[str, bool]],
) -> tuple[dict[str, Path], dict[str, str], bool]:
    """Return paths and digests by role, and whether any file is an untrained stand-in."""
    files: dict[str, Path] = {}
    missing = []
    for role, file in request.detector.files(options, source).items():
        path = weights.locate(file, root)
        if path is None:
            missing.append(file.name)
            continue
        files[role] = path
        if path not in known:
            known[path] = (weights.verify(path, file, root, digest=digest), weights.untrained(path, root))
    if missing:
        raise BenchError(
            f"weights missing below {root}: {', '.join(missing)}. Get them with "
            f"`run_bench.py weights --methods {request.key} --fetch`"
        )
    digests = {role: known[path][0] for role, path in files.items()}
    return files, digests, any(known[path][1] for path in files.values())


def summary(plan: Plan) -> str:
    """Return the plan as a few lines for people."""
    by_job = Counter(str(job) for job in plan.jobs for _ in job.tasks)
    lines = [
        f"{len(plan.wanted)} cells wanted, {len(plan.done)} here already, {len(plan.tasks)} to compute"
        f" ({plan.n_images:,} images)"
    ]
    lines += [f"  {count:4} cells  {job}" for job, count in by_job.items()]
    if plan.tasks:
        lines.append(f"  metrics need at most {plan.metrics_memory() / 2**20:,.0f} MiB beside the model")
    lines += [f"refused: {each.method} on {each.dataset}: {each.reason}" for each in plan.refused]
    lines += [f"warning: {warning}" for warning in plan.warnings]
    return "\n".join(lines)
