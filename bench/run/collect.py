"""Where the three wings meet: images through a method into metrics, one class at a time."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.errors import BenchError
from bench.run.features import Encoder, FeatureCache
from bench.run.plan import Job, Settings, Task
from bench.store.provenance import provenance
from datasets.files import sha256_of
from datasets.images import read_image, resize_mask
from datasets.samples import Sample
from datasets.truth import Remark, read_truth
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
    cache: FeatureCache | None = None
    """Keeps what frozen encoders say, for methods that allow it."""
    digest: Callable[[Path], str] = sha256_of
    """A file's SHA-256; pass one that remembers (`bench.store.digests`) to save time."""


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
    remarks: list[Remark] = field(default_factory=list)
    """What is odd about the class's masks."""


@dataclass(frozen=True)
class _Loaded:
    sample: Sample
    digest: str | None
    tensor: Tensor | None
    """None if the image's features are kept."""
    mask: np.ndarray | None
    mask_size: tuple[int, int] | None
    remarks: tuple[Remark, ...]
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

    encoder = Encoder(
        model,
        task.cell.method,
        task.cell.config["weights"],
        cache=machine.cache,
        device=device,
        precision=settings.precision,
    )

    def read(sample: Sample) -> _Loaded:
        return _read(sample, model, settings, with_pixels, encoder)

    with torch.inference_mode():
        for batch in batches(ahead(samples, read, machine.workers, machine.batch_size), machine.batch_size):
            started = time.perf_counter()
            prediction = _predict(model, batch, task, encoder)
            scores = prediction.scores.float().cpu()
            inferred = time.perf_counter()
            _note_scores(collected, batch, scores, prediction)
            if pixels is not None:
                _note_maps(pixels, batch, prediction.maps.float(), settings)
            collected.remarks += [remark for loaded in batch for remark in loaded.remarks]
            collected.seconds["read"] += sum(loaded.seconds for loaded in batch)
            collected.seconds["inference"] += inferred - started
            collected.seconds["metrics"] += time.perf_counter() - inferred
            heard(len(batch))
    if device.type == "cuda":
        collected.peak_gpu_bytes = torch.cuda.max_memory_allocated(device)
    return collected


def _read(
    sample: Sample, model: ZeroShotDetector, settings: Settings, with_pixels: bool, encoder: Encoder
) -> _Loaded:
    started = time.perf_counter()
    digest = encoder.digest(sample.image)
    known = digest is not None and encoder.has(digest)
    native = settings.masks == "native"
    image = None if known and not (with_pixels and native) else read_image(sample.image)
    mask = mask_size = None
    remarks: tuple[Remark, ...] = ()
    if with_pixels:
        if sample.mask is not None:
            truth = read_truth(sample, settings.mask_threshold)
            mask, remarks = truth.mask, truth.remarks
        elif image is not None:
            mask = np.zeros((image.height, image.width), np.uint8)
        else:
            mask = np.zeros((model.image_size, model.image_size), np.uint8)
        mask_size = mask.shape
        if not native:
            mask = resize_mask(mask, model.image_size)
    tensor = None if known or image is None else model.preprocess(image)
    return _Loaded(sample, digest, tensor, mask, mask_size, remarks, time.perf_counter() - started)


def _predict(model: ZeroShotDetector, batch: Sequence[_Loaded], task: Task, encoder: Encoder) -> Prediction:
    if model.privileged:
        _reveal(model, batch)
    dtype, device = PRECISIONS[task.settings.precision], encoder.device
    context: AbstractContextManager[Any] = torch.autocast(device.type, dtype) if dtype else nullcontext()
    prompts = [task.data.prompt] * len(batch)
    try:
        with context:
            prediction: Prediction
            if encoder.key is None:
                images = torch.stack([loaded.tensor for loaded in batch if loaded.tensor is not None])
                prediction = model(images.to(device), prompts)
            else:
                features = encoder.features(model, [(loaded.digest, loaded.tensor) for loaded in batch])
                prediction = model.score(features, prompts)
    except torch.cuda.OutOfMemoryError as error:
        if len(batch) == 1:
            raise BenchError(f"one image does not fit into {device}'s memory; use --device cpu") from error
        torch.cuda.empty_cache()
        half = len(batch) // 2
        parts = [_predict(model, part, task, encoder) for part in (batch[:half], batch[half:])]
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


def ahead(items: Iterable[In], read: Callable[[In], Out], workers: int, extra: int) -> Iterator[Out]:
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


def batches(items: Iterable[Out], size: int) -> Iterator[list[Out]]:
    """Yield lists of `size` items; the last one may be shorter."""
    batch: list[Out] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
