"""Where the three wings meet: images through a method into metrics, one class at a time."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.errors import BenchError
from bench.run.features import Encoder
from bench.run.image_set import ClassImages
from bench.run.machine import Machine, ahead, batches, in_parts
from bench.run.plan import Job, Settings, Task
from bench.store.maps import MapsToKeep
from bench.store.provenance import provenance
from datasets.images import read_image, resize_mask
from datasets.samples import Sample
from datasets.truth import Remark, read_truth
from methods.base import Prediction, ZeroShotDetector, joined
from metrics import PixelMetrics

# How far an answer may move with the batch, as a share of the largest: rounding, and k-means on a GPU.
_BATCH_TOLERANCE = 5e-3


def load(job: Job, device: torch.device) -> tuple[ZeroShotDetector, float]:
    """Return the job's model on the device, ready to answer, and the seconds that took."""
    started = time.perf_counter()
    model = job.request.detector.load(job.files, **job.options).to(device).eval().requires_grad_(False)
    model.encoder_precision = job.precision
    return model, time.perf_counter() - started


@dataclass
class Collected:
    """A class after inference: per-image scores, and pixel metrics that have taken every map."""

    samples: Sequence[Sample]
    scores: list[dict[str, Any]]
    pixels: PixelMetrics | None
    seconds: dict[str, float]
    started: dict[str, Any]
    peak_gpu_bytes: int | None
    remarks: list[Remark] = field(default_factory=list)
    """What is odd about the class's masks."""
    maps: MapsToKeep | None = None
    """The maps, where the task keeps them."""


@dataclass(frozen=True)
class _Loaded:
    sample: Sample
    digest: str | None
    tensor: Tensor | None
    """None if the image's features are kept."""
    mask: np.ndarray | None
    remarks: tuple[Remark, ...]
    seconds: float


def collect(
    model: ZeroShotDetector, task: Task, machine: Machine, done: Callable[[int], None] = lambda count: None
) -> Collected:
    """Send the task's images through the model; `done` is told how many more are finished.

    Maps go straight into the pixel metrics, and small into what is kept of them, and are dropped.
    """
    settings, device = task.settings, machine.device
    pixels = None
    if task.data.has_pixel_level:
        pixels = PixelMetrics(mode=settings.metrics_mode, flavour=settings.aupro_flavour)
    seconds = {"read": 0.0, "inference": 0.0, "metrics": 0.0}
    collected = Collected(task.samples, [], pixels, seconds, provenance(device), None)
    collected.maps = MapsToKeep() if task.save_maps else None
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with torch.inference_mode():
        run = _judged if model.transductive else _scored
        for batch, answer in run(model, task, machine, seconds):
            started = time.perf_counter()
            prediction = _checked(model, batch, answer)
            _note_scores(collected, batch, prediction)
            _note_maps(collected, batch, prediction.maps, settings)
            collected.remarks += [remark for loaded in batch for remark in loaded.remarks]
            seconds["read"] += sum(loaded.seconds for loaded in batch)
            seconds["metrics"] += time.perf_counter() - started
            done(len(batch))
    if model.class_normalised:
        _finish_scores(model, collected)
    if device.type == "cuda":
        collected.peak_gpu_bytes = torch.cuda.max_memory_allocated(device)
    return collected


def _encoder(model: ZeroShotDetector, task: Task, machine: Machine) -> Encoder:
    weights = task.cell.config["weights"]
    return Encoder(model, task.cell.method, weights, cache=machine.cache, device=machine.device)


Answers = Iterator[tuple[Sequence[_Loaded], Prediction]]


def _scored(model: ZeroShotDetector, task: Task, machine: Machine, seconds: dict[str, float]) -> Answers:
    """Yield batches of images with the method's predictions, each image by itself."""
    encoder = _encoder(model, task, machine)

    def read(sample: Sample) -> _Loaded:
        return _read(sample, model, task, encoder)

    size = machine.batch_size
    for batch in batches(ahead(task.samples, read, machine.workers, size), size):
        started = time.perf_counter()
        prediction = _predict(model, batch, task, encoder)
        _wait(machine.device)
        seconds["inference"] += time.perf_counter() - started
        yield batch, prediction


def _judged(model: ZeroShotDetector, task: Task, machine: Machine, seconds: dict[str, float]) -> Answers:
    """Encode all images of the class, then yield them with the predictions for all together."""
    started = time.perf_counter()
    encoder, device = _encoder(model, task, machine), machine.device
    with ClassImages(model, task.samples, machine, encoder) as images:
        seconds["encode"] = seconds["inference"] = time.perf_counter() - started
        samples = iter(task.samples)
        predictions = model.judge(images, task.data.prompt)
        while True:
            started = time.perf_counter()
            prediction = next(predictions, None)
            _wait(device)
            seconds["inference"] += time.perf_counter() - started
            if prediction is None:
                break
            part = list(itertools.islice(samples, len(prediction.scores)))
            yield [_read(sample, model, task, None) for sample in part], prediction
        if (left := len(list(samples))) > 0:
            raise BenchError(f"{type(model).__name__}.judge left {left} images without an answer")


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _read(sample: Sample, model: ZeroShotDetector, task: Task, encoder: Encoder | None) -> _Loaded:
    """Read an image and its mask; without an encoder the mask alone."""
    started, settings, with_pixels = time.perf_counter(), task.settings, task.data.has_pixel_level
    digest = encoder.digest(sample.image) if encoder else None
    known = encoder is None or (digest is not None and encoder.has(digest))
    native = settings.masks == "native"
    image = None if known and not (with_pixels and native) else read_image(sample.image)
    mask = None
    remarks: tuple[Remark, ...] = ()
    if with_pixels:
        if sample.mask is not None:
            truth = read_truth(sample, settings.mask_threshold)
            mask, remarks = truth.mask, truth.remarks
        elif image is not None:
            mask = np.zeros((image.height, image.width), np.uint8)
        else:
            mask = np.zeros((model.image_size, model.image_size), np.uint8)
        if not native:
            mask = resize_mask(mask, model.image_size)
    tensor = None if known or image is None else model.preprocess(image)
    return _Loaded(sample, digest, tensor, mask, remarks, time.perf_counter() - started)


