"""Measure the pixel metrics side by side with scikit-learn and the published AUPRO loop.

    python -m benchmarks.metrics --maps 60 120 600

Every computation runs in a process of its own on the same generated class of N maps. Prints a Markdown
table: CPU seconds on one thread (the least of some runs), how many times longer than the suite that is,
memory beyond maps, masks and imports, and the largest difference from the plain computation.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if __package__ in (None, ""):  # run as a file: its folder would hide the package `metrics`
    sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402
from scipy.ndimage import gaussian_filter  # noqa: E402

from metrics import PixelMetrics  # noqa: E402
from tests.metrics import reference  # noqa: E402

SIDE = 518
LOOP_BUDGET = 60 * 200
"""Maps times thresholds for which the loop is timed; the rest is scaled."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def generate(n_maps: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return smooth float32 maps in [0, 1] and masks: two images in three hold up to three ellipses."""
    random = np.random.default_rng(n_maps)
    maps = np.empty((n_maps, SIDE, SIDE), dtype=np.float32)
    masks = np.zeros((n_maps, SIDE, SIDE), dtype=np.uint8)
    rows, columns = np.ogrid[:SIDE, :SIDE]
    for image in range(n_maps):
        noise = gaussian_filter(random.standard_normal((SIDE, SIDE), dtype=np.float32), 4)
        if image % 3:
            count = random.integers(1, 4)
            radius = SIDE * np.sqrt(1.5 * share / count / np.pi)
            for _ in range(count):
                stretch, (row, column) = random.uniform(0.7, 1.4), random.uniform(radius, SIDE - radius, 2)
                inside = ((rows - row) * stretch) ** 2 + ((columns - column) / stretch) ** 2 <= radius**2
                masks[image][inside] = 1
        maps[image] = 1 / (1 + np.exp(-noise / noise.std() - 1.5 * masks[image]))
    return maps, masks


def suite(maps: np.ndarray, masks: np.ndarray, mode: str) -> dict[str, Any]:
    metrics = PixelMetrics(mode=mode)
    for scores, mask in zip(maps, masks, strict=True):
        metrics.add(scores, mask)
    report = metrics.result()
    return {"values": report.values, "brackets": report.brackets}


