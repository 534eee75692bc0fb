"""The pixel metrics beside other implementations of them: speed, memory, and how far their numbers are off.

    python -m benchmarks.peers
    python -m benchmarks.peers --maps 60 --official vand=../April-GAN --driver vand=vand_metrics.py

Every computation runs in a process of its own, on one thread, on the same generated class of N maps. Peers
that are not installed (`pip install '.[peers]'`) are named and left out. An official code takes part with a
small driver, a Python file with a function `metrics(maps, masks)`: float32 maps and 0/1 masks (N, H, W) to a
dictionary of metric keys (see docs/metrics.md) and fractions. It is imported with the checkout as its working
directory and first on its path; imports are not timed. Prints a Markdown table: CPU seconds, memory beyond
maps, masks and imports, and how far each number is from ours.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import runpy
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter
from tabulate import tabulate

from bench.errors import BenchError
from benchmarks.common import apart, parser_of, peak_memory, processor

SIDE = 518
_LONG = 10.0
"""CPU seconds after which a computation is not repeated."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
EXACT = "suite, exact"
KEYS = ("pixel_auroc", "pixel_aupro", "pixel_aupro_exact", "pixel_f1max", "pixel_ap")

Values = Mapping[str, float | None]
Computation = Callable[[np.ndarray, np.ndarray], Values]


class Outcome(NamedTuple):
    """What one computation gave and took."""

    values: Values
    seconds: float
    """CPU seconds, the least of some runs."""
    extra: float
    """MiB that the first run took on top."""


@dataclass(frozen=True)
class Peer:
    """One row: what is imported, outside of the time measured, and what it computes from."""

    make: Callable[[], Computation]
    packages: tuple[str, ...] = ()
    note: str = ""


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


def _suite(mode: str) -> Computation:
    from metrics import PixelMetrics  # noqa: PLC0415 (every row imports its own and nothing else)

    def compute(maps: np.ndarray, masks: np.ndarray) -> Values:
        pixels = PixelMetrics(mode=mode)
        for scores, mask in zip(maps, masks, strict=True):
            pixels.add(scores, mask)
        return pixels.result().values

    return compute


def _reference(*names: str) -> Computation:
    from tests.metrics import reference  # noqa: PLC0415

    plain = {
        "pixel_auroc": lambda maps, masks: reference.auroc(masks, maps),
        "pixel_ap": lambda maps, masks: reference.ap(masks, maps),
        "pixel_f1max": lambda maps, masks: reference.f1max(masks, maps),
        "pixel_aupro": reference.protocol_aupro,
        "pixel_aupro_exact": reference.exact_aupro,
    }
    return lambda maps, masks: {name: plain[name](maps, masks) for name in names}


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


_SCIKIT = ("sklearn", "skimage")
PEERS: dict[str, Peer] = {
    EXACT: Peer(partial(_suite, "exact")),
    "suite, streaming": Peer(partial(_suite, "streaming"), note="middles of its brackets"),
    "scikit-learn": Peer(partial(_reference, "pixel_auroc", "pixel_ap", "pixel_f1max"), _SCIKIT),
    "published AUPRO loop": Peer(partial(_reference, "pixel_aupro"), _SCIKIT),
    "exact AUPRO, plainly": Peer(partial(_reference, "pixel_aupro_exact"), _SCIKIT),
    "torchmetrics": Peer(_torchmetrics, ("torchmetrics",), "float32"),
    "adeval": Peer(_adeval, ("adeval", "cv2"), "1000 bins; AP is its trapezoid"),
    "anomalib": Peer(_anomalib, ("anomalib",), "float32"),
}


def official(checkout: Path, driver: Path) -> Computation:
    """Return the function `metrics` of a driver, imported inside a checkout of an official code."""
    os.chdir(checkout)
    sys.path.insert(0, str(checkout))
    found = runpy.run_path(str(driver)).get("metrics")
    if not callable(found):
        raise BenchError(f"{driver}: it has no function `metrics(maps, masks)`")
    compute: Computation = found
    return compute


