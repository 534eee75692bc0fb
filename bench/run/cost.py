"""What a plan will cost, by what the cells of past runs took; nothing is guessed where none are known."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

from bench.run.plan import Plan, Task
from bench.run.record import column_label
from bench.store.cells import Cell, CellStore

Column = tuple[str, str | None]
"""Method, and what tells its column from the method's own."""


@dataclass
class Rates:
    """What an image took in past cells; of what several methods shared there, each has its part."""

    seconds: Mapping[tuple[Column, str], float] = field(default_factory=dict)
    """(column, device's name) -> seconds an image: inference and metrics, the median over cells."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """Device's name -> `cpu` or `cuda`."""
    gpu_bytes: Mapping[Column, int] = field(default_factory=dict)
    """Column -> most memory of a GPU."""
    cell_bytes: float | None = None
    """Bytes of a cell, for each image in it."""

    @classmethod
    def of(cls, plan: Plan, store: CellStore) -> "Rates":
        """Return the rates of the plan's methods from the finished cells of a store."""
        methods = {task.cell.method for task in plan.tasks}
        return cls.measured(cell for method in sorted(methods) for cell in store.of_method(method))

    @classmethod
    def measured(cls, cells: Iterable[Cell]) -> "Rates":
        """Return the rates of finished cells; those that do not tell their time are passed over."""
        rates: dict[tuple[Column, str], list[float]] = defaultdict(list)
        kinds: dict[str, str] = {}
        gpu: dict[Column, int] = {}
        size = images = 0
        for cell in cells:
            timing, made = cell.get("timing") or {}, cell.get("provenance") or {}
            count = len(cell.get("scores") or ())
            if not count or "inference_s" not in timing or "device" not in made:
                continue
            column = cell["method"], cell.get("preset")
            taken = timing["inference_s"] + timing.get("metrics_s", 0.0)
            rates[column, made["device"]].append(taken / count)
            kinds[made["device"]] = made["device_type"]
            gpu[column] = max(gpu.get(column, 0), timing.get("peak_gpu_bytes") or 0)
            size, images = size + len(json.dumps(cell, indent=1, ensure_ascii=False)), images + count
        return cls(
            {key: median(each) for key, each in rates.items()}, kinds, gpu, size / images if images else None
        )

    def weight(self, task: Task, kind: str) -> float:
        """Return what the task costs on a device of a kind: seconds, or images where no rate is known."""
        known = {
            column: rate for (column, device), rate in self.seconds.items() if self.kinds[device] == kind
        }
        usual = sum(known.values()) / len(known) if known else 1.0
        return len(task.samples) * known.get(column_of(task), usual)


def column_of(task: Task) -> Column:
    """Return the task's method and what tells its column from the method's own."""
    return task.cell.method, column_label(task)


def forecast(plan: Plan, rates: Rates) -> list[str]:
    """Return lines for people: hours on one worker, for each device that rates are known of, and disk."""
    images: dict[Column, int] = defaultdict(int)
    for task in plan.tasks:
        images[column_of(task)] += len(task.samples)
    if not images:
        return []
    lines = [_time(images, rates, device) for device in sorted(rates.kinds)]
    without = [column for column in images if not any(known == column for known, _ in rates.seconds)]
    if without:
        lines.append(f"no past cell tells how long these take: {_named(without, images)}")
    if rates.cell_bytes:
        size = rates.cell_bytes * sum(images.values())
        lines.append(f"cells will take about {size / 1e6:,.2f} MB")
    return lines


def _time(images: Mapping[Column, int], rates: Rates, device: str) -> str:
    known = {column: rates.seconds[column, device] for column in images if (column, device) in rates.seconds}
    hours = sum(images[column] * rate for column, rate in known.items()) / 3600
    on_gpu = rates.kinds[device] == "cuda"
    text = f"by past cells {hours:,.3g} hours on one worker with {device}"
    if on_gpu:
        most = max(rates.gpu_bytes.get(column, 0) for column in known) if known else 0
        text += f", {hours:,.3g} GPU hours, at most {most / 2**30:,.1f} GiB of its memory"
    rest = [column for column in images if column not in known]
    return text + (f", without {_named(rest, images)}" if rest else "")


def _named(columns: Iterable[Column], images: Mapping[Column, int]) -> str:
    return ", ".join(
        f"{method}{f' ({label})' if label else ''}: {images[method, label]:,} images"
        for method, label in columns
    )
