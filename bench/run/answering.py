"""Asks the models of a pass about images: each encoder once a batch, each answer held to the contract."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.errors import BenchError
from bench.run.features import Encoder
from bench.run.machine import FAILURES, Machine, in_parts, on_device, out_of_memory
from bench.run.noting import TaskRun
from bench.run.reading import Reader, Shown
from datasets.images import read_image
from methods.base import Features, Prediction, ZeroShotDetector, joined
from methods.pictures import AnyInput, NetworkInput

# How far an answer may move with the batch, as a share of the largest: rounding, and k-means on a GPU.
_BATCH_TOLERANCE = 5e-3


class Inputs:
    """The network inputs of one batch on the device, each made once."""

    def __init__(self, batch: Sequence[Shown], device: torch.device) -> None:
        self._batch, self._device = batch, device
        self._made: dict[AnyInput, Tensor] = {}

    def of(self, wanted: AnyInput, places: Sequence[int]) -> Tensor:
        """Return the inputs (B, 3, S, S) of the images at these places of the batch.

        Raises what a method's own `preprocess` raised.
        """
        if len(places) < len(self._batch):
            whole = self._made.get(wanted)
            return self._make(wanted, places) if whole is None else whole[list(places)]
        if wanted not in self._made:
            self._made[wanted] = self._make(wanted, places)
        return self._made[wanted]

    def prepare(self, wanted: Iterable[AnyInput]) -> None:
        """Make those that several tasks may share and that no features stand for, as far as they go."""
        for each in wanted:
            if isinstance(each, NetworkInput) and all(each in shown.inputs for shown in self._batch):
                with suppress(*FAILURES):  # whose task it is will hear of it
                    self.of(each, range(len(self._batch)))

    def _make(self, wanted: AnyInput, places: Sequence[int]) -> Tensor:
        rows = []
        for place in places:
            shown = self._batch[place]
            if (row := shown.inputs.get(wanted)) is None:  # kept features that are gone after all
                row = wanted.resize(read_image(shown.sample.image))
            if isinstance(row, BaseException):
                raise row
            rows.append(row)
        return wanted.normalise(on_device(rows, self._device))


@dataclass(eq=False)
class Encoding:
    """The tasks of a pass that have one encoder, or a single one."""

    runs: Sequence[TaskRun]
    encoder: Encoder

    @property
    def alive(self) -> list[TaskRun]:
        """The tasks that have not failed."""
        return [run for run in self.runs if run.failure is None]

    @property
    def split(self) -> bool:
        """Whether features are computed apart from what is made of them."""
        return len(self.runs) > 1 or self.encoder.keeps or self.judged

    @property
    def judged(self) -> bool:
        """Whether features of the whole class are asked for."""
        return any(run.model.transductive for run in self.alive)

    def given(self, batch: Sequence[Shown], inputs: Inputs) -> Features | Inputs:
        """Return what the tasks answer from: the features of a batch, or its network inputs as they are.

        A batch too large for the device's memory is halved.
        """
        encoder = self.encoder
        if not self.split:
            return inputs

        def encode(places: Sequence[int]) -> Features:
            return encoder.features(
                [batch[place].digest for place in places],
                lambda missing: inputs.of(encoder.input, [places[index] for index in missing]),
            )

        parts = in_parts(range(len(batch)), encode, encoder.device)
        if len(parts) == 1:
            return parts[0]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def answer(self, run: TaskRun, batch: Sequence[Shown], given: Features | Inputs) -> Prediction:
        """Return a task's prediction, held to the contract, for features or network inputs of a batch."""
        model, device, prompt = run.model, self.encoder.device, run.task.data.prompt

        def predict(places: Sequence[int]) -> Prediction:
            if model.privileged:
                _reveal(model, [batch[place] for place in places], run.side)
            prompts = [prompt] * len(places)
            if not isinstance(given, Inputs):
                return model.score(_rows(given, places), prompts)
            prediction: Prediction = model(given.of(self.encoder.input, places), prompts)
            return prediction

        return checked(model, batch, joined(in_parts(range(len(batch)), predict, device)))


def _rows(features: Features, places: Sequence[int]) -> Features:
    count = len(next(iter(features.values())))
    if len(places) == count:
        return features
    return {name: tensor[places[0] : places[-1] + 1] for name, tensor in features.items()}