def missing(peer: Peer) -> list[str]:
    """Return the packages of a peer that are not installed."""
    return [name for name in peer.packages if importlib.util.find_spec(name) is None]


def measure(name: str, code: tuple[Path, Path] | None, n_maps: int, share: float, repeats: int) -> Outcome:
    """Run a peer, or the `code` of an official checkout by its driver, in this process."""
    with redirect_stdout(sys.stderr):  # what others print is no part of the table
        compute = official(*code) if code else PEERS[name].make()
        maps, masks = generate(n_maps, share)
        seconds, before, extra, values = [], peak_memory(), 0.0, {}
        for run in range(repeats):
            started = time.process_time()
            values = dict(compute(maps, masks))
            seconds.append(time.process_time() - started)
            extra = extra if run else peak_memory() - before
            if sum(seconds) > _LONG:
                break
    return Outcome(values, min(seconds), extra)


def rows(outcomes: Mapping[str, Outcome]) -> list[dict[str, object]]:
    """Return a row for each outcome; the first is what the others are compared with."""
    ours = next(iter(outcomes.values()))

    def told(outcome: Outcome, key: str) -> str:
        value, exact = outcome.values.get(key), ours.values[key]
        if value is None or exact is None:
            return ""
        return f"{value:.6f}" if outcome is ours else f"{value - exact:+.0e}"

    return [
        {
            "computation": name,
            "CPU s": f"{outcome.seconds:.2f}",
            "times ours": f"{outcome.seconds / ours.seconds:.1f}",
            "extra MiB": f"{outcome.extra:.0f}",
            **{f"`{key}`": told(outcome, key) for key in KEYS},
            "note": PEERS[name].note if name in PEERS else "",
        }
        for name, outcome in outcomes.items()
    ]


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
    parser = parser_of(__doc__)
    parser.add_argument("--maps", type=int, default=60, help="maps of 518 x 518 (default: 60)")
    parser.add_argument("--share", type=float, default=0.03, help="anomalous share of pixels (default: 0.03)")
    parser.add_argument("--repeats", type=int, default=3, help="the fastest counts (default: 3)")
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS), help="these peers")
    parser.add_argument("--official", nargs="+", default=[], metavar="NAME=PATH", help="checkouts")
    parser.add_argument("--driver", nargs="+", default=[], metavar="NAME=FILE", help="their drivers")
    parsed = parser.parse_args(words)
    try:
        checkouts, drivers = pairs(parsed.official, "--official"), pairs(parsed.driver, "--driver")
        if checkouts.keys() != drivers.keys():
            names = ", ".join(sorted(checkouts.keys() ^ drivers.keys()))
            raise BenchError(f"{names}: give each --official a --driver of the same name, and the reverse")
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    outcomes: dict[str, Outcome] = {}
    left_out = []
    for name in dict.fromkeys([EXACT, *parsed.only, *checkouts]):
        if absent := missing(PEERS[name]) if name in PEERS else []:
            left_out.append(f"{name} (not installed: {', '.join(absent)})")
            continue
        code = (checkouts[name], drivers[name]) if name in checkouts else None
        try:
            outcomes[name] = apart(measure, name, code, parsed.maps, parsed.share, parsed.repeats)
        except (Exception, SystemExit) as error:
            left_out.append(f"{name} (failed: {type(error).__name__}: {error})")
    if EXACT not in outcomes:
        print(f"error: {left_out[0]}", file=sys.stderr)
        return 1
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "scikit-learn"))
    print(f"{processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, {packages}\n")
    print(f"{parsed.maps} maps, {100 * parsed.share:.0f}% of pixels anomalous; under each metric the suite's")
    print("exact number, below it how far the others are from it:\n")
    print(tabulate(rows(outcomes), headers="keys", tablefmt="pipe", disable_numparse=True))
    if left_out:
        print(f"\nLeft out: {'; '.join(left_out)}.")
    return 0


if __name__ == "__main__":
    os.environ |= dict.fromkeys(_THREADS, "1")
    sys.exit(main())
