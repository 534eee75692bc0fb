"""Which tasks are computed together: those on one class, as far as models and metrics fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import metrics

if TYPE_CHECKING:  # the plan groups by what is here
    from bench.run.plan import Job, Task


def together(jobs: Iterable[Job], memory: int | None) -> Iterator[tuple[Job, ...]]:
    """Yield the jobs, in order, in groups whose models fit into memory together (None: all do)."""
    return _fitting(jobs, model_bytes, memory)


def bounded(jobs: Iterable[Job], memory: int) -> Iterator[tuple[Job, ...]]:
    """Yield jobs of one task each, in order, in groups whose metrics fit into memory together."""
    return _fitting(jobs, _metrics_of, memory)


def _fitting(
    jobs: Iterable[Job], size: Callable[[tuple[Job, ...]], int], memory: int | None
) -> Iterator[tuple[Job, ...]]:
    """Yield groups of `size` at most `memory` bytes (None: one group); a job too large stands alone."""
    group: tuple[Job, ...] = ()
    for job in jobs:
        if group and memory is not None and size((*group, job)) > memory:
            yield group
            group = ()
        group = (*group, job)
    if group:
        yield group


def model_bytes(jobs: Iterable[Job]) -> int:
    """Return roughly the memory of the jobs' models: twice their files, of which many are half precision.

    A file that several have in common counts once, see `bench.run.models`.
    """
    return 2 * sum(_size(path) for path in {path for job in jobs for path in job.files.values()})


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # loading it will say so
        return 0


def by_class(jobs: Iterable[Job]) -> list[list[Job]]:
    """Return the tasks by class, in the order in which classes come, each in its job without the others."""
    classes: dict[tuple[Any, ...], list[Job]] = {}
    for job in jobs:
        for task in job.tasks:
            same = replace(task.settings, precision="")  # it may differ from method to method
            key = (task.folder.root, task.folder.key, task.data.key, same)
            classes.setdefault(key, []).append(replace(job, tasks=(task,)))
    return list(classes.values())


def _metrics_of(jobs: tuple[Job, ...]) -> int:
    return sum(metrics_bytes(job, task) for job in jobs for task in job.tasks)


def metrics_bytes(job: Job, task: Task) -> int:
    """Return the most bytes that the task's pixel metrics take."""
    if not task.data.has_pixel_level:
        return 0
    pixels = len(task.samples) * int(job.options["image_size"]) ** 2
    return metrics.memory_estimate(pixels, task.settings.metrics_mode)
