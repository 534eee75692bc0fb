"""What else is kept: files written whole, digests remembered, what trained weights say, provenance."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bench.errors import BenchError
from bench.store import digests, provenance
from bench.store.atomic import write_atomically
from bench.store.digests import DigestCache, cache_folder, sha256
from bench.store.trained import Trained, read_trained

# ---- files written whole


def test_a_file_appears_whole_readable_as_the_umask_says_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.json"

    def write(place: Path) -> None:
        place.write_text("half")
        assert not path.exists()
        assert place.parent == path.parent, "on another disk it could not be put in place at once"
        assert place.name.startswith(".") and place.suffix == ".tmp"
        place.write_text("whole")
        place.chmod(0o600)

    before = os.umask(0o027)
    try:
        write_atomically(path, write, "--results")
    finally:
        os.umask(before)
    assert path.read_text() == "whole"
    assert path.stat().st_mode & 0o777 == 0o640, "as the umask says, whatever a library gave the file"
    assert [each.name for each in path.parent.iterdir()] == ["file.json"]


def test_no_file_stays_open(tmp_path: Path) -> None:
    if not Path("/dev/fd").exists():
        pytest.skip("this system does not tell which files are open")
    write_atomically(tmp_path / "x", lambda place: place.write_text("x"), "--results")
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(3):
        write_atomically(tmp_path / "x", lambda place: place.write_text("x"), "--results")
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_what_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")

    def fail(place: Path) -> None:
        place.write_text("half")
        raise ValueError("no such number")

    with pytest.raises(ValueError, match="no such number"):
        write_atomically(path, fail, "--results")

    def full(place: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(BenchError, match=r"file\.json: No space left on device; .* choose another --flag"):
        write_atomically(path, full, "--flag")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["file.json"]


@pytest.mark.parametrize("error", [RuntimeError("file write failed"), SafetensorError("I/O error")])
def test_a_disk_that_a_library_found_full_is_said(tmp_path: Path, error: Exception) -> None:
    def fail(place: Path) -> None:
        raise error

    with pytest.raises(BenchError, match=rf"cannot write .*/x: {error}; free space"):
        write_atomically(tmp_path / "x", fail, "--results")


def test_a_name_as_long_as_names_may_be_is_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / ("x" * 255), lambda place: place.write_text("x"), "--results")
    with pytest.raises(BenchError, match="File name too long; "):
        write_atomically(tmp_path / ("x" * 256), lambda place: place.write_text("x"), "--results")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks Linux which file is flushed")
def test_the_folders_that_change_are_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{handle}").readlink())
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(tmp_path / "x/y/a", lambda place: place.write_text("a"), "--results")
    assert flushed[0].name.endswith(".tmp"), "the content first"
    assert set(flushed[1:]) == {tmp_path, tmp_path / "x", tmp_path / "x/y"}
    flushed.clear()
    write_atomically(tmp_path / "x/y/a", lambda place: place.write_text("b"), "--results", durable=False)
    assert flushed == []


# ---- digests


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Yield the paths of the files that were read to be hashed, as they come."""
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return sha256(path)

    monkeypatch.setattr(digests, "sha256", counted)
    yield read


