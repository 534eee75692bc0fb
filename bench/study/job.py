"""What a training comes to, before it begins: its sources, options, files, result; and whether it is here."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.run.library import Library
from bench.run.protocol import MethodRequest
from bench.store.trained import Trained, read_trained
from datasets.samples import ClassData, Folder, Sample
from methods.learning import Stage
from methods.source import Source

Digest = Callable[[Path], str]


@dataclass(frozen=True)
class TrainJob:
    """What is trained on what. `files` and `digests` are the frozen weights by role; `out` the result."""

    request: MethodRequest
    source: Source
    folders: tuple[Folder, ...]
    options: Mapping[str, Any]
    files: Mapping[str, Path]
    digests: Mapping[str, str]
    out: Path
    untrained: bool

    @property
    def seed(self) -> int:
        """The seed, which the source's name carries."""
        assert self.source.seed is not None
        return self.source.seed

    @property
    def stages(self) -> tuple[tuple[Stage, int], ...]:
        """The stages that take place, each with its epochs on this source."""
        stages = self.request.recipe.stages_for(self.options)
        return tuple((stage, stage.epochs_for(self.source.key)) for stage in stages)

    @property
    def epochs(self) -> int:
        """Epochs of all stages."""
        return sum(epochs for _, epochs in self.stages)

    def __str__(self) -> str:
        """Return a name for people."""
        return f"{self.request.key} on {self.source}"


@dataclass(frozen=True)
class Example:
    """One labelled image to learn from."""

    dataset: str
    data: ClassData
    sample: Sample


def examples_of(job: TrainJob) -> list[Example]:
    """Return all test images of the sources.

    Raises `BenchError` for a source without masks: the recipes' losses need them.
    """
    found = []
    for folder in job.folders:
        for data in folder.classes:
            if data.no_pixel_level is not None:
                raise BenchError(
                    f"{job.request.key} learns from masks, and {folder.key}/{data.key} has none "
                    f"({data.no_pixel_level}); choose another --source"
                )
            found += [Example(folder.target, data, sample) for sample in data.samples]
    return found


def make_job(request: MethodRequest, folders: Sequence[Folder], seed: int, library: Library) -> TrainJob:
    """Return what training the request on the folders, all at once, comes to.

    Raises `BenchError` where frozen weights are missing or a source has no masks.
    """
    source = Source(tuple(folder.target for folder in folders), seed)
    options = request.options(None, source)
    found = library.find(request, options, source, source_free=True)
    out = library.root / request.detector.files(options, str(source))["learned"].name
    job = TrainJob(request, source, tuple(folders), options, found.files, found.digests, out, found.untrained)
    examples_of(job)
    return job


def record_of(job: TrainJob, digest: Digest) -> Trained:
    """Return what the job's result will say of itself, its loss apart."""
    recipe = job.request.recipe
    stages = [_plain(dataclasses.asdict(stage)) | {"epochs": epochs} for stage, epochs in job.stages]
    return Trained(
        source=str(job.source),
        method=job.request.key,
        options=dict(job.options),
        recipe=_plain(dataclasses.asdict(recipe)) | {"seed": job.seed, "stages": stages},
        weights=dict(job.digests),
        data={
            f"{folder.key}/{each.key}": each.fingerprint(digest)
            for folder in job.folders
            for each in folder.classes
        },
        images=sorted({digest(example.sample.image)[:16] for example in examples_of(job)}),
        loss=[],
        untrained_backbone=job.untrained,
    )


def differences(job: TrainJob, digest: Digest) -> list[str] | None:
    """Return in what the file at `job.out` was trained otherwise; empty: it is the result; None: no file."""
    if not job.out.exists():
        return None
    there = read_trained(job.out)
    return ["origin"] if there is None else record_of(job, digest).differs(there)


def _plain(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe as JSON values."""
    return {name: value.__name__ if isinstance(value, type) else value for name, value in recipe.items()}
