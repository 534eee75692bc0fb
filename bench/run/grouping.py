"""Which tasks are computed together: those on one class, as far as models and metrics fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import metrics
from bench.grouped import grouped

if TYPE_CHECKING:  # the plan groups by what is here
    from bench.run.plan import ModelSpec, Task

T = TypeVar("T")


def fitting(
    items: Iterable[T], size: Callable[[Sequence[T]], int], memory: int | None
) -> Iterator[tuple[T, ...]]:
    """Yield groups of `size` at most `memory` bytes (None: one group); what is too large stands alone."""
    group: tuple[T, ...] = ()
    for item in items:
        if group and memory is not None and size((*group, item)) > memory:
            yield group
            group = ()
        group = (*group, item)
    if group:
        yield group


def specs_of(tasks: Iterable[Task]) -> list[ModelSpec]:
    """Return the models that the tasks need, each once, in order."""
    specs: list[ModelSpec] = []
    for task in tasks:
        if task.spec not in specs:
            specs.append(task.spec)
    return specs


def model_bytes(specs: Iterable[ModelSpec]) -> int:
    """Return roughly the memory of the models: twice their files, of which many are half precision.

    A file that several have in common counts once, see `bench.run.models`.
    """
    return 2 * sum(_size(path) for path in {path for spec in specs for path in spec.files.values()})


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # loading it will say so
        return 0


def by_class(tasks: Iterable[Task]) -> list[list[Task]]:
    """Return the tasks by class, in the order in which classes come."""

    def of(task: Task) -> tuple[object, ...]:
        same = replace(task.settings, precision="")  # it may differ from method to method
        return task.folder.root, task.folder.key, task.data.key, same

    return list(grouped(tasks, of).values())


def metrics_bytes(tasks: Iterable[Task]) -> int:
    """Return the most bytes that the tasks' pixel metrics take."""
    return sum(
        metrics.memory_estimate(
            len(task.samples) * int(task.spec.options["image_size"]) ** 2, task.settings.metrics_mode
        )
        for task in tasks
        if task.data.has_pixel_level
    )
