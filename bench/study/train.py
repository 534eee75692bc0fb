"""Training by a method's recipe: prompts or projections learned on labelled sources, everything else frozen.

On a CPU an interrupted training goes on to the same result bit for bit: whatever is random follows from
(seed, epoch, position), and the state is saved after every epoch.
"""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from bench.errors import BenchError
from bench.run.collect import Machine, ahead, batches
from bench.run.features import Encoder
from bench.run.planner import Library
from bench.run.protocol import MethodRequest
from bench.store.atomic import write_atomically
from bench.store.provenance import provenance
from bench.store.trained import Trained
from datasets.images import read_image, read_mask, resize_mask
from datasets.mosaic import draw_four, mosaic
from datasets.samples import ClassData, Folder, Sample
from methods.base import ZeroShotDetector

Digest = Callable[[Path], str]


@dataclass(frozen=True)
class TrainJob:
    """What is trained on what. `files` and `digests` are the frozen weights by role; `out` the result."""

    request: MethodRequest
    source: str
    folders: tuple[Folder, ...]
    options: Mapping[str, Any]
    files: Mapping[str, Path]
    digests: Mapping[str, str]
    out: Path
    untrained: bool

    @property
    def seed(self) -> int:
        """The seed, which the source's name carries."""
        return int(self.source.partition("~")[2])

    @property
    def epochs(self) -> int:
        """Epochs on this source."""
        return self.request.recipe.epochs_for(self.source.partition("~")[0])

    def __str__(self) -> str:
        """Return a name for people."""
        return f"{self.request.key} on {self.source}"


@dataclass(frozen=True)
class Example:
    """One labelled image to learn from."""

    dataset: str
    data: ClassData
    sample: Sample


class TrainListener:
    """Hears how training goes; the base class ignores everything."""

    def epoch(self, number: int, epochs: int, images: int) -> None:
        """Hear that epoch `number` (from 1) begins."""

    def batch(self, images: int, loss: float) -> None:
        """Hear that a batch is done."""

    def finished(self, number: int, losses: dict[str, float]) -> None:
        """Hear that epoch `number` is over, and its mean loss terms."""


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
    source = f"{'+'.join(folder.target for folder in folders)}~{seed}"
    options = request.options(None)
    found = library.find(request, options, source, frozen=True)
    out = library.root / request.detector.files(options, source)["learned"].name
    job = TrainJob(request, source, tuple(folders), options, found.files, found.digests, out, found.untrained)
    examples_of(job)
    return job


def train(job: TrainJob, machine: Machine, digest: Digest, listener: TrainListener | None = None) -> Path:
    """Train, and write the learned tensors with their provenance to `job.out`; returns that path."""
    listener = listener or TrainListener()
    examples = examples_of(job)
    images = {example.sample.image: digest(example.sample.image) for example in examples}
    model = job.request.detector.begin(job.files, job.seed, **job.options).to(machine.device).eval()
    model.requires_grad_(False)
    learned = model.learned()
    for parameter in learned.values():
        parameter.requires_grad_(True)
    optimiser = job.request.recipe.make_optimiser(learned.values())
    data = {
        f"{folder.key}/{each.key}": each.fingerprint(digest)
        for folder in job.folders
        for each in folder.classes
    }
    progress = _Progress(job, model.version, data, optimiser)
    encoder = Encoder(model, job.request.key, job.digests, cache=machine.cache, device=machine.device)
    trainer = _Trainer(job, model, examples, images, machine, encoder)
    curve, started = progress.resume(learned), time.perf_counter()
    for epoch in range(len(curve) + 1, job.epochs + 1):
        listener.epoch(epoch, job.epochs, len(examples))
        curve.append(trainer.epoch(epoch, optimiser, listener))
        progress.save(learned, curve)
        listener.finished(epoch, curve[-1])
    record = Trained(
        source=job.source,
        method=job.request.key,
        options=dict(job.options),
        recipe=_plain(dataclasses.asdict(job.request.recipe)) | {"epochs": job.epochs, "seed": job.seed},
        weights=dict(job.digests),
        data=data,
        images=sorted({value[:16] for value in images.values()}),
        loss=curve,
        seconds=round(time.perf_counter() - started, 3),
        untrained_backbone=job.untrained,
        provenance=provenance(machine.device),
    )
    record.save({name: parameter.detach().cpu() for name, parameter in learned.items()}, job.out)
    progress.drop()
    return job.out


