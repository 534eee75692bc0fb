"""What the whole table takes on this device: estimated, then measured with the suite's own runs.

    python -m benchmarks.table                                          # true sizes
    python -m benchmarks.table --preset mini --images 8                 # a quick try
    python -m benchmarks.table --methods vand winclip --precision float32 bfloat16 --batch-size 1 8

Weights are untrained stand-ins (speed and memory do not depend on values); pictures are generated, of 1000 x
1000 pixels, half of them with a defect. Estimated is the encoder's arithmetic at the rate of a plain matrix
product: no run is faster. Measured is what a run's cells say of their time, after two images of another
class, every configuration in a process of its own; `all in one pass` reads each picture once for all methods.
Reading is that of all threads, divided by their number; on a CPU what the host does counts as the device's.
Prints Markdown.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from tabulate import tabulate
from torch.utils.flop_counter import FlopCounterMode

from bench.demo.untrained import write_untrained
from bench.errors import BenchError
from bench.run.execute import Worker
from bench.run.machine import Machine, choose_device, cores, wait
from bench.run.plan import Permissions, Settings
from bench.run.planner import make_plan
from bench.run.protocol import MethodRequest, parse_methods, setup
from bench.store.cells import CellStore
from benchmarks.common import apart, parser_of, peak_memory, processor, write_dataset
from datasets.catalog import CATALOG, GROUPS
from datasets.files import sha256_of
from datasets.meta import open_dataset
from methods.precision import AUTOCAST, PRECISIONS, lowered

SIDE = 1000
"""Pixels of a picture's side, as in the industrial datasets."""
PARTS = ("reading", "host", "device", "metrics")


class Setting(NamedTuple):
    """What one process measures."""

    requests: Sequence[MethodRequest]
    data: Path
    weights: Path
    device: str
    precision: str
    batch_size: int
    workers: int


def table_images() -> tuple[int, list[str]]:
    """Return how many test images the table's fourteen datasets hold by the catalog, and the titles of those
    whose count it does not know in full.
    """
    counts = {key: [each.counts for each in CATALOG[key].classes] for key in GROUPS["all"]}
    unknown = [CATALOG[key].title for key, pairs in counts.items() if any(None in pair for pair in pairs)]
    return sum(count or 0 for pairs in counts.values() for pair in pairs for count in pair), unknown


def estimate(setting: Setting) -> dict[str, float]:
    """Return the encoder's GFLOP an image and the device's GFLOP a second in a matrix product."""
    device = torch.device(setting.device)
    (request,) = setting.requests
    options, _, files = setup(request, "*")
    model = request.detector.load(
        {role: setting.weights / file.name for role, file in files.items()}, **options
    )
    model = model.to(device).eval().requires_grad_(False)
    picture = Image.new("RGB", (SIDE, SIDE), (90, 120, 60))
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model.encoded(model.preprocess(picture)[None].to(device))
    side = 8192 if device.type == "cuda" else 1024
    dtype = getattr(torch, setting.precision) if setting.precision in AUTOCAST else torch.float32
    matrix = torch.randn(side, side, device=device, dtype=dtype)
    seconds = []
    with lowered(setting.precision, device):
        for _ in range(3):
            wait(device)
            started = time.perf_counter()
            _ = matrix @ matrix
            wait(device)
            seconds.append(time.perf_counter() - started)
    return {"gflop": counter.get_total_flops() / 1e9, "rate": 2 * side**3 / min(seconds) / 1e9}


def measure(setting: Setting) -> dict[str, Any]:
    """Run the methods on a second class in one pass, after a first; returns seconds an image, in parts."""
    device = torch.device(setting.device)
    with tempfile.TemporaryDirectory(prefix="zsad-table-") as results:
        store = CellStore(Path(results))
        plan = make_plan(
            setting.requests,
            [open_dataset(setting.data)],
            store,
            weights_root=setting.weights,
            digest=sha256_of,
            settings=Settings(setting.precision),
            allow=Permissions(seen=True, partial=True),
            device=device.type,
        )
        machine = Machine(device, setting.batch_size, setting.workers)
        with Worker(store, machine) as worker:
            first, *others = plan.units(machine.memory, machine.models_room())
            worker.run(first)  # loads the models, holds each once to its batches, warms the device
            worker.settle()
            kernels = _profiled(device)
            cpu, started = time.process_time(), time.perf_counter()
            with kernels:
                for unit in others:
                    worker.run(unit)
                worker.settle()
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        problems = [*(refusal.reason for refusal in plan.refused), *(why for _, why in worker.outcome.failed)]
        if problems:
            raise BenchError(problems[0])
        cells = [cell for unit in others for task in unit if (cell := store.read(task.cell)) is not None]
    images = len(cells[0]["scores"])
    total = {
        part: sum(cell["timing"][f"{part}_s"] for cell in cells) for part in ("read", "inference", "metrics")
    }
    on_device = _device_seconds(kernels) if device.type == "cuda" else total["inference"]
    parts = {
        "reading": total["read"] / max(setting.workers, 1),
        "host": max(total["inference"] - on_device, 0.0),
        "device": on_device,
        "metrics": total["metrics"],
    }
    return {
        "parts": {part: value / images for part, value in parts.items()},
        "image": seconds / images,
        "cpu": cpu / images,
        "memory": _peak(device),
    }


