"""Training by a method's recipe: what it learns moves on labelled sources, everything else is frozen.

On a CPU an interrupted training goes on to the same result bit for bit: whatever is random follows from
(seed, epoch, position), and the state is saved after every epoch. Epochs are counted over all stages.
"""

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bench.errors import BenchError
from bench.run.features import Encoder
from bench.run.machine import Machine, ahead, batches, on_device
from bench.store.cells import write_json
from bench.store.provenance import provenance
from bench.study.job import Digest, Example, TrainJob, differences, examples_of, record_of
from bench.study.progress import Progress
from datasets.images import read_image, read_mask, resize_mask
from datasets.mosaic import draw_four, mosaic
from datasets.samples import Sample
from methods.base import Features, TrainingBatch, ZeroShotDetector
from methods.learning import Stage

_LOOK = 8
"""Images that `remember` is shown at a time."""


class TrainListener:
    """Is told how training goes; the base class ignores everything."""

    def remembered(self, images: int, of: int) -> None:
        """So many more images of the source have been looked at before training."""

    def epoch(self, number: int, epochs: int, images: int) -> None:
        """Epoch `number` (from 1) begins."""

    def batch(self, images: int, loss: float) -> None:
        """A batch is done."""

    def finished(self, number: int, losses: dict[str, float]) -> None:
        """Epoch `number` is over; `losses` are its mean loss terms."""


def train(job: TrainJob, machine: Machine, digest: Digest, listener: TrainListener | None = None) -> Path:
    """Train, and write the learned tensors with their record to `job.out`; returns that path.

    A file that is there and was trained otherwise is kept beside it under its date.
    """
    listener = listener or TrainListener()
    started, record = time.perf_counter(), record_of(job, digest)
    model = job.request.detector.begin(job.files, job.seed, **job.options).to(machine.device).eval()
    model.requires_grad_(False)
    learned = model.learned()
    progress = Progress(job.out, dataclasses.asdict(record) | {"version": model.version})
    trainer = _Trainer(job, model, digest, machine)
    state = progress.load(learned)
    curve: list[dict[str, float]] = list(state["curve"]) if state else []
    if state:
        with torch.no_grad():
            for name, tensor in state["learned"].items():
                learned[name].copy_(tensor)
        model.keep({name: tensor.to(machine.device) for name, tensor in state["kept"].items()})
    else:
        trainer.remember(listener)
    before = 0
    for stage, epochs in job.stages:
        optimiser = stage.make_optimiser(learned, job.source.key)
        if optimiser is not None and before + epochs > len(curve):
            if state and before < len(curve):
                optimiser.load_state_dict(state["optimiser"])
            _move_only(stage.trained(learned), learned)
            for epoch in range(len(curve) - before, epochs):
                listener.epoch(len(curve) + 1, job.epochs, len(trainer.examples))
                curve.append(trainer.epoch(stage, len(curve) + 1, epoch, epochs, optimiser, listener))
                kept = job.out.with_name(f"{job.out.stem}.epochs") / f"epoch_{len(curve)}.safetensors"
                dataclasses.replace(record, loss=curve).save({**learned, **model.kept()}, kept)
                progress.save(learned, model.kept(), optimiser, curve)
                listener.finished(len(curve), curve[-1])
        before += epochs
    if differences(job, digest):
        stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(job.out.stat().st_mtime))
        job.out.replace(job.out.with_name(f"{job.out.stem}.until-{stamp}{job.out.suffix}"))
    dataclasses.replace(record, loss=curve).save({**learned, **model.kept()}, job.out)
    made = {"seconds": round(time.perf_counter() - started, 3), "provenance": provenance(machine.device)}
    write_json(job.out.with_name(f"{job.out.stem}.provenance.json"), made, "--weights-root")
    progress.drop()
    return job.out


def _move_only(trained: Mapping[str, nn.Parameter], learned: Mapping[str, nn.Parameter]) -> None:
    for name, parameter in learned.items():
        parameter.requires_grad_(name in trained)
        parameter.grad = None


