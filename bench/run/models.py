"""The models that a worker keeps loaded: as many as fit, frozen weights that several have in common once."""

import gc
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from bench.run.grouping import model_bytes
from bench.run.machine import FAILURES
from bench.run.plan import ModelSpec
from methods.base import ZeroShotDetector


@dataclass
class LoadedModel:
    """A model, or why there is none."""

    spec: ModelSpec
    _model: ZeroShotDetector | None
    seconds: float
    failure: BaseException | None = None
    looked_over: bool = False
    """Whether its answers were seen not to depend on the batch."""

    @classmethod
    def of(cls, spec: ModelSpec, device: torch.device) -> Self:
        """Load the model on the device, ready to answer."""
        started = time.perf_counter()
        try:
            detector = spec.request.detector
            model = detector.load(spec.files, **spec.options).to(device).eval().requires_grad_(False)
            model.encoder_precision = spec.precision
        except FAILURES as error:
            return cls(spec, None, 0.0, error)
        return cls(spec, model, time.perf_counter() - started)

    @property
    def model(self) -> ZeroShotDetector:
        """The model; raises again what loading it, or looking it over, raised."""
        if self.failure is not None:
            raise self.failure
        assert self._model is not None
        return self._model

    def refuse(self, why: BaseException) -> None:
        """Answer nothing any more."""
        self.failure, self._model = why, None


class Models:
    """Loads models once, and drops those that are not needed where memory is short."""

    def __init__(self, device: torch.device, loading: Callable[[ModelSpec], None]) -> None:
        """Load on the device; `loading` is told of each model before it is."""
        self._device, self._loading = device, loading
        self._loaded: list[LoadedModel] = []

    def __len__(self) -> int:
        """Return how many are loaded."""
        return sum(each.failure is None for each in self._loaded)

    def make_room(self, wanted: Sequence[ModelSpec], memory: int) -> None:
        """Drop models that are not wanted unless all fit into so many bytes, of which 0 is none."""
        here = [each.spec for each in self._loaded if each.failure is None]
        if not memory or model_bytes([*wanted, *here]) > memory:
            loaded = len(self._loaded)
            self._loaded = [each for each in self._loaded if each.failure is not None or each.spec in wanted]
            if len(self._loaded) < loaded:
                gc.collect()  # a model keeps its texts by its own methods: a cycle, which else would stay
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    def forget(self, spec: ModelSpec) -> None:
        """Know nothing of a model any more."""
        self._loaded = [each for each in self._loaded if each.spec != spec]

    def get(self, spec: ModelSpec) -> LoadedModel:
        """Return the model, loaded once; it may hold why there is none."""
        for each in self._loaded:
            if each.spec == spec:
                return each
        self._loading(spec)
        loaded = LoadedModel.of(spec, self._device)
        if loaded.failure is None:
            with suppress(*FAILURES):  # it would only have saved memory
                _share_weights(loaded.model, [each.model for each in self._loaded if each.failure is None])
        self._loaded.append(loaded)
        return loaded


def _share_weights(model: ZeroShotDetector, others: Iterable[ZeroShotDetector]) -> None:
    """Let parameters that equal one of the same name in another model lie in its memory.

    Buffers stay apart: a method may change its own.
    """
    known: dict[str, list[Tensor]] = {}
    for other in others:
        for name, tensor in other.named_parameters():
            if all(tensor.data_ptr() != each.data_ptr() for each in known.get(name, ())):
                known.setdefault(name, []).append(tensor)
    for name, own in model.named_parameters():
        alike = (each for each in known.get(name, ()) if _layout(each) == _layout(own))
        if (same := next((each for each in alike if torch.equal(each, own)), None)) is not None:
            own.data = same.data


def _layout(tensor: Tensor) -> tuple[object, ...]:
    return tensor.shape, tensor.stride(), tensor.dtype
