"""The verb `weights`: what is needed and here, every instruction once, and one that works."""

import re
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.run.library import how_to_get
from bench.run.protocol import MethodRequest
from methods import weights
from methods.backbones import mini
from methods.source import Source


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs `weights` on the root `w` and returns its exit code and output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def run(*words: str) -> tuple[int, list[str]]:
        code = main(["weights", *words, "--weights-root", str(tmp_path / "w")])
        return code, capsys.readouterr().out.splitlines()

    return run


def row(lines: list[str], name: str) -> list[str]:
    (line,) = (line for line in lines if line.startswith(name))
    return re.split(r"\s{2,}", line)


def test_the_command_it_names_brings_what_comes_with_the_suite(run: Any) -> None:
    words = ("--methods", "winclip:mini", "vand:mini", "--datasets", "mvtec")
    code, lines = run(*words)
    assert code == 1
    named = {command for line in lines for command in re.findall("`run_bench.py weights (.*?)`", line)}
    assert named == {"--methods winclip:mini --fetch", "--methods vand:mini --fetch"}
    for command in named:
        assert run(*command.split(), "--datasets", "mvtec")[0] == 0
    code, lines = run(*words)
    assert code == 0
    clip = row(lines, "clip/mini.safetensors")
    assert clip[1:3] == ["here", "19.0 MB"] and clip[3].startswith("first seen 20")
    assert clip[4] == "winclip:mini: all; vand:mini: all"
    assert all(not line.startswith("  ") for line in lines), "nothing is left to do"


def test_a_root_of_stand_ins_gets_no_real_weights_beside_them(run: Any, tmp_path: Path) -> None:
    weights.mark_untrained(tmp_path / "w", "for a test")
    code, lines = run("--methods", "winclip:mini", "--datasets", "mvtec", "--fetch")
    assert code == 1 and any("is marked by UNTRAINED.txt" in line for line in lines)
    assert not (tmp_path / "w/clip").exists()


def test_training_is_advised_as_it_is_typed(run: Any) -> None:
    words = ("--methods", "vand:mini", "--set", "layers=1,2", "--source", "btad~5", "--datasets", "mvtec")
    _, lines = run(*words)
    (command,) = (found for line in lines for found in re.findall("`run_bench.py train (.*)`", line))
    assert command == "--methods vand:mini --set layers=1,2 --source btad --seed 5"
    assert how_to_get(MethodRequest("vand", "mini"), [], Source.parse("btad+mpdd~5")).endswith(
        "train --methods vand:mini --source btad mpdd --seed 5`"
    )


def test_sizes_are_shown_before_anything_is_fetched(run: Any) -> None:
    _, lines = run("--methods", "tipsomaly", "winclip", "--datasets", "mvtec")
    assert row(lines, "tipsomaly/")[2] == "0.1 MB"
    assert row(lines, "tips/tips_oss_l14_highres_distilled_vision")[2] == "about 1,216 MB"
    assert row(lines, "clip/vit_b_16_plus_240")[2] == "about 834 MB"


def test_what_fails_is_said_once(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: weights.WeightFile, *_: object, **__: object) -> None:
        raise weights.WeightsError(f"{file.name} cannot be fetched (offline): put it there")

    monkeypatch.setattr(weights, "fetch", refuse)
    code, lines = run("--methods", "winclip", "--datasets", "mvtec", "--fetch")
    assert code == 1
    about = [line for line in lines if "clip/vit_b_16_plus_240-laion400m_e31-8fb26589.pt" in line]
    assert [line[:6] for line in about] == ["clip/v", "error:"], "a row and one instruction"


def test_files_of_the_suite_are_those_that_it_installs(tmp_path: Path) -> None:
    assert {path.relative_to(tmp_path).as_posix() for path in mini.install(tmp_path)} == mini.names()


def test_a_cut_off_copy_never_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:100])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(mini.shutil, "copyfile", full)
        with pytest.raises(OSError, match="No space"):
            mini.install(tmp_path)
    mini.install(tmp_path)
    learned = [name for name in mini.names() if name.startswith("vand/")]
    assert learned and all(
        (tmp_path / name).read_bytes() == (mini.HERE / mini.LEARNED / name).read_bytes() for name in learned
    )
    assert not list(tmp_path.rglob("*.tmp"))
