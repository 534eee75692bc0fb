"""What a run uses and what changes no number: device, batches, readers, memory."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from bench.errors import BenchError
from bench.run.features import FeatureCache
from datasets.files import sha256_of
from methods.precision import plain_float32


def _nobody(text: str) -> None:
    """Hear nothing."""


In = TypeVar("In")
Out = TypeVar("Out")
FAILURES = (Exception, SystemExit)
"""What fails one model or cell and lets the others go on; a method may call `sys.exit`."""


class OutOfMemoryError(BenchError):
    """The device cannot hold a single image beside what is loaded."""


@dataclass(frozen=True)
class Machine:
    """What a run uses and what changes no number."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    batch_size: int = 8
    workers: int = 2
    cache: FeatureCache | None = None
    """Keeps the features of frozen encoders, for methods that allow it."""
    digest: Callable[[Path], str] = sha256_of
    """A file's SHA-256; pass one that remembers (`bench.store.digests`) to save time."""
    memory: int = 4 << 30
    """Bytes that a transductive method and the features of its images may take; what is more goes to disk."""
    note: Callable[[str], None] = _nobody
    """Is told what is being done of a class that is judged as a whole, for whoever watches."""
    models: int | None = None
    """Bytes that models loaded together may take; None: half of what the device has left."""

    def elsewhere(self) -> "Machine":
        """Return what may be pickled: without the cache, digests and ears of this process."""
        return replace(self, cache=None, digest=sha256_of, note=_nobody)

    def models_room(self) -> int:
        """Return the bytes that models loaded together may take."""
        return available_bytes(self.device) // 2 if self.models is None else self.models


def choose_device(word: str) -> torch.device:
    """Return the device for `auto`, `cpu`, `cuda` or `cuda:n`; raises `BenchError` if it is not there.

    Whatever is computed on it from then on is in float32 as IEEE has it, see `methods.precision`.
    """
    plain_float32()
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


def available_bytes(device: torch.device) -> int:
    """Return the memory that the device has left; of a CPU at most what the container allows."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        told = Path("/proc/meminfo").read_text(encoding="ascii").partition("MemAvailable:")[2]
        left = int(told.split()[0]) << 10
    except (OSError, IndexError, ValueError):
        return 8 << 30  # not Linux
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # no container, or none with a limit
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        left = min(left, limit - int((group / "memory.current").read_text(encoding="ascii")))
    return left


def cores() -> int:
    """Return how many CPU cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


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


def on_device(rows: Sequence[Tensor], device: torch.device) -> Tensor:
    """Return tensors of one shape as a batch on the device; on CUDA without waiting for the copy."""
    batch = torch.stack(tuple(rows))
    return batch.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else batch


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was told, so that seconds are its own."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def out_of_memory(error: BaseException | None) -> bool:
    """Return whether the error says that memory, the device's or the computer's, was too short."""
    told = isinstance(error, RuntimeError) and "allocate memory" in str(error)  # torch on a CPU
    return told or isinstance(error, OutOfMemoryError | torch.cuda.OutOfMemoryError | MemoryError)


def in_parts(batch: Sequence[In], work: Callable[[Sequence[In]], Out], device: torch.device) -> list[Out]:
    """Return what `work` makes of the batch, in order: in one part, or in halves where memory is too small.

    Raises `OutOfMemoryError` if the device cannot hold a single item.
    """
    try:
        return [work(batch)]
    except torch.cuda.OutOfMemoryError as error:
        if len(batch) == 1:
            raise OutOfMemoryError(
                f"one image does not fit into {device}'s memory; use --device cpu"
            ) from error
    torch.cuda.empty_cache()
    half = len(batch) // 2
    return [*in_parts(batch[:half], work, device), *in_parts(batch[half:], work, device)]
