"""Train what a method learns, by its recipe, on labelled sources. Interrupted training goes on.

examples:
  run_bench.py train --methods tipsomaly --source btad
  run_bench.py train --methods adaclip --source mvtec cvc_colondb
  run_bench.py train --methods vand --source mpdd --seeds 3
  run_bench.py train --methods vand anomalyclip --source mpdd --seeds 4 --device cuda:0,cuda:1
  run_bench.py run --methods tipsomaly --source btad --datasets mvtec      use it
"""

import argparse
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import Any

from bench.cli.common import add_methods, add_options, add_roots, dataset_keys, open_methods
from bench.cli.machine import add_engine, add_machine, engine_of, machine_of
from bench.cli.progress import progress
from bench.errors import BenchError
from bench.run.engines.driver import Engine
from bench.run.library import Library
from bench.run.machine import Machine
from bench.store.digests import DigestCache
from bench.study.job import TrainJob, differences, make_job
from bench.study.train import TrainListener, train
from bench.study.train_on import epoch_line, train_on
from datasets.meta import open_dataset


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_methods(parser, required=True)
    parser.add_argument(
        "--source", nargs="+", required=True, metavar="D", help="one dataset, or several at once"
    )
    add_options(parser)
    add_seeds(parser)
    add_roots(parser, "data", "weights")
    add_machine(parser, cache=20.0)
    add_engine(parser)
    parser.add_argument("--force", action="store_true", help="train again what is here already")


def add_seeds(parser: argparse.ArgumentParser) -> None:
    """Add `--seed` and `--seeds`."""
    parser.add_argument("--seed", type=int, help="seed of the training (default: the recipe's)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="so many, from the first one up")


def seeds_of(recipe_seed: int, parsed: argparse.Namespace) -> range:
    """Return the seeds asked for."""
    if parsed.seeds < 1:
        raise BenchError(f"--seeds {parsed.seeds}: at least 1")
    first = recipe_seed if parsed.seed is None else parsed.seed
    return range(first, first + parsed.seeds)


def main(parsed: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    digest = DigestCache()
    machine, engine = machine_of(parsed, digest), engine_of(parsed)
    library = Library(parsed.weights_root, digest)
    requests, all_open = open_methods(parsed, parsed.methods)
    seeds = [seeds_of(request.recipe.seed, parsed) for request in requests]
    folders = [open_dataset(key, parsed.data_root) for key in dataset_keys(parsed.source)]
    jobs = [
        make_job(request, folders, seed, library)
        for request, own_seeds in zip(requests, seeds, strict=True)
        for seed in own_seeds
    ]
    missing = [job for job in jobs if _is_missing(job, digest, force=parsed.force)]
    failed = train_all(missing, machine, digest, engine)
    return 0 if all_open and not failed else 1


def _is_missing(job: TrainJob, digest: DigestCache, *, force: bool) -> bool:
    found = differences(job, digest)
    if found == [] and not force:
        print(f"{job}: here already, {job.out}")
        return False
    if found:
        print(f"{job}: {job.out} was trained otherwise ({', '.join(found)}); it is kept under its date")
    return True


def train_all(
    jobs: Sequence[TrainJob], machine: Machine, digest: DigestCache, engine: Engine | None
) -> list[str]:
    """Train all jobs, here or on an engine; returns the reasons of those that failed there."""
    if engine is not None:
        return train_on(engine, jobs, machine, digest, partial(print, flush=True))
    for job in jobs:
        with closing(_Progress(job)) as listener:
            print(f"wrote {train(job, machine, digest, listener)}", flush=True)
    return []


class _Progress(TrainListener):
    def __init__(self, job: TrainJob) -> None:
        self._job, self._name = job, str(job)
        self._bar: Any = None

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def remembered(self, images: int, of: int) -> None:
        if self._bar is None:
            self._bar = progress(total=of, unit="images", description=f"{self._name}, its source")
        self._bar.update(images)

    def epoch(self, number: int, epochs: int, images: int) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = progress(
            total=images, unit="images", description=f"{self._name}, epoch {number}/{epochs}"
        )

    def batch(self, images: int, loss: float) -> None:
        self._bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
        self._bar.update(images)

    def finished(self, number: int, losses: dict[str, float]) -> None:
        self._bar.write(epoch_line(self._job, number, losses))