def test_a_file_is_hashed_once_also_between_runs(
    tmp_path: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        cache = DigestCache(tmp_path / "cache")
        assert cache(file) == cache(Path("file")) == sha256(file)
    assert len(hashed) == 1
    assert (tmp_path / "cache" / "digests.sqlite").exists()


def test_many_files_are_hashed_together_and_once(
    tmp_path: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_BLOCK", 3)
    files = [tmp_path / f"{index}" for index in range(10)]
    for file in files:
        file.write_text(file.name)
    cache = DigestCache(tmp_path / "cache")
    cache(files[4])
    digests.warm(cache, files)
    assert sorted(hashed) == sorted(files)
    for again in (cache, DigestCache(tmp_path / "cache")):
        digests.warm(again, [*files, tmp_path / "absent"])
        assert [again(file) for file in files] == [sha256(file) for file in files]
    assert len(hashed) == 10
    files[0].write_text("changed")
    digests.warm(cache, files)
    assert len(hashed) == 11
    assert cache(files[0]) == sha256(files[0])
    digests.warm(sha256, files)
    assert len(hashed) == 11
    with pytest.raises(FileNotFoundError):
        cache(tmp_path / "absent")


def test_every_change_of_a_file_is_noticed(tmp_path: Path, hashed: list[Path]) -> None:
    cache, file = DigestCache(tmp_path / "cache"), tmp_path / "file"
    file.write_bytes(b"one")
    os.utime(file, ns=(10**18, 10**18))
    first = cache(file)
    file.write_bytes(b"two")  # of the same size, its modification time set back
    os.utime(file, ns=(10**18, 10**18))
    assert cache(file) == sha256(file) != first
    os.utime(file, ns=(10**18, 10**18 + 1))
    cache(file)
    assert len(hashed) == 3
    assert cache(file) == sha256(file)
    assert len(hashed) == 3


def test_without_a_place_for_the_cache_nothing_outlasts_the_run(tmp_path: Path, hashed: list[Path]) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    for count in (1, 2):
        cache = DigestCache(tmp_path / "file" / "cache")
        assert cache(file) == cache(file) == sha256(file)
        assert len(hashed) == count


def test_a_damaged_cache_costs_only_time(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"content")
    other.write_bytes(b"other content")
    cache = DigestCache(tmp_path / "cache")
    cache(one)
    (tmp_path / "cache" / "digests.sqlite").write_bytes(b"no database" * 1000)
    for again in (cache, DigestCache(tmp_path / "cache")):
        assert [again(one), again(other)] * 2 == [sha256(one), sha256(other)] * 2


def test_a_cache_that_takes_nothing_costs_only_time(tmp_path: Path, hashed: list[Path]) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"content")
    other.write_bytes(b"other content")
    cache = DigestCache(tmp_path / "cache")
    with sqlite3.connect(tmp_path / "cache" / "digests.sqlite") as database:
        full = "CREATE TRIGGER full BEFORE INSERT ON digests BEGIN SELECT RAISE(ABORT, 'full'); END"
        database.execute(full)
    assert [cache(one), cache(other)] * 2 == [sha256(one), sha256(other)] * 2
    assert len(hashed) == 2


def test_digests_found_by_another_thread_are_kept(tmp_path: Path, hashed: list[Path]) -> None:
    file, folder = tmp_path / "file", tmp_path / "deep" / "cache"
    file.write_bytes(b"content")
    cache = DigestCache(folder)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(cache, file).result() == sha256(file)
    assert DigestCache(folder)(file) == sha256(file)
    assert len(hashed) == 1


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("ZSAD_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "zsad-bench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "zsad-bench"
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path / "default"))
    (tmp_path / "file").write_bytes(b"content")
    DigestCache()(tmp_path / "file")
    assert (tmp_path / "default" / "digests.sqlite").exists()


# ---- trained weights

RECORD: dict[str, Any] = {
    "source": "btad~111",
    "method": "vand",
    "options": {"layers": [1, 2]},
    "recipe": {"epochs": 3},
    "weights": {"vision": "ab"},
    "data": {"btad/01": "cd"},
    "images": ["0123456789abcdef"],
    "loss": [{"total": 1.5}],
    "untrained_backbone": False,
}


def test_trained_weights_say_where_they_come_from(tmp_path: Path) -> None:
    tensors = {"fc.weight": torch.arange(6.0).reshape(2, 3).T}
    path = tmp_path / "deep" / "w.safetensors"
    Trained(**RECORD).save(tensors, path)
    assert torch.equal(load_file(path)["fc.weight"], tensors["fc.weight"])
    assert read_trained(path) == Trained(**RECORD)


def test_older_files_tell_more_and_are_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    text = json.dumps({**RECORD, "seconds": 1.5, "provenance": {}})
    save_file({"a": torch.ones(1)}, path, metadata={"zsad-bench": text})
    assert read_trained(path) == Trained(**RECORD)