def encodings_of(runs: Sequence[TaskRun], machine: Machine) -> list[Encoding]:
    """Return the runs by their encoders; a method without one to share stands alone."""
    groups: dict[object, tuple[Encoder, list[TaskRun]]] = {}
    for run in runs:
        cell = run.task.cell
        with failing([run]):
            encoder = Encoder(
                run.model, cell.method, cell.config["weights"], cache=machine.cache, device=machine.device
            )
            _, of_encoder = groups.setdefault(encoder.key or id(run), (encoder, []))
            of_encoder.append(run)
    return [Encoding(of_encoder, encoder) for encoder, of_encoder in groups.values()]


def checked(model: ZeroShotDetector, batch: Sequence[Shown], prediction: Prediction) -> Prediction:
    """Return the prediction in float32; raises `BenchError` where it does not keep the contract."""
    who, size = type(model).__name__, model.image_size
    expected = (len(batch), size, size)
    if prediction.scores.shape != expected[:1] or prediction.maps.shape != expected:
        raise BenchError(
            f"{who} answered scores {tuple(prediction.scores.shape)} and maps "
            f"{tuple(prediction.maps.shape)}; the contract asks for {expected[:1]} and {expected}"
        )
    for what, values in {"scores": prediction.scores, "maps": prediction.maps}.items():
        if values.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            kind = str(values.dtype).removeprefix("torch.")
            raise BenchError(f"{who} answered {what} in {kind}; the contract asks for float32")
    finite = (torch.isfinite(prediction.scores) & torch.isfinite(prediction.maps).all(dim=(1, 2))).cpu()
    if not finite.all():
        name = batch[int(finite.int().argmin())].sample.name
        raise BenchError(f"{who} answered NaN or infinity for {name}")
    return Prediction(prediction.scores.float().cpu(), prediction.maps.float(), prediction.also)


def look_over(encodings: Sequence[Encoding], machine: Machine) -> None:
    """Refuse models that answer two images of the class otherwise together than each by itself.

    A method that looks at its batch would give other numbers under the same key with another batch size;
    one that means to look at the whole class is `transductive`. Every model is looked over once, on the
    first class where it can be: not if an image cannot be read.
    """
    fresh = [each for each in encodings if any(_not_looked_over(run) for run in each.alive)]
    samples = fresh[0].runs[0].task.samples if fresh else ()
    if len(samples) < 2:
        return
    read = Reader([each.encoder for each in fresh], (), None)
    try:
        pair = [read(sample) for sample in (samples[0], samples[-1])]
    except (OSError, ValueError):
        return
    for encoding in fresh:
        runs = [run for run in encoding.alive if _not_looked_over(run)]
        with failing(runs, refuse=True):
            views = [
                (batch, encoding.given(batch, Inputs(batch, machine.device)))
                for batch in (pair, pair[:1], pair[1:])
            ]
            for run in runs:
                with failing([run], refuse=True):
                    together, *alone = [encoding.answer(run, *view) for view in views]
                    _compare(run, together, joined(alone))
                    run.loaded.looked_over = True


def _not_looked_over(run: TaskRun) -> bool:
    return not (run.loaded.looked_over or run.model.transductive or run.model.privileged)


def _compare(run: TaskRun, together: Prediction, alone: Prediction) -> None:
    answers = (("scores", together.scores, alone.scores), ("maps", together.maps, alone.maps))
    for what, one, other in answers:
        moved, scale = float((one - other).abs().max()), float(other.abs().max())
        allowed = _BATCH_TOLERANCE if run.task.settings.precision == "float32" else 10 * _BATCH_TOLERANCE
        if moved > allowed * scale:
            raise BenchError(
                f"{type(run.model).__name__} answers two images otherwise together than one by one "
                f"({what} move by {moved:.2g}): its numbers would depend on --batch-size. Declare it "
                "transductive and implement judge, or mend it; "
                f"`run_bench.py try --methods {run.task.cell.method}` shows more"
            )


@contextmanager
def failing(runs: Iterable[TaskRun], *, refuse: bool = False) -> Iterator[None]:
    """Let what is raised inside fail these runs and go no further; `refuse`: their models for good."""
    try:
        yield
    except FAILURES as error:
        for run in runs:
            run.failure = run.failure or error
            if refuse and not out_of_memory(error):
                run.loaded.refuse(error)


def _reveal(model: ZeroShotDetector, batch: Sequence[Shown], side: int) -> None:
    size = (model.image_size, model.image_size)
    masks = [shown.mask(side) if shown.masks else np.zeros(size, np.uint8) for shown in batch]
    truths = [mask if mask.shape == size else np.zeros(size, np.uint8) for mask in masks]
    labels = torch.tensor([shown.sample.label for shown in batch])
    model.reveal(labels, torch.from_numpy(np.stack(truths)))
