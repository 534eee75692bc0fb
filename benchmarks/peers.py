"""Other implementations of the pixel metrics beside ours: speed, memory, and how far their numbers are off.

    python -m benchmarks.peers
    python -m benchmarks.peers --maps 60 --official vand=../April-GAN --driver vand=vand_metrics.py

Every computation runs in a process of its own, on one thread, on the same generated class. Peers that are
not installed (`pip install '.[peers]'`) are named and left out. An official code takes part with a small
driver, a Python file with a function `metrics(maps, masks)`: float32 maps and 0/1 masks (N, H, W) to a
dictionary of metric keys (see docs/metrics.md) and fractions. It is imported with the checkout as its working
directory and first on its path; imports are not timed. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.errors import BenchError
from benchmarks.metrics import ONE_THREAD, ROOT, generate, machine, peak_memory

Values = Mapping[str, float | None]
Computation = Callable[[np.ndarray, np.ndarray], Values]
EXACT = "suite, exact"


@dataclass(frozen=True)
class Peer:
    """One row: what is imported, outside of the time measured, and what it computes from."""

    make: Callable[[], Computation]
    packages: tuple[str, ...] = ()
    note: str = ""


def _suite(mode: str) -> Computation:
    from metrics import PixelMetrics  # noqa: PLC0415 (every row imports its own and nothing else)

    def compute(maps: np.ndarray, masks: np.ndarray) -> Values:
        pixels = PixelMetrics(mode=mode)
        for scores, mask in zip(maps, masks, strict=True):
            pixels.add(scores, mask)
        return pixels.result().values

    return compute


def _scikit_learn() -> Computation:
    from tests.metrics import reference  # noqa: PLC0415

    return lambda maps, masks: {
        "pixel_auroc": reference.auroc(masks, maps),
        "pixel_ap": reference.ap(masks, maps),
        "pixel_f1max": reference.f1max(masks, maps),
    }


def _torchmetrics() -> Computation:
    import torch  # noqa: PLC0415
    from torchmetrics.functional.classification import (  # noqa: PLC0415
        binary_auroc,
        binary_average_precision,
    )

    def compute(maps: np.ndarray, masks: np.ndarray) -> Values:
        scores, labels = torch.from_numpy(maps).flatten(), torch.from_numpy(masks).flatten().long()
        return {
            "pixel_auroc": float(binary_auroc(scores, labels)),
            "pixel_ap": float(binary_average_precision(scores, labels)),
        }

    return compute


def _adeval() -> Computation:
    if not hasattr(np, "trapz"):  # its CPU path needs the name that NumPy 2.4 took away
        np.trapz = np.trapezoid  # type: ignore[attr-defined]
    import cv2  # noqa: PLC0415
    from adeval import EvalAccumulator  # noqa: PLC0415

    cv2.setNumThreads(1)

    def compute(maps: np.ndarray, masks: np.ndarray) -> Values:
        accumulator = EvalAccumulator(float(maps.min()), float(maps.max()))
        accumulator.add_anomap_batch(maps, masks)
        for add in (accumulator.add_image, accumulator.add_sample):  # its summary fails without
            add([float(maps.min()), float(maps.max())], [0, 1])
        with np.errstate(invalid="ignore"):
            summary = accumulator.summary()
        return {
            "pixel_auroc": summary["p_auroc"],
            "pixel_ap": summary["p_aupr"],
            "pixel_aupro_exact": summary["p_aupro"],
        }

    return compute


def _anomalib() -> Computation:
    import torch  # noqa: PLC0415
    from anomalib.metrics.aupro import _AUPRO  # noqa: PLC0415

    def compute(maps: np.ndarray, masks: np.ndarray) -> Values:
        aupro = _AUPRO(fpr_limit=0.3)
        aupro.update(torch.from_numpy(maps), torch.from_numpy(masks))
        return {"pixel_aupro_exact": float(aupro.compute())}

    return compute


PEERS: dict[str, Peer] = {
    EXACT: Peer(lambda: _suite("exact")),
    "suite, streaming": Peer(lambda: _suite("streaming"), note="middles of its brackets"),
    "scikit-learn": Peer(_scikit_learn, ("sklearn", "skimage")),
    "torchmetrics": Peer(_torchmetrics, ("torchmetrics",), "float32"),
    "adeval": Peer(_adeval, ("adeval", "cv2"), "1000 bins; AP is its trapezoid"),
    "anomalib": Peer(_anomalib, ("anomalib",), "float32"),
}


def missing(peer: Peer) -> list[str]:
    """Return the packages of a peer that are not installed."""
    return [name for name in peer.packages if importlib.util.find_spec(name) is None]


def official(checkout: Path, driver: Path) -> Computation:
    """Return the function `metrics` of a driver, imported inside a checkout of an official code."""
    os.chdir(checkout)
    sys.path.insert(0, str(checkout))
    found = runpy.run_path(str(driver)).get("metrics")
    if not callable(found):
        raise BenchError(f"{driver}: it has no function `metrics(maps, masks)`")
    compute: Computation = found
    return compute


def measure(make: Callable[[], Computation], maps: np.ndarray, masks: np.ndarray, repeats: int) -> dict:
    """Return values, the least CPU seconds of some runs, and the bytes that the first one took on top."""
    compute = make()
    seconds, before, extra, values = [], peak_memory(), 0, {}
    for run in range(repeats):
        started = time.process_time()
        values = dict(compute(maps, masks))
        seconds.append(time.process_time() - started)
        extra = extra if run else peak_memory() - before
    return {"values": values, "seconds": min(seconds), "extra": extra}


def apart(arguments: list[str]) -> dict | str:
    """Run one measurement in a process of its own; returns its outcome, or the last line of what failed."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", *arguments],
        env=os.environ | ONE_THREAD,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    outcome: dict = json.loads(done.stdout.splitlines()[-1])
    return outcome