class _Trainer:
    def __init__(
        self,
        job: TrainJob,
        model: ZeroShotDetector,
        examples: Sequence[Example],
        digests: Mapping[Path, str],
        machine: Machine,
        encoder: Encoder,
    ) -> None:
        self.job, self.model, self.examples, self.digests = job, model, examples, digests
        self.machine, self.encoder = machine, encoder

    def epoch(
        self, number: int, optimiser: torch.optim.Optimizer, listener: TrainListener
    ) -> dict[str, float]:
        """Run one epoch; returns the mean of each loss term and of the total over the images."""
        job, device = self.job, self.machine.device
        torch.manual_seed(job.seed + number)
        sums: dict[str, float] = {}
        for batch in self._batches(number):
            features = self.encoder.features(self.model, [(digest, tensor) for digest, tensor, *_ in batch])
            prompts = [example.data.prompt for *_, example in batch]
            labels = torch.tensor([example.sample.label for *_, example in batch], device=device)
            masks = torch.from_numpy(np.stack([mask for _, _, mask, _ in batch])).to(device)
            terms = self.model.loss(features, prompts, labels, masks)
            loss = job.request.recipe.minimised(terms)
            if not torch.isfinite(loss):
                raise BenchError(f"{job}: the loss is {loss.item()} in epoch {number}; nothing was written")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            for name, value in {**terms, "total": loss}.items():
                sums[name] = sums.get(name, 0.0) + value.item() * len(batch)
            listener.batch(len(batch), loss.item())
        return {name: value / len(self.examples) for name, value in sums.items()}

    def _batches(self, epoch: int) -> Iterator[list[tuple[str | None, Tensor | None, np.ndarray, Example]]]:
        generator = torch.Generator().manual_seed(self.job.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.examples), generator=generator).tolist()
        size = self.job.request.recipe.batch_size

        def read(index: int) -> tuple[str | None, Tensor | None, np.ndarray, Example]:
            return self._read(epoch, index)

        yield from batches(ahead(order, read, self.machine.workers, size), size)

    def _read(self, epoch: int, index: int) -> tuple[str | None, Tensor | None, np.ndarray, Example]:
        """Return digest (None for a mosaic), network input (None if its features are kept), mask, example."""
        example, size = self.examples[index], self.model.image_size
        recipe = self.job.request.recipe
        rng = np.random.default_rng([self.job.seed, epoch, index])
        if rng.random() < recipe.mosaic.get(example.dataset, 0.0):
            image, mask = mosaic(draw_four(example.data, rng, by_species=recipe.mosaic_by_species))
            return None, self.model.preprocess(image), resize_mask(mask, size), example
        digest = self.digests[example.sample.image]
        tensor = None
        if not self.encoder.has(digest):
            tensor = self.model.preprocess(read_image(example.sample.image))
        if example.sample.mask is None:
            return digest, tensor, np.zeros((size, size), np.uint8), example
        return digest, tensor, resize_mask(read_mask(example.sample.mask), size), example


class _Progress:
    """The state after the last finished epoch, beside the result."""

    def __init__(
        self,
        job: TrainJob,
        version: int,
        data: Mapping[str, str],
        optimiser: torch.optim.Optimizer,
    ) -> None:
        self.path = job.out.with_name(f"{job.out.name}.progress")
        self.epochs = job.out.with_name(f"{job.out.stem}.epochs")
        self.optimiser = optimiser
        parts = {
            "method": job.request.key,
            "version": version,
            "options": job.options,
            "recipe": _plain(dataclasses.asdict(job.request.recipe)),
            "source": job.source,
            "weights": job.digests,
            "data": data,
        }
        self.identity = hashlib.sha256(json.dumps(parts, sort_keys=True, default=list).encode()).hexdigest()

    def resume(self, learned: Mapping[str, Tensor]) -> list[dict[str, float]]:
        """Put a fitting saved state back and return its loss curve; an empty one if there is none."""
        if not self.path.exists():
            return []
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise BenchError(
                f"{self.path} is damaged ({error}); delete it to train from the start"
            ) from error
        if state["identity"] != self.identity:
            return []
        with torch.no_grad():
            for name, tensor in state["learned"].items():
                learned[name].copy_(tensor)
        self.optimiser.load_state_dict(state["optimiser"])
        return list(state["curve"])

    def save(self, learned: Mapping[str, Tensor], curve: list[dict[str, float]]) -> None:
        """Save the state after an epoch whole, and the epoch's learned tensors beside it."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in learned.items()}
        state = {
            "identity": self.identity,
            "learned": tensors,
            "optimiser": self.optimiser.state_dict(),
            "curve": curve,
        }
        epoch = self.epochs / f"epoch_{len(curve)}.safetensors"
        write_atomically(self.path, lambda path: torch.save(state, path), "--weights-root")
        write_atomically(epoch, lambda path: save_file(tensors, path), "--weights-root")

    def drop(self) -> None:
        """Forget the state: the training is finished."""
        self.path.unlink(missing_ok=True)


def _plain(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe as JSON values."""
    return {name: value.__name__ if isinstance(value, type) else value for name, value in recipe.items()}
