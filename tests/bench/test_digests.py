"""Digests that are remembered: the same answers as without memory, whatever happens to file or cache."""

import os
from pathlib import Path

import pytest

from bench.store.digests import DigestCache, warm
from datasets.files import sha256_of


def write_files(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{index}.png" for index in range(count)]
    for path in paths:
        path.write_text(path.name)
    return paths


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return write_files(tmp_path / "data", 20)


def test_many_files_at_once_are_the_same_and_written_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_files(tmp_path / "many", 2500)
    statements: list[str] = []
    cache = DigestCache(tmp_path / "cache")
    assert cache._database is not None
    cache._database.set_trace_callback(statements.append)
    warm(cache, files)
    assert sum(line.startswith("COMMIT") for line in statements) == 3
    assert [cache(path) for path in files] == [sha256_of(path) for path in files]
    again = DigestCache(tmp_path / "cache")
    monkeypatch.setattr("bench.store.digests.sha256", lambda path: pytest.fail("hashed again"))
    warm(again, files)
    assert again(files[7]) == sha256_of(files[7])
    assert DigestCache(tmp_path / "cache")(files[8]) == sha256_of(files[8])


@pytest.mark.parametrize("known", ["warm", "asked", "another run"])
def test_a_changed_file_is_hashed_anew(tmp_path: Path, files: list[Path], known: str) -> None:
    cache, path = DigestCache(tmp_path / "cache"), files[0]
    if known == "warm":
        warm(cache, files)
    cache(path)
    if known == "another run":
        cache = DigestCache(tmp_path / "cache")
    before = path.stat()
    path.write_text("9.png")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert cache(path) == sha256_of(path)


def test_absent_files_are_passed_over_until_asked_for(tmp_path: Path, files: list[Path]) -> None:
    files[3].unlink()
    cache = DigestCache(tmp_path / "cache")
    warm(cache, files)
    assert cache(files[4]) == sha256_of(files[4])
    with pytest.raises(FileNotFoundError, match=r"3\.png"):
        cache(files[3])


def test_a_name_that_is_no_utf8_has_a_digest(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    path.write_text("content")
    cache = DigestCache(tmp_path / "cache")
    assert cache(path) == DigestCache(tmp_path / "cache")(path) == sha256_of(path)


def test_an_unusable_cache_only_costs_time(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "digests.sqlite").write_bytes(b"no database" * 100)
    broken = DigestCache(tmp_path / "broken")
    assert broken._database is not None
    broken._database.execute("DROP TABLE digests")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    monkeypatch.delenv("ZSAD_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for cache in (DigestCache(tmp_path / "file"), DigestCache(tmp_path / "torn"), broken, DigestCache()):
        warm(cache, files[:5])
        assert cache(files[0]) == sha256_of(files[0])
        assert cache(files[9]) == sha256_of(files[9])


def test_a_plain_function_needs_no_warming(files: list[Path]) -> None:
    warm(sha256_of, files)
