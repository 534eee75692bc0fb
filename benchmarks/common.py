"""What the benchmarks have in common: arguments, generated pictures, processes of their own, memory."""

import argparse
import multiprocessing
import platform
import resource
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help begins with a script's docstring as it is."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns in a fresh process, so that its memory is its own.

    Raises what it raises.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def peak_memory() -> float:
    """Return the largest resident memory of this process so far, in MiB."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / 2 ** (20 if sys.platform == "darwin" else 10)


def processor() -> str:
    """Return the name of the CPU."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "CPU")


def write_dataset(
    root: Path,
    classes: Mapping[str, int],
    size: tuple[int, int] = (40, 56),
    *,
    seed: int = 0,
    masks: bool = True,
) -> Path:
    """Write a dataset of smooth, slightly noisy pictures in MVTec layout; returns its root.

    `classes` says how many images each has, every other one with a defect; `size` is (height, width).
    """
    rng, (height, width) = np.random.default_rng(seed), size
    defect = np.zeros(size, np.uint8)
    defect[height // 4 : height // 2, width // 4 : width // 2] = 255
    for name, count in classes.items():
        for index in range(count):
            coarse = rng.integers(0, 200, (max(height // 32, 2), max(width // 32, 2), 3), dtype=np.uint8)
            smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
            pixels = np.asarray(smooth) // 2 + rng.integers(0, 12, (height, width, 3), dtype=np.uint8)
            if index % 2:
                pixels[defect > 0] = 250
                if masks:
                    _save(defect, root / name / "ground_truth" / "spot" / f"{index:04}_mask.png")
            _save(pixels, root / name / "test" / ("good", "spot")[index % 2] / f"{index:04}.png")
    return root


def _save(values: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