class _Trainer:
    def __init__(self, job: TrainJob, model: ZeroShotDetector, digest: Digest, machine: Machine) -> None:
        self.job, self.model, self.digest, self.machine = job, model, digest, machine
        self.examples = examples_of(job)
        self.encoder = Encoder(
            model, job.request.key, job.digests, cache=machine.cache, device=machine.device
        )

    @torch.no_grad()
    def remember(self, listener: TrainListener) -> None:
        """Show the model all examples in their order, if it keeps something of them."""
        if not self.model.kept():
            return
        count = len(self.examples)
        for batch in batches(ahead(range(count), self._unchanged, self.machine.workers, _LOOK), _LOOK):
            features, drawn = self._encoded(batch)
            self.model.remember(features, drawn.labels, drawn.masks)
            listener.remembered(len(batch), count)

    def epoch(
        self,
        stage: Stage,
        number: int,
        of_stage: int,
        epochs: int,
        optimiser: torch.optim.Optimizer,
        listener: TrainListener,
    ) -> dict[str, float]:
        """Run epoch `number` (from 1) of the training, which is `of_stage` (from 0) of the stage's `epochs`.

        Returns the mean of each loss term and of the total over the images.
        """
        job, learned = self.job, self.model.learned()
        torch.manual_seed(job.seed + number)
        sums: dict[str, float] = {}
        steps = -(-len(self.examples) // stage.batch_size)
        for step, batch in enumerate(self._batches(stage, number)):
            features, drawn = self._encoded(batch, stage.name)
            stage.set_rates(optimiser, of_stage * steps + step, steps, epochs)
            terms = self.model.loss(features, drawn)
            loss = stage.minimised(terms)
            if not torch.isfinite(loss):
                raise BenchError(f"{job}: the loss is {loss.item()} in epoch {number}; nothing was written")
            optimiser.zero_grad()
            loss.backward()
            stage.clip_gradients(learned)
            optimiser.step()
            for name, value in {**terms, "total": loss}.items():
                sums[name] = sums.get(name, 0.0) + value.item() * len(batch)
            listener.batch(len(batch), loss.item())
        return {name: value / len(self.examples) for name, value in sums.items()}

    def _encoded(self, batch: list["_Read"], stage: str = "") -> tuple[Features, TrainingBatch]:
        samples, device = [example.sample for *_, example in batch], self.machine.device

        def inputs(places: Sequence[int]) -> Tensor:
            rows = ((batch[place][1], samples[place]) for place in places)
            made = on_device([self._input(it) if row is None else row for row, it in rows], device)
            return made if made.is_floating_point() else self.encoder.input.normalise(made)

        features = self.encoder.features([digest for digest, *_ in batch], inputs)
        return features, TrainingBatch(
            [example.data.prompt for *_, example in batch],
            torch.tensor([sample.label for sample in samples], device=device),
            torch.from_numpy(np.stack([mask for _, _, mask, _ in batch])).to(device),
            stage,
        )

    def _batches(self, stage: Stage, epoch: int) -> Iterator[list["_Read"]]:
        generator = torch.Generator().manual_seed(self.job.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.examples), generator=generator).tolist()

        def read(index: int) -> _Read:
            return self._read(stage, epoch, index)

        yield from batches(ahead(order, read, self.machine.workers, stage.batch_size), stage.batch_size)

    def _read(self, stage: Stage, epoch: int, index: int) -> "_Read":
        example, model = self.examples[index], self.model
        rng = np.random.default_rng([self.job.seed, epoch, index])
        sample = example.sample
        if rng.random() < stage.mosaic.get(example.dataset, 0.0):
            image, mask = mosaic(draw_four(example.data, rng, of=stage.mosaic_of))
        elif not stage.augments:
            return self._unchanged(index)
        else:
            image = read_image(sample.image)
            mask = read_mask(sample.mask) if sample.mask else np.zeros((image.height, image.width), np.uint8)
        generator = torch.Generator()
        if stage.augments:
            generator.manual_seed(int(rng.integers(1 << 62)))
            image, mask = model.augment(image, mask, stage.name, generator)
        mask = self._resized(mask)
        if not stage.augments:
            return None, self.encoder.input.resize(image), mask, example
        return None, *model.augment_input(model.preprocess(image), mask, stage.name, generator), example

    def _unchanged(self, index: int) -> "_Read":
        example = self.examples[index]
        digest = self.digest(example.sample.image)
        tensor = None if self.encoder.has(digest) else self._input(example.sample)
        return digest, tensor, self._mask(example.sample), example

    def _input(self, sample: Sample) -> Tensor:
        return self.encoder.input.resize(read_image(sample.image))

    def _mask(self, sample: Sample) -> np.ndarray:
        if sample.mask is None:
            return np.zeros((self.model.image_size, self.model.image_size), np.uint8)
        return self._resized(read_mask(sample.mask))

    def _resized(self, mask: np.ndarray) -> np.ndarray:
        return resize_mask(mask, self.model.image_size, nearest=self.model.training_masks == "nearest")


_Read = tuple[str | None, Tensor | None, np.ndarray, Example]
"""Digest (None if no features are kept), input (None if they are), normalised if augmented, mask, example."""