def table(outcomes: Mapping[str, dict], notes: Mapping[str, str]) -> list[str]:
    """Return the Markdown table; the first outcome is what the others are compared with."""
    ours = next(iter(outcomes.values()))
    keys = list(ours["values"])
    lines = [
        f"| computation | CPU s | times ours | extra MiB | {' | '.join(f'`{key}`' for key in keys)} | note |",
        f"|---|---:|---:|---:|{'---:|' * len(keys)}---|",
    ]
    for name, outcome in outcomes.items():
        values = outcome["values"]
        cells = []
        for key in keys:
            value, exact = values.get(key), ours["values"][key]
            if value is None or exact is None:
                cells.append("")
            else:
                cells.append(f"{value:.6f}" if outcome is ours else f"{value - exact:+.0e}")
        lines.append(
            f"| {name} | {outcome['seconds']:.2f} | {outcome['seconds'] / ours['seconds']:.1f} | "
            f"{outcome['extra'] / 2**20:.0f} | {' | '.join(cells)} | {notes.get(name, '')} |"
        )
    return lines


def pairs(texts: list[str], flag: str) -> dict[str, Path]:
    """Return {name: path} of texts NAME=PATH; raises `BenchError` for one that is not or does not exist."""
    found = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise BenchError(f"{flag} {text}: expected NAME=PATH")
        if not Path(path).exists():
            raise BenchError(f"{flag} {text}: {path} does not exist")
        found[name] = Path(path).resolve()
    return found


def main(words: list[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--maps", type=int, default=60, help="maps of 518 x 518 (default: 60)")
    parser.add_argument("--share", type=float, default=0.03, help="anomalous share of pixels (default: 0.03)")
    parser.add_argument("--repeats", type=int, default=3, help="the fastest counts (default: 3)")
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS), help="these peers")
    parser.add_argument("--official", nargs="+", default=[], metavar="NAME=PATH", help="checkouts")
    parser.add_argument("--driver", nargs="+", default=[], metavar="NAME=FILE", help="their drivers")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parsed = parser.parse_args(words)
    try:
        checkouts, drivers = pairs(parsed.official, "--official"), pairs(parsed.driver, "--driver")
        if checkouts.keys() != drivers.keys():
            names = ", ".join(sorted(checkouts.keys() ^ drivers.keys()))
            raise BenchError(f"{names}: give each --official a --driver of the same name, and the reverse")
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if parsed.measure:
        name, maps, masks = parsed.measure, *generate(parsed.maps, parsed.share)
        make = PEERS[name].make if name in PEERS else lambda: official(checkouts[name], drivers[name])
        print(json.dumps(measure(make, maps, masks, parsed.repeats)))
        return 0

    size = ["--maps", str(parsed.maps), "--share", str(parsed.share), "--repeats", str(parsed.repeats)]
    outcomes: dict[str, dict] = {}
    left_out = []
    for name in dict.fromkeys([EXACT, *parsed.only, *checkouts]):
        if absent := missing(PEERS[name]) if name in PEERS else []:
            left_out.append(f"{name} (not installed: {', '.join(absent)})")
            continue
        paths = []
        if name in checkouts:
            paths = ["--official", f"{name}={checkouts[name]}", "--driver", f"{name}={drivers[name]}"]
        outcome = apart(["--measure", name, *size, *paths])
        if isinstance(outcome, str):
            left_out.append(f"{name} (failed: {outcome})")
        else:
            outcomes[name] = outcome
    if EXACT not in outcomes:
        print(f"error: {left_out[0]}", file=sys.stderr)
        return 1
    print(f"{machine()}\n\n{parsed.maps} maps, {100 * parsed.share:.0f}% of pixels anomalous; under each")
    print("metric the suite's exact number, below it how far the others are from it:\n")
    print("\n".join(table(outcomes, {name: peer.note for name, peer in PEERS.items()})))
    if left_out:
        print(f"\nLeft out: {'; '.join(left_out)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