def loop(maps: np.ndarray, masks: np.ndarray) -> dict[str, Any]:
    thresholds = reference.protocol_thresholds(maps.min(), maps.max())
    timed = min(len(thresholds), max(LOOP_BUDGET // len(maps), 4))
    if timed == len(thresholds):
        return {"values": {"pixel_aupro": reference.protocol_aupro(maps, masks)}}
    chosen = np.linspace(0, len(thresholds) - 1, timed).round().astype(int)
    reference.protocol_points(maps, masks, [thresholds[index] for index in chosen])
    return {"values": {}, "scale": len(thresholds) / timed}


COMPUTATIONS: dict[str, Callable[[np.ndarray, np.ndarray], dict[str, Any]]] = {
    "scikit-learn AUROC": lambda maps, masks: {"values": {"pixel_auroc": reference.auroc(masks, maps)}},
    "scikit-learn AP": lambda maps, masks: {"values": {"pixel_ap": reference.ap(masks, maps)}},
    "scikit-learn F1-max": lambda maps, masks: {"values": {"pixel_f1max": reference.f1max(masks, maps)}},
    "published AUPRO loop": loop,
    "exact AUPRO, plainly": lambda maps, masks: {
        "values": {"pixel_aupro_exact": reference.exact_aupro(maps, masks)}
    },
    "suite, all five": lambda maps, masks: suite(maps, masks, "exact"),
    "suite, streaming": lambda maps, masks: suite(maps, masks, "streaming"),
}
PUBLISHED = list(COMPUTATIONS)[:4]
OURS = list(COMPUTATIONS)[-2:]


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(name: str, n_maps: int, share: float, repeats: int) -> dict[str, Any]:
    """Run one computation in this process and return its values, CPU seconds and extra bytes."""
    maps, masks = generate(n_maps, share)
    before = peak_memory()
    seconds = []
    for _ in range(repeats if name in OURS else 1):
        started = time.process_time()
        outcome = COMPUTATIONS[name](maps, masks)
        seconds.append(time.process_time() - started)
    outcome["seconds"] = min(seconds) * outcome.get("scale", 1)
    outcome["extra"] = peak_memory() - before
    return outcome


def measure_apart(name: str, n_maps: int, share: float, repeats: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", name, "--maps", str(n_maps), "--share", str(share)]
    done = subprocess.run(
        [*command, "--repeats", str(repeats)],
        env=os.environ | ONE_THREAD,
        stdout=subprocess.PIPE,
        check=True,
        cwd=ROOT,
    )
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def table(n_maps: int, share: float, names: list[str], repeats: int) -> list[str]:
    outcomes = {name: measure_apart(name, n_maps, share, repeats) for name in names}
    truth = {
        key: value for name in names if name not in OURS for key, value in outcomes[name]["values"].items()
    }
    if not truth:  # streaming is then held against the exact mode
        truth = outcomes[OURS[0]]["values"]
    ours = outcomes[OURS[0]]["seconds"]
    pixels = n_maps * SIDE * SIDE

    def row(label: str, seconds: float, extra: float | None, note: str) -> str:
        memory = "" if extra is None else f"{extra / 2**20:.0f} MiB | {extra / pixels:.1f}"
        return f"| {label} | {seconds:.2f} | {seconds / ours:.1f} | {memory or ' | '} | {note} |"

    lines = [
        f"{n_maps} maps, {pixels / 1e6:.1f} million pixels, {100 * share:.0f}% of them anomalous:",
        "",
        "| computation | CPU s | times the suite's | extra memory | bytes per pixel | largest difference |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, outcome in outcomes.items():
        note = ""
        if name in OURS and truth is not outcome["values"]:
            shared = [key for key in truth if None not in (truth[key], outcome["values"].get(key))]
            note = f"{max(abs(outcome['values'][key] - truth[key]) for key in shared):.0e}"
        if outcome.get("brackets"):
            note += f", brackets up to {max(high - low for low, high in outcome['brackets'].values()):.0e}"
        label = name
        if "scale" in outcome:
            label += f" (timed on {200 / outcome['scale']:.0f} of 200 thresholds, scaled)"
        lines.append(row(label, outcome["seconds"], outcome["extra"], note))
    if set(PUBLISHED) <= outcomes.keys():
        total = sum(outcomes[name]["seconds"] for name in PUBLISHED)
        lines.append(row("**scikit-learn's three and the loop**", total, None, ""))
    return [*lines, ""]


def machine() -> str:
    cpu = Path("/proc/cpuinfo")
    names = [line for line in cpu.read_text().splitlines() if "model name" in line] if cpu.exists() else []
    name = names[0].split(":")[1].strip() if names else platform.processor()
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("numpy", "scipy", "scikit-learn", "scikit-image")
    )
    return (
        f"{name}, {os.cpu_count()} cores, {platform.system()}; Python {platform.python_version()}, {packages}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--maps", type=int, nargs="+", default=[60, 120], help="maps per class (default: 60 120)"
    )
    parser.add_argument(
        "--share", type=float, default=0.03, help="anomalous share of the pixels (default: 0.03)"
    )
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs of the suite, the fastest counts (default: 3)"
    )
    parser.add_argument("--suite-only", action="store_true", help="leave scikit-learn and the loop out")
    parser.add_argument("--measure", choices=COMPUTATIONS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        outcome = measure(arguments.measure, arguments.maps[0], arguments.share, arguments.repeats)
        print(json.dumps(outcome))
        return
    print(machine(), "", sep="\n")
    names = OURS if arguments.suite_only else list(COMPUTATIONS)
    for n_maps in arguments.maps:
        print("\n".join(table(n_maps, arguments.share, names, arguments.repeats)), flush=True)


if __name__ == "__main__":
    main()
