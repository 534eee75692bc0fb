"""TorchScript archives and `.npz` files of weights: read without running anything, damage named."""

import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from methods import states
from methods.backbones.tips_weights import read_npz, write_npz


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3, bias=False)
        self.norm = nn.BatchNorm1d(3, affine=False)
        self.register_buffer("count", torch.arange(3))
        self.plain = torch.ones(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x)) + self.plain[0]


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Inner(), Inner()])
        self.blocks[1].linear.weight = self.blocks[0].linear.weight
        self.turned = nn.Parameter(torch.randn(2, 3).half().T)
        self.part = nn.Parameter(torch.randn(6)[2:5])
        self.nothing = nn.Parameter(torch.empty(0))
        self.sizes = [1, 2]

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class Loads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(3))

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool]:
        return (self.w, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]) -> None:
        self.w = state[0]
        self.training = state[1]
        torch.save(torch.ones(3), "written_by_a_weight_file")

    def forward(self, x: Tensor) -> Tensor:
        return x


def archive(path: Path, module: nn.Module, *, traced: bool = False) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; such files remain
        scripted = torch.jit.trace(module.eval(), torch.ones(2, 3)) if traced else torch.jit.script(module)
        torch.jit.save(scripted, path)
    return path


def rezipped(path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    with zipfile.ZipFile(path) as old:
        members = {name: change(name, old.read(name)) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
    return path


@pytest.mark.parametrize("traced", [False, True])
def test_a_torchscript_archive_gives_the_state_dict_that_torch_gives(tmp_path: Path, traced: bool) -> None:
    path = archive(tmp_path / "a.pt", Outer(), traced=traced)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = torch.jit.load(path).state_dict()
    found = states.read(path)
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


def test_code_in_a_torchscript_archive_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = archive(tmp_path / "a.pt", Loads())
    with pytest.raises(ValueError, match=r"a\.pt is no weight file"):
        states.read(path)
    assert [each.name for each in tmp_path.iterdir()] == ["a.pt"]


class Opens:
    def __reduce__(self) -> tuple[object, ...]:
        return (open, ("written_by_a_pickle", "w"))


@pytest.mark.parametrize("inside", [False, True])
def test_a_pickle_that_calls_something_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    path = archive(tmp_path / "a.pt", Outer())
    evil = pickle.dumps(Opens(), protocol=2)
    rezipped(path, lambda name, content: evil if inside and name.endswith("/data.pkl") else content)
    if not inside:
        path.write_bytes(evil)
    with pytest.raises(ValueError, match=r"a\.pt is no weight file"):
        states.read(path)
    assert [each.name for each in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("change", [lambda values: values[:-4], lambda values: values + bytes(4)])
def test_values_of_another_number_than_told_are_refused(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    path = archive(tmp_path / "a.pt", Outer())
    rezipped(path, lambda name, content: change(content) if name.endswith("/data/0") else content)
    with pytest.raises(ValueError, match=r"a\.pt is no"):
        states.read(path)


@pytest.mark.parametrize("at", [0.3, 0.6, 0.9])
def test_a_damaged_archive_is_named(tmp_path: Path, at: float) -> None:
    path = archive(tmp_path / "a.pt", nn.Linear(3, 4000))
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 0xFF
    path.write_bytes(content)
    try:
        read = states.read(path)
    except ValueError as error:
        assert str(path) in str(error)
    else:  # what is not tensors, such as text for debugging, carries no weight
        assert {name: tuple(tensor.shape) for name, tensor in read.items()} == {
            "weight": (4000, 3),
            "bias": (4000,),
        }
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"a\.pt"):
        states.read(path)


# .npz


def header(text: str) -> bytes:
    line = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line + bytes(12)


@pytest.mark.parametrize(
    "content",
    [
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}"),
        header("{'descr': '<i4', 'fortran_order': False, 'shape': (3,)}"),
        header("{'descr': '|O', 'fortran_order': False, 'shape': (3,)}"),
        header("((((("),
        b"\x93NUMPY\x09\x00",
        b"",
    ],
)
def test_a_damaged_npz_is_named(tmp_path: Path, content: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as made:
        made.writestr("a.npy", content)
    with pytest.raises(ValueError, match=r"w\.npz is not a readable \.npz of weights .*; fetch it again"):
        read_npz(tmp_path / "w.npz")


@pytest.mark.parametrize(
    ("offset", "local", "value"), [(8, 6, 1), (10, 8, 97)], ids=["locked", "compression"]
)
def test_an_npz_that_python_cannot_undo_is_named(tmp_path: Path, offset: int, local: int, value: int) -> None:
    path = tmp_path / "w.npz"
    write_npz(path, [("a", np.zeros(3, np.float32))])
    content = bytearray(path.read_bytes())
    content[content.find(b"PK\1\2") + offset] = content[local] = value
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"w\.npz is not a readable"):
        read_npz(path)


def test_names_and_shapes_of_an_npz_are_compared_before_values_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.npz"
    write_npz(
        path,
        [("a", np.zeros(3, np.float32)), ("scale", np.ones(1, np.float32)), ("idle", np.ones(2, np.float32))],
    )
    wanted = {"a": torch.empty(3), "scale": torch.empty(())}
    read = read_npz(path, wanted, ignored=("idle",))
    assert {name: tuple(tensor.shape) for name, tensor in read.items()} == {"a": (3,), "scale": ()}
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_, **__: pytest.fail("values were read"))
    with pytest.raises(states.OtherModelError, match=r"w\.npz: .* 1 are unknown \(idle\)"):
        read_npz(path, wanted)
    with pytest.raises(states.OtherModelError, match=r"w\.npz: a has shape \(3,\), not \(4,\)"):
        read_npz(path, {**wanted, "a": torch.empty(4)}, ignored=("idle",))
