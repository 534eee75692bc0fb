"""What keeping frozen features is worth: CPU seconds of each epoch, kept against recomputed.

    python -m benchmarks.training --methods tipsomaly vand anomalyclip

Trains on a generated stand-in dataset with small untrained encoders; or at true size with `--preset ""`,
which is slow (`--scale tiny --source isic` has two images). The first epoch with a cache computes and
writes; the later ones only read. Prints Markdown.
"""

import dataclasses
import tempfile
import time
from pathlib import Path

import torch
from tabulate import tabulate

from bench.demo.standin import stand_in_folders
from bench.demo.untrained import write_untrained
from bench.run.features import FeatureCache
from bench.run.library import Library
from bench.run.machine import Machine
from bench.run.protocol import MethodRequest
from bench.store.digests import DigestCache
from bench.study.job import TrainJob, make_job
from bench.study.train import TrainListener, train
from benchmarks.common import parser_of
from datasets.standin import SCALES


class Clock(TrainListener):
    """Notes the CPU seconds of each epoch."""

    def __init__(self) -> None:
        """Start with none."""
        self.epochs: list[float] = []
        self._started = 0.0

    def epoch(self, number: int, epochs: int, images: int) -> None:
        """Start the clock."""
        self._started = time.process_time()

    def finished(self, number: int, losses: dict[str, float]) -> None:
        """Stop the clock."""
        self.epochs.append(time.process_time() - self._started)


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--methods", nargs="+", default=["tipsomaly", "vand", "anomalyclip"])
    parser.add_argument("--preset", default="mini")
    parser.add_argument("--source", default="mpdd")
    parser.add_argument("--scale", choices=tuple(SCALES), default="full", help="tiny: a few images a class")
    parsed = parser.parse_args()
    digest = DigestCache()
    rows = []
    with tempfile.TemporaryDirectory(prefix="zsad-training-") as temporary:
        work = Path(temporary)
        folders = stand_in_folders(work / "data", keys=(parsed.source,), scale=parsed.scale)
        for method in parsed.methods:
            request = MethodRequest(method, parsed.preset or None)
            write_untrained(request, ["*"], work / "weights")
            seed = request.recipe.seed
            job = make_job(request, folders, seed, Library(work / "weights", digest))
            cache = FeatureCache(work / "features" / method, 10**11, digest)
            recomputed = _epochs(job, Machine(), digest)
            kept = _epochs(dataclasses.replace(job, out=work / "kept" / method), Machine(cache=cache), digest)
            rows.append(_row(request, recomputed, kept, cache.used))
    print(f"{len(folders[0].classes)} classes of {parsed.source}, torch {torch.__version__}, CPU seconds\n")
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3g"))


def _epochs(job: TrainJob, machine: Machine, digest: DigestCache) -> list[float]:
    clock = Clock()
    train(job, machine, digest, clock)
    return clock.epochs


def _row(request: MethodRequest, recomputed: list[float], kept: list[float], used: int) -> dict[str, object]:
    later = sum(kept[1:]) / max(len(kept) - 1, 1)
    each = sum(recomputed) / len(recomputed)
    return {
        "method": request.word,
        "epochs": len(kept),
        "recomputed, each": each,
        "kept, first": kept[0],
        "kept, later": later,
        "later epochs: times less": each / later,
        "whole training: times less": sum(recomputed) / sum(kept),
        "cache MB": used / 1e6,
    }


if __name__ == "__main__":
    main()
