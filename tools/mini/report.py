"""What the small models reach on the stand-ins: `python -m tools.mini.report`, a table in Markdown.

Every seed has stand-ins of its own and trainings of its own; the backbones are those that ship.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import torch

from bench.demo.demo import HEADLINE, demo_requests
from bench.demo.standin import stand_in_folders
from bench.run.execute import execute
from bench.run.library import Library
from bench.run.machine import Machine
from bench.run.planner import make_plan
from bench.run.protocol import MethodRequest
from bench.store.cells import CellStore
from bench.store.digests import DigestCache
from bench.study.job import TrainJob
from bench.study.train import train
from datasets.samples import Folder
from datasets.standin import SCALES
from methods import states
from methods.backbones import mini
from methods.source import Source
from tools.mini.learn import by_key, jobs

Found = dict[str, float | None]
"""Image and pixel AUROC, mean over datasets; None where nothing was to be measured."""


@dataclass(frozen=True)
class _Round:
    """One seed: its folders, and what has been computed below `root`."""

    root: Path
    seed: int
    scale: str
    digest: DigestCache
    machine: Machine

    def measure(self, request: MethodRequest) -> tuple[Found, Found | None]:
        """Return what the method reaches, and what it reached before training, if it learns anything."""
        folders = by_key(stand_in_folders(self.root / "data", scale=self.scale, seed=self.seed))
        trained, before = (
            list(jobs(request, folders, self._library(name), self.seed)) for name in ("trained", "before")
        )
        if not trained:
            return self._run(request, [(None, list(folders.values()))], "trained"), None
        for (job, _), (begun, _) in zip(trained, before, strict=True):
            if not job.out.exists():
                train(job, self.machine, self.digest)
            _begin(begun, job.out)
        tests = [(job.source, targets) for job, targets in trained]
        return self._run(request, tests, "trained"), self._run(request, tests, "before")

    def _library(self, name: str) -> Library:
        root = self.root / f"weights-{name}"
        mini.install(root, learned=False)
        return Library(root, self.digest)

    def _run(
        self, request: MethodRequest, tests: Sequence[tuple[Source | None, list[Folder]]], name: str
    ) -> Found:
        store = CellStore(self.root / f"runs-{name}")
        wanted = set()
        for source, targets in tests:
            plan = make_plan(
                [request],
                targets,
                store,
                weights_root=self.root / f"weights-{name}",
                digest=self.digest,
                source=source,
            )
            outcome = execute(plan, store, self.machine)
            for refusal in plan.refused:
                raise RuntimeError(f"{refusal.method} on {refusal.dataset}: {refusal.reason}")
            for cell, reason in outcome.failed:
                raise RuntimeError(f"{cell}: {reason}")
            wanted |= {cell.key for cell in plan.wanted}
        cells = [cell for cell in store if cell["key"] in wanted]
        return {metric: _mean(cells, metric) for metric in ("image_auroc", "pixel_auroc")}


def _begin(job: TrainJob, trained: Path) -> None:
    """Write what training begins with as if it had been learned, with what is kept in the `trained` file."""
    model = job.request.detector.begin(job.files, job.seed, **job.options)
    kept = {name: each for name, each in states.read(trained).items() if name in model.kept()}
    begun = {name: each.detach().contiguous() for name, each in model.learned().items()}
    states.write({**begun, **kept}, job.out)


def _mean(cells: Sequence[dict], metric: str) -> float | None:
    """Return the mean over datasets of the means over classes, in percent."""
    by_dataset: dict[str, list[float]] = {}
    for cell in cells:
        if cell["metrics"].get(metric) is not None:
            by_dataset.setdefault(cell["dataset"], []).append(100 * cell["metrics"][metric])
    return fmean(map(fmean, by_dataset.values())) if by_dataset else None


def _shown(values: Sequence[float | None]) -> str:
    """Return mean and standard deviation over the seeds."""
    defined = [value for value in values if value is not None]
    if not defined:
        return "-"
    return f"{fmean(defined):.1f}" + (f" ± {stdev(defined):.1f}" if len(defined) > 1 else "")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.mini.report", description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--root", type=Path, default=Path("demo/seeds"), metavar="DIR", help="working folder")
    parser.add_argument("--scale", choices=tuple(SCALES), default="full", help="size of the stand-ins")
    options = parser.parse_args(arguments)
    digest, machine = DigestCache(), Machine(torch.device("cpu"))
    # What was trained on other backbones is not taken for what is trained on these.
    backbones = "-".join(digest(mini.HERE / name)[:8] for name in (mini.TIPS, mini.CLIP))
    print(f"{HEADLINE}\n")
    seeds = ", ".join(map(str, options.seeds))
    print(f"Means over the stand-ins in percent; mean ± standard deviation over the seeds {seeds}.\n")
    print("| | image AUROC | pixel AUROC | pixel AUROC before training | gain by seed |")
    print("|---|---|---|---|---|")
    for request in demo_requests():
        found = [
            _Round(options.root / backbones / f"seed-{seed}", seed, options.scale, digest, machine).measure(
                request
            )
            for seed in options.seeds
        ]
        image, pixel = ([after[metric] for after, _ in found] for metric in ("image_auroc", "pixel_auroc"))
        before = [earlier["pixel_auroc"] if earlier else None for _, earlier in found]
        gains = [
            f"{b - a:+.1f}" for a, b in zip(before, pixel, strict=True) if a is not None and b is not None
        ]
        row = (request.key, _shown(image), _shown(pixel), _shown(before), ", ".join(gains) or "-")
        print(f"| {' | '.join(row)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
