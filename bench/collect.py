"""Where the three wings meet: images through a method into metrics, one class at a time."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.errors import BenchError
from bench.plan import Job, Settings, Task
from bench.provenance import provenance
from datasets.images import read_image, read_mask, resize_mask
from datasets.samples import Sample
from methods.base import Prediction, ZeroShotDetector
from metrics import PixelMetrics

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True)
class Machine:
    """What a run uses and what changes no number."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    batch_size: int = 8
    workers: int = 2


def choose_device(word: str) -> torch.device:
    """Return the device for `auto`, `cpu`, `cuda` or `cuda:n`; raises `BenchError` if it is not there."""
    if word == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(word)
    except RuntimeError as error:
        raise BenchError(f"--device {word}: use auto, cpu, cuda or cuda:n") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BenchError(
            f"--device {word}: torch sees {torch.cuda.device_count()} CUDA devices here; use --device cpu"
        )
    if device.type not in ("cpu", "cuda"):
        raise BenchError(f"--device {word}: use auto, cpu, cuda or cuda:n")
    return device


def load(job: Job, device: torch.device) -> tuple[ZeroShotDetector, float]:
    """Return the job's model on the device, ready to answer, and the seconds that took."""
    started = time.perf_counter()
    model = job.request.detector.load(job.files, **job.options).to(device).eval().requires_grad_(False)
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


@dataclass(frozen=True)
class _Loaded:
    sample: Sample
    tensor: Tensor
    mask: np.ndarray | None
    mask_size: tuple[int, int] | None
    seconds: float


def collect(
    model: ZeroShotDetector, task: Task, machine: Machine, heard: Callable[[int], None] = lambda count: None
) -> Collected:
    """Send the task's images through the model. Maps go straight into the pixel metrics and are dropped."""
    settings, device = task.settings, machine.device
    samples = task.samples
    with_pixels = task.data.has_pixel_level
    pixels = PixelMetrics(mode=settings.metrics_mode, flavour=settings.aupro_flavour) if with_pixels else None
    collected = Collected(
        samples, [], pixels, {"read": 0.0, "inference": 0.0, "metrics": 0.0}, provenance(device), None
    )
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    def read(sample: Sample) -> _Loaded:
        return _read(sample, model, settings, with_pixels)

    with torch.inference_mode():
        for batch in _batches(_ahead(samples, read, machine.workers, machine.batch_size), machine.batch_size):
            started = time.perf_counter()
            prediction = _predict(model, batch, task.data.prompt, settings.precision, device)
            scores = prediction.scores.float().cpu()
            inferred = time.perf_counter()
            _note_scores(collected, batch, scores, prediction)
            if pixels is not None:
                _note_maps(pixels, batch, prediction.maps.float(), settings)
            collected.seconds["read"] += sum(loaded.seconds for loaded in batch)
            collected.seconds["inference"] += inferred - started
            collected.seconds["metrics"] += time.perf_counter() - inferred
            heard(len(batch))
    if device.type == "cuda":
        collected.peak_gpu_bytes = torch.cuda.max_memory_allocated(device)
    return collected


def _read(sample: Sample, model: ZeroShotDetector, settings: Settings, with_pixels: bool) -> _Loaded:
    started = time.perf_counter()
    image = read_image(sample.image)
    mask = mask_size = None
    if with_pixels:
        size = (image.height, image.width)
        full = (
            np.zeros(size, np.uint8)
            if sample.mask is None
            else read_mask(sample.mask, settings.mask_threshold)
        )
        if settings.masks == "native":
            mask, mask_size = full, full.shape
        else:
            mask = resize_mask(full, model.image_size)
    tensor = model.preprocess(image)
    return _Loaded(sample, tensor, mask, mask_size, time.perf_counter() - started)


def _predict(
    model: ZeroShotDetector, batch: Sequence[_Loaded], prompt: str, precision: str, device: torch.device
) -> Prediction:
    if model.privileged:
        _reveal(model, batch)
    dtype = PRECISIONS[precision]
    context: AbstractContextManager[Any] = torch.autocast(device.type, dtype) if dtype else nullcontext()
    try:
        with context:
            images = torch.stack([loaded.tensor for loaded in batch]).to(device)
            prediction: Prediction = model(images, [prompt] * len(batch))
    except torch.cuda.OutOfMemoryError as error:
        if len(batch) == 1:
            raise BenchError(
                f"one image does not fit into the memory of {device}; use --device cpu"
            ) from error
        torch.cuda.empty_cache()
        half = len(batch) // 2
        parts = [_predict(model, part, prompt, precision, device) for part in (batch[:half], batch[half:])]
        return Prediction(
            torch.cat([part.scores for part in parts]),
            torch.cat([part.maps for part in parts]),
            {name: torch.cat([part.also[name] for part in parts]) for name in parts[0].also},
        )
    expected = (len(batch), model.image_size, model.image_size)
    if prediction.scores.shape != expected[:1] or prediction.maps.shape != expected:
        raise BenchError(
            f"{type(model).__name__} answered scores {tuple(prediction.scores.shape)} and maps "
            f"{tuple(prediction.maps.shape)}; the contract asks for {expected[:1]} and {expected}"
        )
    return prediction


def _reveal(model: ZeroShotDetector, batch: Sequence[_Loaded]) -> None:
    size = (model.image_size, model.image_size)
    truths = [
        torch.from_numpy(loaded.mask)
        if loaded.mask is not None and loaded.mask.shape == size
        else torch.zeros(size, dtype=torch.uint8)
        for loaded in batch
    ]
    model.reveal(torch.tensor([loaded.sample.label for loaded in batch]), torch.stack(truths))


def _note_scores(
    collected: Collected, batch: Sequence[_Loaded], scores: Tensor, prediction: Prediction
) -> None:
    also = {name: values.float().cpu().tolist() for name, values in prediction.also.items()}
    for index, loaded in enumerate(batch):
        row: dict[str, Any] = {
            "image": loaded.sample.name,
            "label": loaded.sample.label,
            "score": scores[index].item(),
        }
        if also:
            row["also"] = {name: values[index] for name, values in also.items()}
        collected.scores.append(row)


def _note_maps(pixels: PixelMetrics, batch: Sequence[_Loaded], maps: Tensor, settings: Settings) -> None:
    names = [loaded.sample.name for loaded in batch]
    if settings.masks == "resized":
        pixels.add(maps, np.stack([_mask(loaded) for loaded in batch]), names)
        return
    for name, loaded, answer in zip(names, batch, maps, strict=True):
        resized = F.interpolate(
            answer[None, None], size=loaded.mask_size, mode="bilinear", align_corners=False
        )
        pixels.add(resized[0, 0], _mask(loaded), [name])


def _mask(loaded: _Loaded) -> np.ndarray:
    assert loaded.mask is not None
    return loaded.mask


def _ahead(items: Iterable[In], read: Callable[[In], Out], workers: int, extra: int) -> Iterator[Out]:
    """Yield `read(item)` in order; threads read at most `workers + extra` items ahead."""
    if workers < 1:
        yield from map(read, items)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="read") as pool:
        waiting: deque[Future[Out]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(read, item))
                if len(waiting) > workers + extra:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _batches(items: Iterable[Out], size: int) -> Iterator[list[Out]]:
    batch: list[Out] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
