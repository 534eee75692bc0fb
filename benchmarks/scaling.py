"""Cost as work grows: workers, images, classes, methods; and the plan's estimates beside the truth.

    python -m benchmarks.scaling [--figure docs/scaling.png]

Ratios within one run are what to compare: other work may share the machine. Up to as many workers as there
are cores are measured; beyond, the driver's schedule is simulated, with the test images of the catalog and
the seconds an image measured here. Prints Markdown.
"""

import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from tabulate import tabulate

from bench.run.cost import Rates
from bench.run.engines.cells import execute_on
from bench.run.engines.driver import Engine
from bench.run.engines.processes import ProcessPool
from bench.run.engines.remote import Message
from bench.run.engines.schedule import Item, simulate
from bench.run.execute import Listener, execute
from bench.run.machine import Machine
from bench.run.plan import Plan
from bench.run.planner import make_plan
from bench.run.protocol import parse_methods
from bench.store.cells import CellStore
from bench.store.digests import sha256
from benchmarks.common import apart, parser_of, peak_memory, write_dataset
from datasets.catalog import CATALOG, GROUPS
from datasets.meta import open_dataset
from methods.backbones import mini

CPU = Machine(workers=1, models=8 << 30)
MODELS = ("clip:mini", "winclip:mini")
WORKERS = (1, 2, 4, 8, 16, 32)


def classes_of(count: int, images: int = 24) -> dict[str, int]:
    """Return so many classes with their numbers of images."""
    return {f"part{place}": images for place in range(count)}


def plan_of(root: Path, methods: tuple[str, ...], data: Path, results: Path) -> Plan:
    """Return the plan of all methods on the data; weights of small models lie below `root`."""
    requests = parse_methods(methods, {})
    mini.install(root / "weights")
    store = CellStore(results)
    return make_plan(requests, [open_dataset(data)], store, weights_root=root / "weights", digest=sha256)


class TimedPool(ProcessPool):
    """Notes when the last of the workers was ready."""

    ready: float = 0.0

    def hear(self, seconds: float) -> list[tuple[str, Message]]:
        heard = super().hear(seconds)
        if any(message == ("event", "ready") for _, message in heard):
            TimedPool.ready = time.perf_counter()
        return heard


def on_workers(plan: Plan, root: Path, results: Path, count: int) -> dict[str, float]:
    """Return seconds until all workers are ready, seconds of work, and the driver's CPU seconds."""
    engine = Engine(partial(TimedPool, devices=["cpu"] * count), {"weights": root / "weights"})
    started, cpu = time.perf_counter(), time.process_time()
    outcome = execute_on(engine, plan, CellStore(results), CPU, Listener())
    assert len(outcome.finished) == len(plan.tasks), outcome.failed
    ended = time.perf_counter()
    return {
        "start": TimedPool.ready - started,
        "work": ended - TimedPool.ready,
        "driver": time.process_time() - cpu,
    }


def workers(root: Path) -> tuple[list[dict[str, Any]], int]:
    """Measure one worker and as many as there are cores, twice each in turn; the better time counts."""
    data = write_dataset(root / "workers", classes_of(12))
    plan = plan_of(root, MODELS, data, root / "none")
    counts = sorted({1, min(2, os.cpu_count() or 1)})
    taken: dict[int, list[dict[str, float]]] = {count: [] for count in counts}
    for turn in range(2):
        for count in counts:
            taken[count].append(on_workers(plan, root, root / f"workers-{count}-{turn}", count))
    best = {count: min(each["work"] for each in of) for count, of in taken.items()}
    rows = [
        {
            "workers": count,
            "start s": min(each["start"] for each in taken[count]),
            "work s": best[count],
            "times faster": best[1] / best[count],
            "driver CPU ms a cell": 1e3 * min(each["driver"] for each in taken[count]) / len(plan.tasks),
        }
        for count in counts
    ]
    return rows, len(plan.tasks)


def catalog_items(rate: float, methods: int) -> list[Item]:
    """Return the classes of the paper's fourteen datasets as units of tasks that take `rate` s an image."""
    found: list[Item] = []
    for key in GROUPS["all"]:
        for counts in CATALOG[key].expected(None).values():
            if images := sum(count or 0 for count in counts):
                keys = [f"{len(found)}.{method}" for method in range(methods)]
                found.append(Item(len(found), keys, images * rate * methods, "m"))
    return found


def simulated(rate: float, methods: int = 13) -> list[dict[str, Any]]:
    """Simulate the schedule of all methods on the fourteen datasets; ideal is an equal share for each worker.

    Units larger than an equal share are split; that their images are then read twice is not counted.
    """
    items = catalog_items(rate, methods)
    total = sum(item.cost for item in items)
    rows = []
    for count in WORKERS:
        hours = simulate(items, count) / 3600
        in_order = _in_order([item.cost for item in items], count) / 3600
        rows.append(
            {
                "workers": count,
                "hours": hours,
                "times faster": total / 3600 / hours,
                "of the ideal": total / 3600 / count / hours,
                "hours, whole units in the catalog's order": in_order,
                "times faster so": total / 3600 / in_order,
            }
        )
    return rows


def _in_order(costs: list[float], count: int) -> float:
    free = [0.0] * count
    for cost in costs:
        worker = min(range(count), key=free.__getitem__)
        free[worker] += cost
    return max(free)


