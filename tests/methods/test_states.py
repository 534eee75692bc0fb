"""State dicts on disk: every format by its content, nothing executed, strict names and shapes."""

import pickle
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from methods import states

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


def same(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == STATE.keys() and all(torch.equal(found[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "deep/er/w.pt"])
def test_what_is_written_is_read_whatever_its_name_becomes(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    states.write(STATE, path)
    assert same(states.read(path))
    renamed = path.rename(path.with_suffix(".other"))
    assert same(states.read(renamed))


def test_only_the_suffix_chooses_the_format(tmp_path: Path) -> None:
    states.write(STATE, tmp_path / "a.safetensors")
    states.write({"state_dict": STATE, "epoch": 3}, tmp_path / "a.pth")
    assert (tmp_path / "a.safetensors").read_bytes()[8:9] == b"{"
    nested = states.read(tmp_path / "a.pth")
    assert nested["epoch"] == 3
    assert same(states.unwrap(nested, "state_dict", "a.pth"))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_archives_of_torchscript_give_their_state(tmp_path: Path) -> None:
    module = nn.Sequential(OrderedDict(a=nn.Linear(3, 2)))
    module.load_state_dict(STATE)
    torch.jit.save(torch.jit.script(module), str(tmp_path / "clip.pt"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(states.read(tmp_path / "clip.pt"))


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("executed",))


def test_nothing_is_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"x": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Evil(), protocol=2))
    for name in ("evil.pth", "plain.pth"):
        with pytest.raises(ValueError, match=rf"{name} is no weight file: an HTML page or a broken download"):
            states.read(tmp_path / name)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"<html>", b"12345678{}", b"12345678{not json"])
def test_what_is_no_weight_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"w\.pt is .*fetch it again"):
        states.read(tmp_path / "w.pt")
    with pytest.raises(FileNotFoundError):
        states.read(tmp_path / "absent.pt")


def test_what_holds_no_state_dict_is_refused() -> None:
    assert states.unwrap(STATE, "state_dict", "here") == STATE
    for content in ([1], {"state_dict": {"a": 1}}, {"epoch": 3}, {"state_dict": [1]}, None):
        with pytest.raises(ValueError, match="here holds no state dict of tensors"):
            states.unwrap(content, "state_dict", "here")


def test_names_and_shapes_must_be_those_of_the_model() -> None:
    states.check(STATE, STATE, "here")
    states.check({**STATE, "a.bias": torch.zeros(2)}, STATE, "here")
    with pytest.raises(ValueError, match=r"here: a\.weight has shape \(3,\), not \(2, 3\) \(1 such\)"):
        states.check({**STATE, "a.weight": torch.zeros(3)}, STATE, "here")
    with pytest.raises(ValueError, match=r"1 names are missing \(a\.bias\) and 0 are unknown \(\)"):
        states.check({"a.weight": STATE["a.weight"]}, STATE, "here")
    more = {f"{letter}": torch.zeros(1) for letter in "zyx"}
    with pytest.raises(ValueError, match=r"0 names are missing \(\) and 3 are unknown \(x, y\)"):
        states.check({**STATE, **more}, STATE, "here")


def test_sections_are_dictionaries_in_a_file_and_parts_of_names_here() -> None:
    state = {
        name: torch.full((2,), float(n)) for n, name in enumerate(("a", "b.c.d", "e.f.g.h", "e.f.i", "jb.c"))
    }
    content = states.nested(state, ["b", "e.f", "j"])
    assert list(content) == ["a", "b", "e", "jb.c"]
    assert (
        list(content["b"]) == ["c.d"]
        and list(content["e"]) == ["f"]
        and list(content["e"]["f"]) == ["g.h", "i"]
    )
    assert states.flat(content) == state
    deep = {"a": {"b": {"c": {"d": 1}}}, "e": {}}
    assert states.flat(deep) == {"a.b.c": {"d": 1}}
