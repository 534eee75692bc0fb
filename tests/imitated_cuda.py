"""A CUDA device imitated on the CPU: tensors that say they lie on `cuda:0`, and compute on the CPU.

Inside `imitated_cuda` whatever PyTorch is told to put on CUDA becomes such a tensor. Each operation is held
to what a GPU holds it to: operands on one device, no NumPy view of a device's memory, random numbers of a
device from a generator of the same, no copy to the host that nobody waits for, pinned memory of host tensors
alone. Values are real, so that nothing that looks at them has to be left out (k-means, `topk`, `.tolist()`),
and autocast is CUDA's own, with its lists of operations. Only a GPU can tell: its kernels, its memory, speed.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
_HOST_INDICES = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_unsafe_index")
"""May be given indices on the CPU whatever the device."""
_BYTES = 8 << 30


class _Own(threading.local):
    code = False
    """Whether PyTorch's own code runs on a `ForAutograd`: its "cpu" is the device."""


_OWN = _Own()


class OnCuda(Tensor):
    """A tensor on the imitated device; `values` has what it holds."""

    values: Tensor
    backend = CUDA
    """Whose kernels PyTorch's own code takes it for."""

    @staticmethod
    def __new__(cls, values: Tensor) -> "OnCuda":
        return Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=cls.backend,
        )

    def __init__(self, values: Tensor) -> None:
        self.values = values

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.values.untyped_storage()

    def new_tensor(self, data: Any, *, dtype: Any = None, **more: Any) -> Tensor:
        return torch.tensor(data, dtype=dtype or self.dtype, **more).to(CUDA)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.values.__reduce_ex__(protocol)  # as a file loaded to the CPU

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


class ForAutograd(OnCuda):
    """The same, but for PyTorch's own code a CPU tensor: its backward pass needs no driver.

    Autocast passes it by, so that it is for training, which is in float32.
    """

    backend = CPU

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        told = [each for each in (*args, kwargs.get("device")) if isinstance(each, str | torch.device)]
        if told and torch.device(told[0]).type == "cpu":  # elsewhere, though not for PyTorch's own code
            with torch._C.DisableTorchFunctionSubclass():
                return torch.ops.aten._to_copy(self, device=CPU).to(*args, **kwargs)
        return super().to(*args, **kwargs)

    def cpu(self) -> Tensor:
        return self.to(CPU)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inside, _OWN.code = _OWN.code, True
        try:
            with torch._C.DisableTorchFunctionSubclass():
                return function(*args, **kwargs or {})
        finally:
            _OWN.code = inside


class _Everywhere(TorchDispatchMode):
    def __init__(self, kind: type[OnCuda]) -> None:
        super().__init__()
        self.kind = kind

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {}, self.kind)


def _run(function: Any, args: Any, kwargs: dict[str, Any], kind: type[OnCuda] | None = None) -> Any:
    name, whole = function._schema.name, tree_leaves((args, kwargs))
    told = next((each for each in whole if isinstance(each, torch.device)), None)
    given = [each for each in whole if isinstance(each, Tensor)]
    there = [each for each in given if isinstance(each, OnCuda)]
    kind = type(there[0]) if there else kind
    if told is not None:
        on_cuda = told.type == "cuda" or _OWN.code
        if there and not on_cuda and kwargs.get("non_blocking"):
            raise AssertionError(f"{name}: a copy to the host is read before it is there; copy blocking")
    else:
        on_cuda = bool(there)
        if there and name not in ("aten::copy_", "aten::_to_copy"):
            _same_device(function, name, args, given)
    generator = kwargs.get("generator")
    if on_cuda and generator is not None:
        raise RuntimeError(f"{name}: Expected a 'cuda' device type for generator but found 'cpu'")
    if name == "aten::_fused_sdp_choice" and on_cuda:
        return 0  # the plain one; the CPU's others are no kernels of CUDA
    back = {id(each.values): each for each in there}

    def bare(each: Any) -> Any:
        if isinstance(each, torch.device):
            return CPU if on_cuda else each
        return each.values if isinstance(each, OnCuda) else each

    def placed(each: Any) -> Any:
        if not isinstance(each, Tensor) or isinstance(each, OnCuda):
            return each
        assert kind is not None
        return back[id(each)] if id(each) in back else kind(each)

    answer = function(*tree_map(bare, args), **tree_map(bare, kwargs))
    return tree_map(placed, answer) if on_cuda else answer


def _same_device(function: Any, name: str, args: Any, given: list[Tensor]) -> None:
    hosts = [each for each in given if not isinstance(each, OnCuda)]
    if name in _HOST_INDICES and isinstance(args[0], OnCuda):
        hosts = [each for each in hosts if not any(each is index for index in args[1])]
    if torch.Tag.pointwise in function.tags or name in (*_HOST_INDICES, "aten::fill_"):
        hosts = [each for each in hosts if each.dim()]  # a number, as good as one of Python's
    if hosts:
        raise RuntimeError(
            f"{name}: Expected all tensors to be on the same device, but found cuda:0 and "
            f"{hosts[0].device} {tuple(hosts[0].shape)}"
        )


def _no_numpy(plain: Any) -> Any:
    def numpy(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        if isinstance(tensor, OnCuda):
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
        return plain(tensor, *args, **kwargs)

    return numpy


def _to(plain: Any) -> Any:
    def to(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if args and isinstance(args[0], OnCuda):  # to where another one is
            args = (CUDA, args[0].dtype, *args[1:])
        return plain(tensor, *args, **kwargs)

    return to


def _pinned(tensor: Tensor) -> Tensor:
    if isinstance(tensor, OnCuda):
        raise RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned")
    return tensor


@contextmanager
def imitated_cuda(kind: type[OnCuda] = OnCuda) -> Iterator[None]:
    """Imitate one CUDA device in all threads that begin inside, with tensors of the given kind."""
    tolist, run = Tensor.tolist, threading.Thread.run

    def in_mode(thread: threading.Thread) -> None:
        with _Everywhere(kind):
            run(thread)

    told = {
        "_lazy_init": None,
        "is_available": True,
        "is_bf16_supported": True,
        "device_count": 1,
        "current_device": 0,
        "get_device_name": "an imitated GPU",
        "mem_get_info": (_BYTES, _BYTES),
        "synchronize": None,
        "empty_cache": None,
        "reset_peak_memory_stats": None,
        "max_memory_allocated": 1,
    }
    replaced = {
        "numpy": _no_numpy(Tensor.numpy),
        "__array__": _no_numpy(Tensor.__array__),
        "tolist": lambda self: tolist(self.values if isinstance(self, OnCuda) else self),
        "pin_memory": _pinned,
        "to": _to(Tensor.to),
    }
    torch._C._ensureCUDADeviceGuardSet()  # so that a device without driver can be named, as fake tensors do
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch._C._set_only_lift_cpu_tensors(True)  # `new_tensor` asks the imitated device, as with fake tensors
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # `Module.to` makes parameters anew
    try:
        with ExitStack() as stack:
            for name, answer in told.items():
                stack.enter_context(mock.patch.object(torch.cuda, name, return_value=answer))
            for name, method in replaced.items():
                stack.enter_context(mock.patch.object(Tensor, name, method))
            # Wrapped tensors cannot be inference tensors.
            without = mock.patch.object(
                torch, "inference_mode", lambda on=True: torch.set_grad_enabled(not on)
            )
            stack.enter_context(without)
            stack.enter_context(mock.patch.object(threading.Thread, "run", in_mode))
            stack.enter_context(_Everywhere(kind))
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(False)
        torch.__future__.set_overwrite_module_params_on_conversion(before)