def _predict(model: ZeroShotDetector, batch: Sequence[_Loaded], task: Task, encoder: Encoder) -> Prediction:
    """Return the batch's prediction; a batch too large for the device's memory is halved."""

    def predict(part: Sequence[_Loaded]) -> Prediction:
        if model.privileged:
            _reveal(model, part)
        prompts = [task.data.prompt] * len(part)
        if encoder.key is None:
            images = torch.stack([each.tensor for each in part if each.tensor is not None])
            prediction: Prediction = model(images.to(encoder.device), prompts)
            return prediction
        rows = [(each.digest, each.tensor) for each in part]
        return model.score(encoder.features(rows, lambda index: _input(model, part[index].sample)), prompts)

    return joined(in_parts(batch, predict, encoder.device))


def _input(model: ZeroShotDetector, sample: Sample) -> Tensor:
    return model.preprocess(read_image(sample.image))


def _checked(model: ZeroShotDetector, batch: Sequence[_Loaded], prediction: Prediction) -> Prediction:
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


def refuse_batchwise(model: ZeroShotDetector, task: Task, machine: Machine) -> bool:
    """Raise `BenchError` if two images of the task are answered otherwise together than each by itself.

    Returns whether that could be seen: not if an image cannot be read.

    A method that looks at its batch would give other numbers under the same key with another batch size;
    one that means to look at the whole class is `transductive`.
    """
    if model.transductive or model.privileged:
        return True
    if len(task.samples) < 2:
        return False
    encoder = _encoder(model, task, replace(machine, cache=None))
    try:
        pair = [_read(sample, model, task, encoder) for sample in (task.samples[0], task.samples[-1])]
    except (OSError, ValueError):
        return False
    with torch.inference_mode():
        together = _checked(model, pair, _predict(model, pair, task, encoder))
        alone = joined([_checked(model, [each], _predict(model, [each], task, encoder)) for each in pair])
    answers = (("scores", together.scores, alone.scores), ("maps", together.maps, alone.maps))
    for what, one, other in answers:
        moved, scale = float((one - other).abs().max()), float(other.abs().max())
        allowed = _BATCH_TOLERANCE if task.settings.precision == "float32" else 10 * _BATCH_TOLERANCE
        if moved > allowed * scale:
            raise BenchError(
                f"{type(model).__name__} answers two images otherwise together than one by one ({what} move "
                f"by {moved:.2g}): its numbers would depend on --batch-size. Declare it transductive and "
                f"implement judge, or mend it; `run_bench.py try --methods {task.cell.method}` shows more"
            )
    return True


def _reveal(model: ZeroShotDetector, batch: Sequence[_Loaded]) -> None:
    size = (model.image_size, model.image_size)
    truths = [
        torch.from_numpy(loaded.mask)
        if loaded.mask is not None and loaded.mask.shape == size
        else torch.zeros(size, dtype=torch.uint8)
        for loaded in batch
    ]
    model.reveal(torch.tensor([loaded.sample.label for loaded in batch]), torch.stack(truths))


def _note_scores(collected: Collected, batch: Sequence[_Loaded], prediction: Prediction) -> None:
    scores = prediction.scores.tolist()
    also = {name: values.float().tolist() for name, values in prediction.also.items()}
    for index, loaded in enumerate(batch):
        row = {"image": loaded.sample.name, "label": loaded.sample.label, "score": scores[index]}
        if also:
            row["also"] = {name: values[index] for name, values in also.items()}
        collected.scores.append(row)


def _finish_scores(model: ZeroShotDetector, collected: Collected) -> None:
    rows = collected.scores
    also = {name: torch.tensor([row["also"][name] for row in rows]) for name in rows[0]["also"]}
    for row, score in zip(rows, model.finish(also).tolist(), strict=True):
        row["score"] = score


def _note_maps(collected: Collected, batch: Sequence[_Loaded], maps: Tensor, settings: Settings) -> None:
    pixels, kept = collected.pixels, collected.maps
    if kept is not None:
        kept.add(maps.cpu().numpy())
    for loaded, answer in zip(batch, maps, strict=True) if pixels is not None else ():
        assert loaded.mask is not None and pixels is not None
        scores, shape = answer, loaded.mask.shape
        if settings.masks == "native":
            scores = F.interpolate(answer[None, None], shape, mode="bilinear", align_corners=False)[0, 0]
        pixels.add(scores, loaded.mask, loaded.sample.name)
        if kept is not None:
            kept.curves.add(scores.cpu().numpy(), loaded.mask)