def _profiled(device: torch.device) -> Any:
    activities = [torch.profiler.ProfilerActivity.CUDA] if device.type == "cuda" else []
    return torch.profiler.profile(activities=activities) if activities else nullcontext()


def _device_seconds(kernels: Any) -> float:
    return sum(event.self_device_time_total for event in kernels.key_averages()) / 1e6


def _peak(device: torch.device) -> float:
    on_gpu = device.type == "cuda"
    return torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else peak_memory()


def row(label: str, measured: Mapping[str, Any], images: int, estimated: Mapping[str, float] | None) -> dict:
    """Return a row: what was estimated and measured, and hours for a table of so many images."""
    parts = measured["parts"]
    whole = sum(parts.values())
    at_best = estimated["gflop"] / estimated["rate"] if estimated else None
    return {
        "method": label,
        "GFLOP/image": estimated["gflop"] if estimated else None,
        "estimated images/s": 1 / at_best if at_best else None,
        "images/s": 1 / measured["image"],
        **{f"{part} %": 100 * parts[part] / whole for part in PARTS},
        "bottleneck": max(parts, key=parts.__getitem__),
        "CPU s/image": measured["cpu"],
        "peak MiB": measured["memory"],
        "estimated hours": at_best * images / 3600 if at_best else None,
        "hours": measured["image"] * images / 3600,
    }


def rows_of(setting: Setting, note: str) -> list[dict]:
    """Return one row a method, and one for all of them in one pass."""
    images, _ = table_images()
    wanted = [(request.word, setting._replace(requests=(request,))) for request in setting.requests]
    if len(wanted) > 1:
        wanted.append(("all in one pass", setting))
    rows = []
    for label, each in wanted:
        measured = apart(measure, each)
        speed = f"{1 / measured['image']:.3g} images/s, {measured['cpu']:.3g} CPU s/image"
        print(f"{label}{note}: {speed}", file=sys.stderr)
        estimated = apart(estimate, each) if len(each.requests) == 1 else None
        rows.append(row(label + note, measured, images, estimated))
    return rows


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--methods", nargs="+", default=["all"])
    parser.add_argument("--preset", help="of every method that has it, for example mini")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["float32"])
    parser.add_argument("--batch-size", nargs="+", type=int, default=[8])
    parser.add_argument("--workers", type=int, default=min(4, cores()), help="threads that read")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=16, help="pictures (default: 16)")
    parser.add_argument("--weights-root", type=Path, help="keep the stand-in weights here")
    parsed = parser.parse_args(words)
    try:
        device = choose_device(parsed.device)
        if parsed.images < 2:
            raise BenchError(f"--images {parsed.images}: at least 2, a normal and an anomalous one")
        with tempfile.TemporaryDirectory(prefix="zsad-table-") as temporary:
            weights = parsed.weights_root or Path(temporary) / "weights"
            classes = {"bottle": 2, "cable": parsed.images}
            data = write_dataset(Path(temporary) / "pictures", classes, (SIDE, SIDE))
            requests = [
                MethodRequest(request.key, parsed.preset)
                if parsed.preset in request.detector.presets
                else request
                for request in parse_methods(parsed.methods, {})
            ]
            for request in requests:
                write_untrained(request, ["*"], weights)
            rows = []
            for precision in parsed.precision:
                for size in parsed.batch_size:
                    setting = Setting(requests, data, weights, str(device), precision, size, parsed.workers)
                    rows += rows_of(setting, f", {precision}, batch {size}")
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    print(f"{name}, {os.cpu_count()} cores, {parsed.workers} reading threads, torch {torch.__version__};")
    images, unknown = table_images()
    without = f" (not counted: what the catalog does not count of {', '.join(unknown)})" if unknown else ""
    print(f"hours are for the {images:,} test images of the fourteen datasets{without}, models once loaded\n")
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3g"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