def cost(root: Path, methods: tuple[str, ...], data: Path, name: str) -> dict[str, Any]:
    """Return CPU seconds and growth of memory of a run in this process, after one small run before."""
    small = write_dataset(root / f"{name}-before", classes_of(1, 8))
    execute(plan_of(root, methods, small, root / "none"), CellStore(root / f"{name}-before-runs"), CPU)
    plan = plan_of(root, methods, data, root / "none")
    before, cpu = peak_memory(), time.process_time()
    outcome = execute(plan, CellStore(root / f"{name}-runs"), CPU)
    assert not outcome.failed, outcome.failed
    seconds = time.process_time() - cpu
    return {
        "cells": len(plan.tasks),
        "images": plan.n_images,
        "CPU s": seconds,
        "ms an image": 1e3 * seconds / plan.n_images,
        "more memory MiB": peak_memory() - before,
        "the plan's bound MiB": plan.metrics_memory() / 2**20,
    }


def growth(root: Path) -> dict[str, list[dict[str, Any]]]:
    """Measure runs with more images, classes and methods."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for level, masks in (("image level", False), ("pixel level", True)):
        rows = []
        for images in (64, 256, 1024):
            name = f"images-{images}-{masks}"
            data = write_dataset(root / name, classes_of(1, images), masks=masks)
            rows.append({"images a class": images} | apart(cost, root, ("chance",), data, name))
        tables[f"Images, {level} (chance, 224 px)"] = rows
    rows = []
    for classes in (2, 8):
        data = write_dataset(root / f"classes-{classes}", classes_of(classes))
        rows.append({"classes": classes} | apart(cost, root, ("clip:mini",), data, f"classes-{classes}"))
    tables["Classes (clip:mini, 24 images each)"] = rows
    data = write_dataset(root / "methods", classes_of(2))
    rows = []
    for methods in (MODELS[:1], MODELS, ("chance", "oracle", *MODELS)):
        rows.append({"methods": " ".join(methods)} | apart(cost, root, methods, data, f"m{len(methods)}"))
    tables["Methods (2 classes of 24 images)"] = rows
    return tables


def estimates(root: Path) -> list[dict[str, Any]]:
    """Compare what past cells foretell of a run three times as large with what it took."""
    small, large = (write_dataset(root / f"past-{count}", classes_of(count)) for count in (3, 9))
    rows = []
    for method in MODELS:
        store, key = CellStore(root / f"past-{method}-runs"), method.partition(":")[0]
        execute(plan_of(root, (method,), small, store.root), store, CPU)
        rates = Rates.measured(store.of_method(key))
        plan = plan_of(root, (method,), large, store.root)
        foretold = sum(rates.weight(task, "cpu") for task in plan.tasks)
        size = (rates.cell_bytes or 0) * plan.n_images
        started, known = time.perf_counter(), set(store.root.rglob("*.json"))
        execute(plan, store, CPU)
        took = time.perf_counter() - started
        written = sum(path.stat().st_size for path in store.root.rglob("*.json") if path not in known)
        rows.append(
            {
                "method": method,
                "foretold s": foretold,
                "took s": took,
                "took / foretold": took / foretold,
                "foretold KB": size / 1e3,
                "written KB": written / 1e3,
                "written / foretold": written / size,
            }
        )
    return rows


def draw(path: Path, measured: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    """Draw times faster over workers."""
    import matplotlib  # noqa: PLC0415

    matplotlib.use("agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(4.2, 3.2), layout="constrained")
    counts = [row["workers"] for row in rows]
    axes.plot(counts, counts, color="0.7", linewidth=1, label="ideal")
    axes.plot(counts, [row["times faster"] for row in rows], "o-", label="this schedule, simulated")
    in_order = [row["times faster so"] for row in rows]
    axes.plot(counts, in_order, "s--", markersize=4, label="whole units in catalog's order")
    axes.plot(
        [row["workers"] for row in measured],
        [row["times faster"] for row in measured],
        "k*",
        label="measured",
    )
    axes.set(
        xscale="log", yscale="log", xlabel="workers", ylabel="times faster", xticks=counts, yticks=counts
    )
    axes.set_xticklabels(map(str, counts))
    axes.set_yticklabels(map(str, counts))
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--figure", type=Path, help="draw the workers here")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="zsad-scaling-") as folder:
        root = Path(folder)
        load = os.getloadavg()[0]
        measured, cells = workers(root)
        _show(f"Workers, measured ({', '.join(MODELS)}: {cells} cells; load {load:.1f} before)", measured)
        rate = measured[0]["work s"] / (cells * 24)
        rows = simulated(rate)
        _show(f"Workers, simulated (13 methods, the fourteen datasets, {rate:.3f} s an image each)", rows)
        if parsed.figure:
            draw(parsed.figure, measured, rows)
        for title, table in growth(root).items():
            _show(title, table)
        _show("Estimates beside the truth", estimates(root))


def _show(title: str, rows: list[dict[str, Any]]) -> None:
    print(f"\n## {title}\n\n{tabulate(rows, headers='keys', tablefmt='github', floatfmt='.3g')}", flush=True)


if __name__ == "__main__":
    main()
