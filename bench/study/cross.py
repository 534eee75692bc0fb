"""Train on each source, test on every target: the study of how what was learned carries over."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.run.library import Digest, Library
from bench.run.plan import Permissions, Plan, Settings
from bench.run.planner import make_plan
from bench.run.protocol import MethodRequest
from bench.store.cells import CellStore
from bench.study.job import TrainJob, differences, make_job
from datasets.samples import Folder


@dataclass(frozen=True)
class CrossPlan:
    """All pairs of a study. Cells are planned once their weights are there: their digests are in the key."""

    jobs: tuple[TrainJob, ...]
    targets: tuple[Folder, ...]
    digest: Digest

    @property
    def missing(self) -> tuple[TrainJob, ...]:
        """Trainings still to do."""
        return tuple(job for job in self.jobs if differences(job, self.digest) != [])

    def summary(self) -> str:
        """Return the plan and what it will cost as a few lines."""
        missing = self.missing
        looks = sum(
            job.epochs * sum(len(c.samples) for f in job.folders for c in f.classes) for job in missing
        )
        cells = sum(len(folder.classes) for folder in self.targets)
        images = sum(len(data.samples) for folder in self.targets for data in folder.classes)
        lines = [
            f"{len(self.jobs)} trainings, {len(missing)} to do ({looks:,} image looks, features kept)",
            f"{len(self.jobs)} x {len(self.targets)} pairs: {len(self.jobs) * cells:,} cells, "
            f"{len(self.jobs) * images:,} image scorings, less what is here already",
        ]
        return "\n".join(lines + [f"  to train: {job}" for job in missing])

    def evaluation(self, store: CellStore, library: Library, settings: Settings, device: str = "cpu") -> Plan:
        """Return the plan of all cells on a device of this type; the diagonal is run too, marked as seen."""
        plans = [
            make_plan(
                [job.request],
                self.targets,
                store,
                weights_root=library.root,
                digest=self.digest,
                settings=settings,
                source=job.source,
                allow=Permissions(seen=True, partial=True),
                device=device,
            )
            for job in self.jobs
        ]
        return Plan(
            tasks=tuple(task for plan in plans for task in plan.tasks),
            done=tuple(cell for plan in plans for cell in plan.done),
            refused=tuple(refusal for plan in plans for refusal in plan.refused),
            warnings=plans[0].warnings if plans else (),
        )


def plan_cross(
    requests: Sequence[MethodRequest],
    sources: Sequence[Folder],
    targets: Sequence[Folder],
    seeds: Sequence[int],
    library: Library,
) -> CrossPlan:
    """Return the study of all requests, each source by itself; no seeds: the recipes' own.

    Raises `BenchError` where frozen weights are missing or a source has no masks to learn from.
    """
    jobs = [
        make_job(request, [source], seed, library)
        for request in requests
        for source in sources
        for seed in (seeds or (request.recipe.seed,))
    ]
    return CrossPlan(tuple(jobs), tuple(targets), library.digest)
