"""The plan: what a run will do, as a value.

It opens no image and builds no model; whoever holds it can run its tasks, here or on a cluster, or only
print it (`--dry-run`). `bench.run.planner` makes it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import metrics
from bench.errors import BenchError
from bench.run.grouping import by_class, fitting, metrics_bytes, model_bytes, specs_of
from bench.run.protocol import MethodRequest
from bench.store.cells import CellId
from bench.store.maps import largest_size
from bench.store.marks import Mark
from datasets.samples import ClassData, Folder, Sample
from methods.source import Source

# Operations a second of float32 matrix products, for an estimate.
_SPEEDS = {"a GPU at 40 TFLOP/s": 40e12, "a CPU core at 60 GFLOP/s": 60e9}
_WORTH_TELLING = 1e13
METRICS_MEMORY = 4 << 30
"""Bytes that the metrics of tasks side by side may take."""


@dataclass(frozen=True)
class Settings:
    """What holds for all cells of a request and can change their numbers."""

    precision: str = "float32"
    """Of `bench.run.precision.WORDS`; that of a task says what was chosen for its method."""
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
class ModelSpec:
    """What a model is loaded from; tasks with equal ones share it."""

    request: MethodRequest
    source: Source | None
    options: Mapping[str, Any]
    files: Mapping[str, Path]
    precision: str = "float32"
    """What its image encoder runs in."""

    def __str__(self) -> str:
        """Return a name for people."""
        trained = f" (trained on {self.source})" if self.source else ""
        lowered = f", encoder in {self.precision}" if self.precision != "float32" else ""
        return f"{self.request.word}{trained}{lowered}"


@dataclass(frozen=True)
class Task:
    """One cell to compute."""

    cell: CellId
    spec: ModelSpec
    folder: Folder
    data: ClassData
    marks: tuple[Mark, ...]
    settings: Settings
    facts: Mapping[str, Any]
    """Facts recorded in the cell beside its key: `target`, `protocol_source`, `setting`."""
    overlap: int = 0
    """Images of the class that the weights were trained on, by their digests."""
    save_maps: bool = False
    """Whether the maps are kept beside the cell (`bench.store.maps`)."""
    here: bool = False
    """Whether the cell is here already and only its maps are not: it is computed again for them."""

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The images to look at; under a limit, evenly spaced, so that normal and anomalous ones occur."""
        everything, limit = self.data.samples, self.settings.limit
        if limit is None or limit >= len(everything):
            return everything
        return tuple(everything[index * len(everything) // limit] for index in range(limit))


Unit = tuple[Task, ...]
"""What a worker takes at a time: tasks on one class."""


@dataclass(frozen=True)
class Refusal:
    """A method on a dataset that will not be run, and why."""

    method: str
    dataset: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What a run will do. `done` are the wanted cells that are here already."""

    tasks: tuple[Task, ...] = ()
    """The cells to compute; those of one model follow each other."""
    done: tuple[CellId, ...] = ()
    refused: tuple[Refusal, ...] = ()
    warnings: tuple[str, ...] = ()
    lacking: tuple[tuple[CellId, Mapping[str, Any]], ...] = ()
    """Finished cells and what they are to say besides: `facts` that an earlier version of the suite did not
    store, or that their class is `gone` from the dataset."""

    def units(
        self, metrics_memory: int = METRICS_MEMORY, models_memory: int | None = None
    ) -> tuple[Unit, ...]:
        """Return the tasks as units of work: all on one class, as far as memory goes.

        The metrics of a unit take at most `metrics_memory` bytes, unless one task alone takes more. Where not
        all models of the plan fit into `models_memory` bytes (None: they do), those that do go through all
        classes before the next ones.
        """
        return tuple(
            unit
            for specs in fitting(specs_of(self.tasks), model_bytes, models_memory)
            for of_class in by_class(task for task in self.tasks if task.spec in specs)
            for unit in fitting(of_class, metrics_bytes, metrics_memory)
        )

    @property
    def wanted(self) -> tuple[CellId, ...]:
        """All cells the request covers, computed already or not (refused ones have no cell)."""
        return (*self.done, *(task.cell for task in self.tasks))

    @property
    def n_images(self) -> int:
        """Images to look at."""
        return sum(len(task.samples) for task in self.tasks)

    def metrics_memory(self, most: int = METRICS_MEMORY) -> int:
        """Return the bytes that the metrics will need at most: two units, one computed, one collected.

        `most` is the bound of a unit, as given to `units`.
        """
        units: list[int] = []
        for of_class in by_class(self.tasks):
            needs = [metrics_bytes([task]) for task in of_class]
            whole, largest = sum(needs), max(needs, default=0)
            # A class that is split may be computed and collected at once.
            units += [whole] if whole <= most else 2 * [max(most, largest)] if len(needs) > 1 else needs
        return sum(sorted(units)[-2:])

    def maps_size(self) -> int:
        """Return the bytes that kept maps will take at most."""
        return sum(
            largest_size(len(task.samples), int(task.spec.options["image_size"]))
            for task in self.tasks
            if task.save_maps
        )

    def judge_flops(self) -> float:
        """Return the floating-point operations of comparing images of a class with each other, at least."""
        return sum(
            task.spec.request.detector.judge_flops(task.spec.options, len(task.samples))
            for task in self.tasks
        )

    def shard(self, index: int, count: int) -> "Plan":
        """Return the part `index` (from 1) of `count`: every so many-th class, with all that is asked of it.

        The parts are disjoint and together everything, also where some cells are here already.
        """
        if not 1 <= index <= count:
            raise BenchError(f"--shard {index}/{count}: the first number goes from 1 to {count}")
        classes = sorted({(cell.dataset, cell.class_key) for cell in self.wanted})
        mine = {*classes[index - 1 :: count]}
        tasks = tuple(task for task in self.tasks if (task.cell.dataset, task.cell.class_key) in mine)
        done = tuple(cell for cell in self.done if (cell.dataset, cell.class_key) in mine)
        return replace(self, tasks=tasks, done=done)


def summary(plan: Plan, metrics_memory: int = METRICS_MEMORY) -> str:
    """Return the plan as a few lines for people; `metrics_memory` as for `Plan.units`."""
    by_model = Counter(str(task.spec) for task in plan.tasks)
    lines = [
        f"{len(plan.wanted)} cells wanted, {len(plan.done)} here already, {len(plan.tasks)} to compute"
        f" ({plan.n_images:,} images)"
    ]
    lines += [f"  {count:4} cells  {model}" for model, count in by_model.items()]
    if plan.tasks:
        lines.append(
            f"  metrics need at most {plan.metrics_memory(metrics_memory) / 2**20:,.0f} MiB beside the model"
        )
    if size := plan.maps_size():
        lines.append(f"  kept maps take at most {size / 2**20:,.0f} MiB, smooth ones about a third of that")
    if again := sum(task.here for task in plan.tasks):
        lines.append(f"  {again} of these cells are here and are computed again, for their maps are not kept")
    if (flops := plan.judge_flops()) > _WORTH_TELLING:
        hours = [f"{flops / speed / 3600:,.3g} hours on {what}" for what, speed in _SPEEDS.items()]
        lines.append(
            f"  comparing images takes {flops / 1e15:,.2f} PFLOP, twice that where --memory is short:"
            f" about {', or '.join(hours)}"
        )
    lines += [f"refused: {each.method} on {each.dataset}: {each.reason}" for each in plan.refused]
    lines += [f"warning: {warning}" for warning in plan.warnings]
    return "\n".join(lines)
