"""Weight files: found, fetched, continued, compared, remembered; against a publisher on this machine."""

import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import pytest

from methods.weights import (
    HubFile,
    WeightFile,
    WeightsError,
    download,
    fetch,
    locate,
    mark_untrained,
    status,
    untrained,
    verify,
)
from tests.methods.publisher import Publisher, publisher

CONTENT = bytes(range(256)) * 4096  # 1 MiB: more than one read
OTHER = CONTENT[::-1]


def sha256_of(path: Path) -> str:
    return sha256(path.read_bytes())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def served() -> Iterator[Publisher]:
    with publisher() as running:
        running.files["a.pth"] = CONTENT
        yield running


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that a download would have waited."""
    seconds: list[float] = []
    monkeypatch.setattr(download.time, "sleep", seconds.append)
    return seconds


def file_of(served: Publisher, **known: object) -> WeightFile:
    return WeightFile(name="m/trained_on_mvtec.pth", url=f"{served.address}/a.pth", **known)  # type: ignore[arg-type]


def names_in(root: Path) -> set[str]:
    """Files but for those of locks, which stay."""
    names = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith(".locks/")}


# Fetching


def test_a_fetched_file_is_whole_and_alone(served: Publisher, tmp_path: Path) -> None:
    file = file_of(served, size=len(CONTENT), sha256=sha256(CONTENT))
    path = fetch(file, tmp_path, progress=False)
    assert path == tmp_path / "m/trained_on_mvtec.pth" == locate(file, tmp_path)
    assert path.read_bytes() == CONTENT
    assert names_in(tmp_path) == {file.name}
    fetch(file, tmp_path, progress=False)
    assert len(served.gets()) == 1, "a file that is here is not fetched again"


def test_a_broken_download_is_continued_at_once(served: Publisher, tmp_path: Path) -> None:
    served.faults = ["truncate", "truncate"]
    path = fetch(file_of(served), tmp_path, progress=False)
    assert path.read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert [get.get("Range") for get in served.gets()] == [
        None,
        f"bytes={half}-",
        f"bytes={half + half // 2}-",
    ]
    assert served.gets()[1]["If-Range"] == served.etag("a.pth")


def test_a_broken_download_is_continued_by_the_next_call(
    served: Publisher, tmp_path: Path, pauses: list[float]
) -> None:
    file = file_of(served, sha256=sha256(CONTENT))
    served.faults = ["truncate", *["silent"] * 3]
    with pytest.raises(WeightsError, match=r"broke off after 524288 of 1048576 bytes; gave up after 4 tries"):
        fetch(file, tmp_path, progress=False)
    assert pauses == [1, 2, 4], "waits grow"
    assert locate(file, tmp_path) is None, "half a file does not count as the file"
    served.requests.clear()
    assert fetch(file, tmp_path, progress=False).read_bytes() == CONTENT
    assert served.gets()[0]["Range"] == "bytes=524288-"


def test_a_download_that_was_whole_already_is_only_put_in_place(served: Publisher, tmp_path: Path) -> None:
    file = file_of(served)
    (tmp_path / "m").mkdir()
    (tmp_path / "m/trained_on_mvtec.pth.part").write_bytes(CONTENT)
    (tmp_path / "m/trained_on_mvtec.pth.part.from").write_text(f"{file.url}\n{served.etag('a.pth')}\n")
    assert fetch(file, tmp_path, progress=False).read_bytes() == CONTENT
    assert [get["Range"] for get in served.gets()] == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("fault", ["whole", "elsewhere", 416])
def test_a_server_that_cannot_continue_sends_the_whole(
    served: Publisher, tmp_path: Path, fault: str | int
) -> None:
    served.faults = ["truncate", fault]
    assert fetch(file_of(served), tmp_path, progress=False).read_bytes() == CONTENT


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}])
def test_versions_of_a_file_are_never_mixed(
    served: Publisher, tmp_path: Path, headers: dict[str, str]
) -> None:
    served.headers = headers
    served.faults = ["truncate", *["silent"] * 3]
    with pytest.raises(WeightsError):
        fetch(file_of(served), tmp_path, progress=False)
    served.files["a.pth"] = OTHER
    served.headers = headers and headers | {"Last-Modified": "Tue, 02 Jan 2024 00:00:00 GMT"}
    assert fetch(file_of(served), tmp_path, progress=False).read_bytes() == OTHER


def test_a_download_is_not_continued_from_another_address(served: Publisher, tmp_path: Path) -> None:
    served.files["b.pth"], served.headers = OTHER, {"ETag": '"1"'}
    served.faults = ["truncate", *["silent"] * 3]
    with pytest.raises(WeightsError):
        fetch(file_of(served), tmp_path, progress=False)
    moved = replace(file_of(served), url=f"{served.address}/b.pth")
    assert fetch(moved, tmp_path, progress=False).read_bytes() == OTHER


def test_without_a_version_a_download_starts_afresh(served: Publisher, tmp_path: Path) -> None:
    served.headers = {"ETag": 'W/"weak"'}  # does not promise the same bytes
    served.faults = ["truncate"]
    assert fetch(file_of(served), tmp_path, progress=False).read_bytes() == CONTENT
    assert all("Range" not in get for get in served.gets())


def test_a_busy_server_is_asked_again_when_it_says(
    served: Publisher, tmp_path: Path, pauses: list[float]
) -> None:
    served.faults = [500, 429]
    assert fetch(file_of(served), tmp_path, progress=False).read_bytes() == CONTENT
    assert pauses == [7, 7]


@pytest.mark.parametrize("code", [404, 403])
def test_a_refusal_is_final_and_says_what_to_do(served: Publisher, tmp_path: Path, code: int) -> None:
    served.faults = [code]
    file = file_of(served, by_hand="ask the authors")
    with pytest.raises(WeightsError) as failure:
        fetch(file, tmp_path, progress=False)
    message = str(failure.value)
    assert len(served.gets()) == 1
    for part in (str(code), file.url, str(tmp_path / file.name), "ask the authors"):
        assert str(part) in message
    assert "\n" not in message


@pytest.mark.parametrize("fault", ["html", "page"])
def test_a_web_page_is_not_weights(served: Publisher, tmp_path: Path, fault: str) -> None:
    served.faults = [fault]
    with pytest.raises(WeightsError, match="web page, not a file"):
        fetch(file_of(served, size=len(CONTENT)), tmp_path, progress=False)
    assert names_in(tmp_path) == set()


def test_another_size_than_published_is_noticed_before_it_comes(served: Publisher, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="offers 1048576 bytes where 1000 are published"):
        fetch(file_of(served, size=1000), tmp_path, progress=False)
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize("published", [None, 70_000])
def test_no_more_is_taken_than_was_published(
    served: Publisher, tmp_path: Path, published: int | None
) -> None:
    served.faults = ["unannounced"]
    if published is None:
        assert fetch(file_of(served), tmp_path, progress=False).read_bytes() == CONTENT
    else:
        with pytest.raises(WeightsError, match="sends more than the 70000 bytes of the file"):
            fetch(file_of(served, size=published), tmp_path, progress=False)
        assert (tmp_path / "m/trained_on_mvtec.pth.part").stat().st_size <= published


def test_an_empty_file_is_refused(served: Publisher, tmp_path: Path) -> None:
    served.files["a.pth"] = b""
    with pytest.raises(WeightsError, match="empty file"):
        fetch(file_of(served), tmp_path, progress=False)


def test_a_wrong_digest_is_kept_aside(served: Publisher, tmp_path: Path) -> None:
    file = file_of(served, sha256=sha256(OTHER))
    with pytest.raises(
        WeightsError, match=f"has SHA-256 {sha256(CONTENT)} where {sha256(OTHER)} is published"
    ):
        fetch(file, tmp_path, progress=False)
    assert locate(file, tmp_path) is None
    assert (tmp_path / "m/trained_on_mvtec.pth.damaged").read_bytes() == CONTENT
    served.files["a.pth"] = OTHER
    assert fetch(file, tmp_path, progress=False).read_bytes() == OTHER


def test_a_git_blob_id_is_compared(served: Publisher, tmp_path: Path) -> None:
    served.files["a.pth"] = b"hello\0\n"
    right = "507a8371711be6bdd45cd5d43b2ad5ba061fea2a"  # what `git hash-object` says of it
    assert fetch(file_of(served, git_sha1=right), tmp_path / "a", progress=False)
    with pytest.raises(WeightsError, match=f"git blob {right}"):
        fetch(file_of(served, git_sha1="0" * 40), tmp_path / "b", progress=False)


def test_a_third_partys_digest_warns_and_the_first_seen_binds(served: Publisher, tmp_path: Path) -> None:
    file = file_of(served, sha256=sha256(OTHER), digest_by_third_party=True)
    with pytest.warns(UserWarning, match="third party: it may still be right"):
        path = fetch(file, tmp_path, progress=False)
    path.write_bytes(CONTENT + b"!")
    with pytest.raises(WeightsError, match="first seen"):
        verify(path, file, tmp_path)


def test_without_network_the_message_says_what_to_put_where(tmp_path: Path, pauses: list[float]) -> None:
    with publisher() as gone:
        file = file_of(gone)
    with pytest.raises(WeightsError, match=r"no connection to 127\.0\.0\.1") as failure:
        fetch(file, tmp_path, progress=False)
    assert f"put {file.url} as {tmp_path / file.name}" in str(failure.value)
    assert pauses == [], "offline, waiting does not help"


@pytest.mark.parametrize(
    "url", ["https://drive.google.com/file/d/123/view", "https://docs.google.com/uc?id=123"]
)
def test_drives_are_left_to_people(tmp_path: Path, url: str) -> None:
    file = WeightFile(name="a/b.pth", url=url, by_hand="needs an account")
    with pytest.raises(WeightsError, match="not fetched automatically") as failure:
        fetch(file, tmp_path, progress=False)
    assert url in str(failure.value)
    assert str(tmp_path / "a/b.pth") in str(failure.value)


def test_only_protected_addresses_are_opened(served: Publisher, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not an https address"):
        fetch(WeightFile(name="a", url="http://weights.invalid/a"), tmp_path, progress=False)
    with pytest.raises(WeightsError, match="not an https address"):
        fetch(WeightFile(name="a", url="file:///etc/hostname"), tmp_path, progress=False)
    served.redirects["a.pth"] = "http://weights.invalid/a"
    with pytest.raises(WeightsError, match=r"http://weights\.invalid/a is not an https address"):
        fetch(file_of(served), tmp_path, progress=False)
    served.files["b.pth"], served.redirects["a.pth"] = OTHER, f"{served.address}/b.pth"
    assert fetch(file_of(served), tmp_path, progress=False).read_bytes() == OTHER


def test_a_full_disk_is_said(served: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/trained_on_mvtec.pth.part").symlink_to("/dev/full")
    with pytest.raises(WeightsError, match="cannot be written: No space left"):
        fetch(file_of(served), tmp_path, progress=False)
    nearly_full = shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: nearly_full)
    with pytest.raises(WeightsError, match="needs 1 MB more, but its disk has 0 MB free"):
        fetch(file_of(served), tmp_path / "other", progress=False)


def test_a_root_that_cannot_be_written_is_said(served: Publisher, tmp_path: Path) -> None:
    (tmp_path / "root").write_text("a file where a folder should be")
    with pytest.raises(WeightsError, match=r"Not a directory|File exists"):
        fetch(file_of(served), tmp_path / "root", progress=False)


@pytest.mark.parametrize("progress", [True, False])
def test_a_bar_is_drawn_on_a_terminal(
    served: Publisher,
    tmp_path: Path,
    progress: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fetch(file_of(served), tmp_path, progress=progress)
    drawn = capsys.readouterr().err
    assert ("trained_on_mvtec.pth: 100%" in drawn) == progress == bool(drawn)


def test_several_who_want_a_file_fetch_it_once(served: Publisher, tmp_path: Path) -> None:
    file = file_of(served, sha256=sha256(CONTENT))
    with ThreadPoolExecutor(6) as pool:
        paths = list(pool.map(lambda _: fetch(file, tmp_path, progress=False), range(6)))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert len(served.gets()) == 1
    assert names_in(tmp_path) == {file.name}


# Names, states, verification


@pytest.mark.parametrize("name", ["../a.pth", "a/../../b.pth", "/etc/hostname", "", "..", "a\\..\\b"])
def test_names_stay_below_the_root(tmp_path: Path, name: str) -> None:
    for use in (locate, lambda file, root: fetch(file, root, progress=False)):
        with pytest.raises(WeightsError, match="leaves the weights root"):
            use(WeightFile(name=name, url="https://weights.invalid/a"), tmp_path)
    assert status(WeightFile(name=name), tmp_path).state == "missing"


def test_states(tmp_path: Path) -> None:
    known = WeightFile(name="a.pth", size=len(CONTENT), sha256=sha256(CONTENT), url="https://w.invalid/a")
    unknown = WeightFile(name="a.pth", by_hand="train it")
    missing = status(known, tmp_path, lambda path: pytest.fail("nothing to read"))
    assert (missing.state, missing.path, missing.sha256) == ("missing", None, None)
    assert "https://w.invalid/a" in missing.note and str(tmp_path / "a.pth") in missing.note
    assert status(unknown, tmp_path).note.startswith("train it")

    path = tmp_path / "a.pth"
    path.write_bytes(CONTENT)
    read: list[Path] = []

    def digest(path: Path) -> str:
        read.append(path)
        return sha256(path.read_bytes())

    assert status(known, tmp_path).state == "unverified", "nothing was read"
    here = status(known, tmp_path, digest)
    assert (here.state, here.path, here.sha256, here.note) == ("here", path, sha256(CONTENT), "")
    assert read == [path], "the given digest is used, once"

    assert status(unknown, tmp_path, digest).state == "unverified"
    assert names_in(tmp_path) == {"a.pth"}, "asking records nothing"
    verify(path, unknown, tmp_path)
    assert status(unknown, tmp_path, digest).state == "here"

    path.write_bytes(OTHER)
    for file in (known, unknown):
        damaged = status(file, tmp_path, digest)
        assert damaged.state == "damaged"
        assert str(path) in damaged.note and "fetch it again" in damaged.note
    path.write_bytes(CONTENT[:-1])
    assert status(known, tmp_path).state == "damaged", "a wrong size needs no reading"
    path.write_bytes(b"")
    assert status(unknown, tmp_path).state == "damaged"


NOT_WEIGHTS = {
    "a web page": b"\xef\xbb\xbf <!DOCTYPE html><html><body>Quota exceeded",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"7" * 64 + b"\nsize 5",
    "text": '{"error": "no such file: größer"}'.encode()
    + b" " * 479
    + "é".encode(),  # 512 cuts the last letter
}


@pytest.mark.parametrize("what", NOT_WEIGHTS)
def test_what_plainly_is_no_weights_is_neither_here_nor_remembered(tmp_path: Path, what: str) -> None:
    file, path = WeightFile("a.npz"), tmp_path / "a.npz"
    path.write_bytes(NOT_WEIGHTS[what])
    for digest in (None, sha256_of):
        found = status(file, tmp_path, digest)
        assert found.state == "damaged" and f"is {what}" in found.note
    with pytest.raises(WeightsError, match=f"is {what}.*put the right file there"):
        verify(path, file, tmp_path)
    assert names_in(tmp_path) == {"a.npz"}
    path.write_bytes(CONTENT)
    assert verify(path, file, tmp_path) == sha256(CONTENT)
    companion = tmp_path / "names.json"
    companion.write_bytes(b'{"a": 1}')
    assert verify(companion, WeightFile("names.json"), tmp_path), "a companion may be text"


def test_what_a_digest_rests_on_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    whole, short = sha256(CONTENT), sha256(CONTENT)[:8]
    blob = subprocess.run(["git", "hash-object", tmp_path / "a"], capture_output=True, text=True, check=True)
    for known in ({"sha256": whole}, {"git_sha1": blob.stdout.strip()}):
        assert status(WeightFile("a", **known), tmp_path, sha256_of).basis == "published"
    third = WeightFile("a", sha256=whole, digest_by_third_party=True)
    for file in (WeightFile("a", sha256=short), WeightFile("a"), third):
        (tmp_path / "digests.json").unlink(missing_ok=True)
        assert status(file, tmp_path, sha256_of)[2:5] == ("unverified", whole, "")
        verify(tmp_path / "a", file, tmp_path)
        seen = status(file, tmp_path, sha256_of)
        assert (seen.state, seen.basis[:13]) == ("here", "first seen 20")
    (tmp_path / "a").write_bytes(OTHER)
    with pytest.raises(WeightsError, match=f"where {short} is published"):
        verify(tmp_path / "a", WeightFile("a", sha256=short), tmp_path)


def test_the_publishers_blob_id_decides_beside_a_third_partys_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    git = subprocess.run(["git", "hash-object", tmp_path / "a"], capture_output=True, text=True, check=True)
    file = WeightFile("a", sha256="0" * 64, git_sha1=git.stdout.strip(), digest_by_third_party=True)
    with pytest.warns(UserWarning, match="third party"):
        verify(tmp_path / "a", file, tmp_path)
    assert names_in(tmp_path) == {"a"}
    with pytest.raises(WeightsError, match="git blob"):
        verify(tmp_path / "a", replace(file, sha256=sha256(CONTENT), git_sha1="0" * 40), tmp_path)


@pytest.mark.parametrize("known", [{"sha256": "xyz"}, {"sha256": "00" * 33}, {"git_sha1": "00" * 19}])
def test_a_digest_that_cannot_be_one_is_refused(known: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"a\.pt: .* is no digest"):
        WeightFile("a.pt", **known)  # type: ignore[arg-type]


def test_what_was_trained_here_may_be_trained_again(tmp_path: Path) -> None:
    file, path = WeightFile("a.safetensors", trained_here=True), tmp_path / "a.safetensors"
    assert "train it with `run_bench.py train`" in status(file, tmp_path).note
    for content in (CONTENT, OTHER):
        path.write_bytes(content)
        assert verify(path, file, tmp_path) == sha256(content)
        assert status(file, tmp_path, sha256_of)[2:5] == ("here", sha256(content), "")
    assert names_in(tmp_path) == {"a.safetensors"}


def test_the_first_digest_seen_binds(tmp_path: Path) -> None:
    file, path, ledger = WeightFile(name="x/a.npz"), tmp_path / "x/a.npz", tmp_path / "digests.json"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert verify(path, file, tmp_path) == sha256(CONTENT)
    entry = json.loads(ledger.read_text())["x/a.npz"]
    assert entry["sha256"] == sha256(CONTENT)
    assert entry["first_seen"].endswith("+00:00")
    before = ledger.read_bytes()
    verify(path, file, tmp_path)
    assert ledger.read_bytes() == before

    path.write_bytes(OTHER)
    with pytest.raises(WeightsError, match=r"first seen on .*remove 'x/a.npz' from .*digests\.json"):
        verify(path, file, tmp_path)
    ledger.write_text("{}")
    assert verify(path, file, tmp_path) == sha256(OTHER)


def test_what_is_published_is_not_taken_on_trust(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    verify(tmp_path / "a", WeightFile(name="a", sha256=sha256(CONTENT).upper()), tmp_path)
    assert names_in(tmp_path) == {"a"}


@pytest.mark.parametrize(
    "text", ['{"a": {"sha', "[]", '{"a": 1}', '{"a": {"sha256": "00", "size": 1, "first_seen": ""}}', "\xff"]
)
def test_a_torn_ledger_is_not_overwritten(tmp_path: Path, text: str) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    (tmp_path / "digests.json").write_text(text, encoding="latin-1")
    with pytest.raises(WeightsError, match=r"digests\.json is damaged .*: restore it, or delete it"):
        verify(tmp_path / "a", WeightFile(name="a"), tmp_path)
    assert (tmp_path / "digests.json").read_text(encoding="latin-1") == text


def test_processes_that_write_the_ledger_at_once_lose_nothing(tmp_path: Path) -> None:
    jobs = []
    for index in range(24):
        path = tmp_path / f"{index}.npz"
        path.write_bytes(b"\0%d" % index)
        jobs.append((path, WeightFile(name=path.name), tmp_path))
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = pool.starmap(verify, jobs, chunksize=1)
    assert found == [sha256(b"\0%d" % index) for index in range(24)]
    entries = json.loads((tmp_path / "digests.json").read_text())
    assert {name: entry["sha256"] for name, entry in entries.items()} == {
        path.name: digest for (path, _, _), digest in zip(jobs, found, strict=True)
    }


def test_a_root_that_cannot_be_written_can_still_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    (tmp_path / ".locks").write_text("permissions do not stop the superuser; this stops everybody")
    with pytest.warns(UserWarning, match="cannot be recorded in .*digests.json"):
        assert verify(tmp_path / "a", WeightFile(name="a"), tmp_path) == sha256(CONTENT)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"{tmp_path / 'gone'} cannot be verified: No such file"):
        verify(tmp_path / "gone", WeightFile(name="gone"), tmp_path)


# Stand-ins


def test_untrained_weights_are_marked_by_their_folder(served: Publisher, tmp_path: Path) -> None:
    file = file_of(served, size=3, sha256=sha256(OTHER))
    path = tmp_path / file.name
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert not untrained(path, tmp_path)
    with pytest.raises(WeightsError):
        verify(path, file, tmp_path)

    mark_untrained(tmp_path, "for a demonstration")
    assert "for a demonstration" in (tmp_path / "UNTRAINED.txt").read_text()
    assert untrained(path, tmp_path)
    assert verify(path, file, tmp_path) == sha256(CONTENT), "a stand-in is not the published file"
    assert status(file, tmp_path).state == "here"
    assert "chance" in status(file, tmp_path).note

    linked = tmp_path.parent / f"{tmp_path.name}-linked"
    linked.mkdir()
    (linked / "a.pth").symlink_to(path)
    assert untrained(linked / "a.pth", linked), "a link to a stand-in is a stand-in"
    path.unlink()
    with pytest.raises(WeightsError, match=r"marked by UNTRAINED\.txt"):
        fetch(file_of(served), tmp_path, progress=False)


def test_a_mark_above_the_root_does_not_count(tmp_path: Path) -> None:
    mark_untrained(tmp_path, "elsewhere")
    assert not untrained(tmp_path / "root/x/a.pth", tmp_path / "root")


# The Hugging Face Hub, behind its own client

HUB_FILE = HubFile("timm/some", "model.safetensors")
ON_HUB = WeightFile(name="clip/some.pt", url="https://w.invalid/some.pt", hub=HUB_FILE)
COMMIT = "1" * 40


@pytest.fixture
def hub(served: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publisher:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", served.address)
    template = served.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for revision in ("main", COMMIT):
        served.files[f"timm/some/resolve/{revision}/model.safetensors"] = CONTENT
    served.headers = {"X-Repo-Commit": COMMIT}
    return served


def test_where_the_address_fails_the_hub_serves(hub: Publisher, tmp_path: Path) -> None:
    root = tmp_path / "root"
    path = fetch(ON_HUB, root, progress=False)
    assert path == root / "clip/some.safetensors" == locate(ON_HUB, root), "another format, another name"
    assert path.read_bytes() == CONTENT
    assert names_in(root) == {"clip/some.safetensors", "digests.json"}
    assert {asked for method, asked, _ in hub.requests if method == "GET" and asked.startswith("timm/")} == {
        f"timm/some/resolve/{COMMIT}/model.safetensors"
    }, "what is downloaded is the commit that was looked up"
    path.write_bytes(OTHER)
    with pytest.raises(WeightsError, match="first seen"):
        verify(path, ON_HUB, root)


def test_a_revision_of_the_hub_is_pinned_and_its_digest_too(hub: Publisher, tmp_path: Path) -> None:
    pinned = HUB_FILE._replace(revision=COMMIT, sha256=sha256(CONTENT))
    file = replace(ON_HUB, url=None, hub=pinned)
    del hub.files["timm/some/resolve/main/model.safetensors"]
    fetch(file, tmp_path / "a", progress=False)
    assert "digests.json" not in names_in(tmp_path / "a"), "what is published is not taken on trust"
    other = replace(file, hub=pinned._replace(sha256=sha256(OTHER)))
    with pytest.raises(WeightsError, match=f"where {sha256(OTHER)} is published; kept as"):
        fetch(other, tmp_path / "b", progress=False)
    same_name = replace(file, name="a/model.safetensors", sha256=sha256(OTHER), hub=HUB_FILE)
    hub.files["timm/some/resolve/main/model.safetensors"] = CONTENT
    with pytest.raises(WeightsError, match="is published; kept as"):
        fetch(same_name, tmp_path / "c", progress=False)


def test_another_content_than_the_hub_tells(hub: Publisher, tmp_path: Path) -> None:
    hub.headers["ETag"] = f'"{sha256(OTHER)}"'
    with pytest.raises(WeightsError, match=f"another SHA-256 than the Hub tells, {sha256(OTHER)}"):
        fetch(ON_HUB, tmp_path / "root", progress=False)
    assert names_in(tmp_path / "root").isdisjoint({"clip/some.safetensors", "digests.json"})


def test_what_other_programs_downloaded_is_found(hub: Publisher, tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert locate(ON_HUB, root) is None
    cached = huggingface_hub.hf_hub_download("timm/some", "model.safetensors", cache_dir=tmp_path / "cache")
    assert locate(ON_HUB, root) == Path(cached)
    assert status(ON_HUB, root, sha256_of).basis == "published", "the Hub's cache tells the digest"
    Path(cached).resolve().write_bytes(OTHER)
    with pytest.raises(WeightsError, match="is published"):
        verify(Path(cached), ON_HUB, root)
    original = tmp_path / "home/.cache/clip/some.pt"
    original.parent.mkdir(parents=True)
    original.write_bytes(CONTENT)
    assert locate(ON_HUB, root) == original
    for name in ("some.safetensors", "some.pt"):  # put there by hand
        (root / "clip").mkdir(parents=True, exist_ok=True)
        (root / "clip" / name).write_bytes(OTHER)
        assert locate(ON_HUB, root) == root / "clip" / name


def test_the_hub_without_network(hub: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with publisher() as gone:
        pass
    template = gone.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    root = tmp_path / "root"
    with pytest.raises(WeightsError, match=rf"{gone.address}/timm/some/.* failed") as failure:
        fetch(ON_HUB, root, progress=False)
    message = str(failure.value)
    assert f"{ON_HUB.url} as {root / 'clip/some.pt'}" in message
    assert f"{HUB_FILE.url} as {root / 'clip/some.safetensors'}" in message
    assert "\n" not in message


def test_torch_is_not_needed() -> None:
    code = "import sys, methods.weights; print(sorted({'torch', 'open_clip'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"
