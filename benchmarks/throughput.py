"""Images per second of the methods, where the time goes, peak memory, and the drift of lower precision.

    python -m benchmarks.throughput --methods tipsomaly vand --batch-size 1 4
    python -m benchmarks.throughput --methods all --preset mini --precision float32 bfloat16

Weights are untrained stand-ins (speed and memory do not depend on values); pictures are generated. Every
configuration runs in a process of its own, so that peak memory is its own. Prints Markdown.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tabulate import tabulate
from torch.utils.flop_counter import FlopCounterMode

from bench.demo.untrained import write_untrained
from bench.run.machine import choose_device
from bench.run.protocol import MethodRequest, parse_methods, setup
from datasets.images import read_image
from methods.base import Prediction, ZeroShotDetector
from methods.precision import AUTOCAST, PRECISIONS, lowered
from metrics import PixelMetrics


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=["all"])
    parser.add_argument("--preset", help="of every method that has it, for example mini")
    parser.add_argument("--batch-size", nargs="+", type=int, default=[1])
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["float32"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=4, help="measured after one batch of warming up")
    parser.add_argument("--weights-root", type=Path, help="keep the stand-in weights here")
    parsed = parser.parse_args()
    device = choose_device(parsed.device)
    with tempfile.TemporaryDirectory(prefix="zsad-throughput-") as temporary:
        root = parsed.weights_root or Path(temporary) / "weights"
        requests = [
            MethodRequest(request.key, parsed.preset)
            if parsed.preset in request.detector.presets
            else request
            for request in parse_methods(parsed.methods, {})
        ]
        rows = []
        for request in requests:
            write_untrained(request, ["*"], root)
            for precision in parsed.precision:
                for batch_size in parsed.batch_size:
                    job = (request, root, str(device), precision, batch_size, parsed.images)
                    rows.append(_apart(job))
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine()
    )
    print(f"{name}, {os.cpu_count()} cores, torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3g"))


def _apart(job: tuple[Any, ...]) -> dict[str, Any]:
    """Run `measure` in a fresh process, so that memory of other configurations is not counted."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return dict(json.loads(pool.apply(measure, job)))


def measure(
    request: MethodRequest, root: Path, device_name: str, precision: str, batch_size: int, count: int
) -> str:
    """Return one row of the table as JSON."""
    device = torch.device(device_name)
    options, _, files = setup(request, "*")
    model = request.detector.load({role: root / file.name for role, file in files.items()}, **options)
    model = model.to(device).eval().requires_grad_(False)
    model.encoder_precision = precision
    picture = _picture()
    seconds = dict.fromkeys(("decode", "resize", "encoder", "map", "metrics"), 0.0)
    size = model.image_size
    mask = np.zeros((size, size), np.uint8)
    mask[size // 4 : size // 2, size // 4 : size // 2] = 1
    collected = PixelMetrics()
    batches = max(1, -(-count // batch_size))
    cpu = time.process_time()
    with torch.inference_mode():
        for batch in range(batches + 1):
            marks = [time.perf_counter()]
            images = [read_image(picture) for _ in range(batch_size)]
            marks.append(time.perf_counter())
            inputs = torch.stack([model.preprocess(image) for image in images]).to(device)
            marks.append(_now(device))
            features = model.encoded(inputs)
            marks.append(_now(device))
            answer = model.score(features, ["cable"] * batch_size)
            marks.append(_now(device))
            collected.add(answer.maps.float(), np.stack([mask] * batch_size))
            marks.append(time.perf_counter())
            if batch == 0:  # kernels chosen, texts encoded
                cpu = time.process_time()
                continue
            for part, start, end in zip(seconds, marks, marks[1:], strict=False):
                seconds[part] += end - start
        cpu = time.process_time() - cpu
        started = time.perf_counter()
        collected.result()
        seconds["metrics"] += time.perf_counter() - started
        images_seen = batches * batch_size
        row: dict[str, Any] = {
            "method": request.word,
            "precision": precision,
            "batch": batch_size,
            "images/s": images_seen / sum(seconds.values()),
            "CPU s/image": cpu / images_seen,
            **{f"{part} ms": 1000 * value / images_seen for part, value in seconds.items()},
            "peak MiB": _peak(device),
            **_share(model, inputs, precision, seconds["encoder"] / images_seen, device),
            **_drift(model, inputs, answer, precision),
        }
    return json.dumps(row)


def _picture() -> Path:
    path = Path(tempfile.gettempdir()) / f"zsad-throughput-{os.getuid()}.png"
    if not path.exists():
        rng = np.random.default_rng(0)
        coarse = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
        coarse.resize((1024, 1024), Image.Resampling.BICUBIC).save(path)
    return path


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _peak(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def _share(
    model: ZeroShotDetector, inputs: torch.Tensor, precision: str, seconds: float, device: torch.device
) -> dict[str, float]:
    """Return the encoder's arithmetic and its share of what the device reaches in a plain matrix product."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model.encoded(inputs[:1])
    flops = counter.get_total_flops()
    side = 8192 if device.type == "cuda" else 2048
    dtype = getattr(torch, precision) if precision in AUTOCAST else torch.float32
    matrix = torch.randn(side, side, device=device, dtype=dtype)
    with lowered(precision, device):
        best = min(_timed(matrix, device) for _ in range(3))
    return {"GFLOP/image": flops / 1e9, "% of matmul peak": 100 * (flops / seconds) / (2 * side**3 / best)}


def _timed(matrix: torch.Tensor, device: torch.device) -> float:
    started = _now(device)
    _ = matrix @ matrix
    return _now(device) - started


def _drift(
    model: ZeroShotDetector, inputs: torch.Tensor, answer: Prediction, precision: str
) -> dict[str, float | None]:
    """Return how far scores and maps lie from those in float32."""
    if precision == "float32":
        return {"score drift": None, "map drift": None}
    model.encoder_precision = "float32"
    with torch.inference_mode():
        exact: Prediction = model(inputs, ["cable"] * len(inputs))
    return {
        "score drift": float((answer.scores.float() - exact.scores).abs().max()),
        "map drift": float((answer.maps.float() - exact.maps).abs().max()),
    }


if __name__ == "__main__":
    main()
