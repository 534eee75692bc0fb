"""The tensors of a TorchScript archive, read without running any of its code.

`torch.jit.load` runs what the archive's classes say is done on loading, so a file of weights could do
anything. An archive is a zip: `data.pkl` pickles the tree of modules, `data/N` holds the values of the
tensors, and `code/` the classes as text, where `__parameters__` and `__buffers__` tell what a module's
state dict holds. Here modules become plain trees, and only tensors and containers are built.
"""

import ast
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import torch
from torch import Tensor

_KINDS = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}


def is_torchscript(path: Path) -> bool:
    """Whether the file is a zip that `torch.jit.save` wrote."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_state(path: Path) -> dict[str, Tensor]:
    """Return what `torch.jit.load(path).state_dict()` would hold, on the CPU; no code of the file runs.

    Raises `pickle.UnpicklingError` for an archive whose classes do more than hold tensors when they are
    loaded, and other errors for a damaged one.
    """
    with zipfile.ZipFile(path) as archive:
        (pickled,) = (name for name in archive.namelist() if re.fullmatch("[^/]+/data.pkl", name))
        root = pickled.removesuffix("data.pkl")
        with archive.open(pickled) as stream:
            module = _Reader(stream, archive, root).load()
        if not isinstance(module, _Module):
            raise pickle.UnpicklingError("it holds no module")
        return dict(_state(module, "", archive, root))


class _Module:
    """A class of the archive: what it holds by name, and where its text lies."""

    file: str
    name: str
    held: Mapping[str, Any] = MappingProxyType({})

    def __setstate__(self, held: object) -> None:
        if not isinstance(held, dict):
            raise pickle.UnpicklingError("a class of it has loading code of its own")
        self.held = held


class _Reader(pickle.Unpickler):
    """Builds modules, tensors and containers; whatever else the pickle names is refused."""

    def __init__(self, stream: IO[bytes], archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(stream)
        self._archive, self._root = archive, root
        self._values: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name in the pickle."""
        if module.startswith("__torch__"):
            return type(name, (_Module,), {"file": f"code/{module.replace('.', '/')}.py", "name": name})
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def persistent_load(self, identity: Any) -> Tensor:
        """Return the values (N,) of a storage: ("storage", dtype, number, device, N)."""
        _, dtype, number, *_, count = identity
        if number not in self._values:
            content = bytearray(self._archive.read(f"{self._root}data/{number}"))  # its checksum is compared
            empty = torch.empty(0, dtype=dtype)
            self._values[number] = torch.frombuffer(content, dtype=dtype) if content else empty
        values = self._values[number]
        if len(values) != count or values.dtype != dtype:
            raise pickle.UnpicklingError(f"its storage {number} is not {count} values of {dtype}")
        return values


def _tensor(
    values: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> Tensor:
    return torch.as_strided(values, size, stride, offset)  # refuses what reaches out of the values


_ALLOWED: dict[tuple[str, str], Any] = {
    **{("torch", name): kind for name, kind in _KINDS.items()},
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    ("torch.jit._pickle", "build_boollist"): list,
    ("torch.jit._pickle", "build_doublelist"): list,
    ("torch.jit._pickle", "build_intlist"): list,
    ("torch.jit._pickle", "build_tensorlist"): list,
    ("torch.jit._pickle", "restore_type_tag"): lambda value, _: value,
    ("collections", "OrderedDict"): OrderedDict,
}


def _state(module: _Module, prefix: str, archive: zipfile.ZipFile, root: str) -> Iterator[tuple[str, Tensor]]:
    text = archive.read(root + module.file).decode()
    body = re.search(rf"^class {re.escape(module.name)}\(Module\):\n((?:[ \t].*\n|\n)*)", text, re.MULTILINE)
    if body is None:  # an object that is no module has no state dict
        return
    for kind in ("__parameters__", "__buffers__"):
        listed = re.search(rf"^  {kind} = (\[.*\])$", body[1], re.MULTILINE)
        for name in ast.literal_eval(listed[1]) if listed else ():
            if isinstance(module.held[name], Tensor):  # a parameter may be None
                yield prefix + name, module.held[name]
    for name, inner in module.held.items():
        if isinstance(inner, _Module):
            yield from _state(inner, f"{prefix}{name}.", archive, root)