@pytest.mark.parametrize("field", ["source", "method", "options", "recipe", "weights", "data"])
def test_what_determines_the_tensors_differs_by_name(field: str) -> None:
    mine = Trained(**RECORD)
    other: Any = "other" if isinstance(RECORD[field], str) else {"other": 1}
    assert mine.differs(Trained(**{**RECORD, field: other})) == [field]
    assert mine.differs(Trained(**{**RECORD, "loss": [], "options": {"layers": (1, 2)}})) == []


@pytest.mark.parametrize("text", ["{", "[]", "{}", '"x"', "null", '{"source": 1}', *RECORD])
def test_a_damaged_header_names_its_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    if text in RECORD:
        text = json.dumps({**RECORD, text: 1.5})
    save_file({"a": torch.ones(1)}, path, metadata={"zsad-bench": text})
    with pytest.raises(BenchError, match=r"w\.safetensors: its header cannot be read \(.+\); train it again"):
        read_trained(path)


def test_weights_from_elsewhere_say_nothing(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "plain.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors", metadata={"format": "pt"})
    (tmp_path / "w.pth").write_bytes(b"anything")
    for name in ("plain.safetensors", "other.safetensors", "w.pth"):
        assert read_trained(tmp_path / name) is None
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    for name in ("torn.safetensors", "absent.safetensors"):
        with pytest.raises(BenchError, match=rf"{name}: its header cannot be read .*train it again"):
            read_trained(tmp_path / name)


# ---- provenance


def test_provenance_names_code_packages_machine_and_time() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    told = provenance.provenance(torch.device("cpu"))
    assert told["python"] == ".".join(map(str, sys.version_info[:3]))
    assert told["packages"]["numpy"] == np.__version__
    assert {"torch", "torchvision", "open_clip_torch", "numpy", "scipy", "pillow"} <= set(told["packages"])
    assert all(told["packages"].values())
    assert told["device_type"] == "cpu"
    assert told["device"]
    started = datetime.fromisoformat(told["started"])
    assert before <= started <= datetime.now(UTC)
    assert started.utcoffset() is not None
    assert told["suite_version"].count(".") == 2


def test_the_commit_is_gits_and_dirt_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def git(*words: str) -> str:
        author = ["-c", "user.name=n", "-c", "user.email=e"]
        done = subprocess.run(
            ["git", *author, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def suite() -> dict[str, Any]:
        provenance.suite.cache_clear()
        return {name: provenance.suite()[name] for name in ("commit", "dirty", "suite_version")}

    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "7.8.9"\n')
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    try:
        assert suite() == {"commit": None, "dirty": None, "suite_version": "7.8.9"}
        git("init", "-q")
        git("add", ".")
        git("commit", "-q", "-m", "m")
        clean = {"commit": git("rev-parse", "HEAD"), "dirty": False, "suite_version": "7.8.9"}
        assert suite() == clean
        (tmp_path / "untracked").write_text("x")
        assert suite() == clean
        with (tmp_path / "pyproject.toml").open("a") as file:
            file.write("\n")
        assert suite() == {**clean, "dirty": True}
    finally:
        provenance.suite.cache_clear()


def test_the_command_is_told_as_it_can_be_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(provenance.ROOT / "run_bench.py"), "run", "--datasets", "my own"])
    assert provenance.provenance(torch.device("cpu"))["command"] == "run_bench.py run --datasets 'my own'"
    monkeypatch.setattr(sys, "argv", ["/elsewhere/tool.py", "x"])
    assert provenance.provenance(torch.device("cpu"))["command"] == "/elsewhere/tool.py x"


def test_a_package_that_is_missing_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_PACKAGES", ("numpy", "no-such-package-anywhere"))
    assert provenance.provenance(torch.device("cpu"))["packages"] == {
        "numpy": np.__version__,
        "no-such-package-anywhere": None,
    }
