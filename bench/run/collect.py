"""Where the three wings meet: one pass over the images of a class, for all tasks that ask for it."""

import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch

from bench.errors import BenchError
from bench.run.answering import Encoding, Inputs, checked, encodings_of, failing, look_over
from bench.run.image_set import ClassImages
from bench.run.machine import Machine, ahead, batches, wait
from bench.run.noting import TaskRun
from bench.run.reading import Reader, Shown
from methods.base import Prediction


def collect(
    runs: Sequence[TaskRun], machine: Machine, done: Callable[[int], None] = lambda count: None
) -> None:
    """Send the images of a class through the models of all its tasks, reading each image once.

    The runs are of one class, with settings that differ at most in precision. What fails a task is put down
    in its run, and the others go on; an image that cannot be read fails all. `done` is told how many more
    images are finished, once for every task.
    """
    for run in runs:
        with failing([run]):
            run.begin(machine.device, len(runs))
    with torch.inference_mode():
        encodings = encodings_of(runs, machine)
        look_over(encodings, machine)
        if encodings := [each for each in encodings if each.alive]:
            with failing(runs):
                _Pass(encodings, machine, done).run()


class _Pass:
    def __init__(self, encodings: Sequence[Encoding], machine: Machine, done: Callable[[int], None]) -> None:
        self._encodings, self._machine, self._done = encodings, machine, done
        self._shown: list[Shown] = []
        """The images so far, without inputs, where a task answers for the whole class."""
        self._images: dict[Encoding, ClassImages] = {}

    @property
    def _alive(self) -> list[TaskRun]:
        return [run for encoding in self._encodings for run in encoding.alive]

    def run(self) -> None:
        machine, device, task = self._machine, self._machine.device, self._alive[0].task
        judged = [encoding for encoding in self._encodings if encoding.judged]
        reader = Reader(
            [encoding.encoder for encoding in self._encodings],
            {run.side for run in self._alive},
            task.settings if task.data.has_pixel_level else None,
            machine.digest if judged or any(each.encoder.keeps for each in self._encodings) else None,
        )
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        with ExitStack() as stack:
            for encoding in judged:
                images = ClassImages(machine, len(task.samples), len(judged))
                self._images[encoding] = stack.enter_context(images)
            size = machine.batch_size
            for batch in batches(ahead(task.samples, reader, machine.workers, size), size):
                self._take(batch)
                if not self._alive:
                    return
            for encoding, images in self._images.items():
                for run in encoding.alive:
                    if run.model.transductive:
                        with failing([run]):
                            self._judge(run, images)
        for run in self._alive:
            with failing([run]):
                run.finish()
                if device.type == "cuda":
                    run.peak_gpu_bytes = torch.cuda.max_memory_allocated(device)

    def _take(self, batch: Sequence[Shown]) -> None:
        device, alive = self._machine.device, self._alive
        started = time.perf_counter()
        inputs = Inputs(batch, device)
        inputs.prepare(encoding.encoder.input for encoding in self._encodings if encoding.alive)
        wait(device)
        for run in alive:
            run.seconds["read"] += (time.perf_counter() - started) / len(alive)
        for encoding in self._encodings:
            if of_encoder := encoding.alive:
                with failing(of_encoder):
                    self._answer(encoding, of_encoder, batch, inputs)
        if self._images:
            self._shown += [shown.without_inputs() for shown in batch]

    def _answer(
        self, encoding: Encoding, runs: Sequence[TaskRun], batch: Sequence[Shown], inputs: Inputs
    ) -> None:
        started = time.perf_counter()
        given = encoding.given(batch, inputs)
        wait(self._machine.device)
        for run in runs:
            run.seconds["inference"] += (time.perf_counter() - started) / len(runs)
        if encoding in self._images and not isinstance(given, Inputs):
            self._images[encoding].add([shown.digest or "" for shown in batch], given)
        for run in runs:
            if run.model.transductive:
                continue
            with failing([run]):
                started = time.perf_counter()
                prediction = encoding.answer(run, batch, given)
                run.seconds["inference"] += time.perf_counter() - started
                self._note(run, batch, prediction)

    def _judge(self, run: TaskRun, images: ClassImages) -> None:
        """Take the predictions for all images of the class together."""
        seconds, device, left = run.seconds, self._machine.device, iter(self._shown)
        seconds["encode"] = seconds["inference"]
        predictions = run.model.judge(images, run.task.data.prompt)
        while True:
            started = time.perf_counter()
            prediction = next(predictions, None)
            wait(device)
            seconds["inference"] += time.perf_counter() - started
            if prediction is None:
                break
            part = list(itertools.islice(left, len(prediction.scores)))
            self._note(run, part, checked(run.model, part, prediction))
        if (missing := len(list(left))) > 0:
            raise BenchError(f"{type(run.model).__name__}.judge left {missing} images without an answer")

    def _note(self, run: TaskRun, batch: Sequence[Shown], prediction: Prediction) -> None:
        started = time.perf_counter()
        run.note(batch, prediction)
        run.seconds["metrics"] += time.perf_counter() - started
        self._done(len(batch))
