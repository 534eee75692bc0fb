"""Data sets prepared straight from an archive, and archives that are not what they claim to be."""

import bz2
import gzip
import io
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock

from datasets.meta import open_dataset
from datasets.prepare import prepare
from tests.datasets.imitation import build

ROOT = Path(__file__).resolve().parents[2]


def packed(folder: Path, archive: Path) -> Path:
    """Pack `folder` under its own name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packing:
            for path in files:
                packing.write(path, path.relative_to(folder.parent))
            packing.writestr("__MACOSX/._litter.png", b"litter")
    else:
        with tarfile.open(
            archive, f"w:{archive.suffix[1:].replace('tar', '').replace('tgz', 'gz')}"
        ) as packing:
            packing.add(folder, folder.name)
    return archive


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"])
def test_every_kind_of_archive(tmp_path: Path, suffix: str) -> None:
    folder = build("btad", tmp_path)
    archive = packed(folder, tmp_path / f"some.{suffix}")
    before = archive.read_bytes()
    from_archive = open_dataset(prepare("btad", archive, tmp_path / "a"))
    from_folder = open_dataset(prepare("btad", folder, tmp_path / "b"))
    assert [it.fingerprint() for it in from_archive.classes] == [
        it.fingerprint() for it in from_folder.classes
    ]
    assert archive.read_bytes() == before
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["btad"]
    assert not from_archive.warnings


def test_an_archive_that_is_not_the_published_one_is_noted(tmp_path: Path) -> None:
    archive = packed(build("btad", tmp_path), tmp_path / "btad.zip")
    (warning,) = open_dataset(prepare("btad", archive, tmp_path / "data")).warnings
    assert "btad.zip is not the published archive: its SHA-256 is" in warning


def test_stand_in_archives_stay_marked(tmp_path: Path) -> None:
    folder = build("btad", tmp_path)
    (folder / "STAND-IN.txt").write_text("made up")
    archive = packed(folder, tmp_path / "some.zip")
    assert open_dataset(prepare("btad", archive, tmp_path / "data")).standin


def zip_with(path: Path, name: str, *, link: bool = False) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        member = zipfile.ZipInfo(name)
        if link:
            member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, b"/etc/hostname")
    return path


def tar_with(path: Path, name: str, kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/hostname"
        member.size = 5 if kind == tarfile.REGTYPE else 0
        archive.addfile(member, io.BytesIO(b"hello") if kind == tarfile.REGTYPE else None)
    return path


@pytest.mark.parametrize(
    "name", ["../out.png", "a/../../out.png", "/tmp/out.png", "..\\out.png", "C:\\out.png"]
)
@pytest.mark.parametrize("make", [zip_with, tar_with])
def test_members_that_escape_are_refused(tmp_path: Path, make: object, name: str) -> None:
    archive = make(tmp_path / "evil.archive", name)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"evil\.archive: member .* would land outside"):
        prepare("btad", archive, tmp_path / "data")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["data", "evil.archive"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(ValueError, match=r"member 'a\.png' is a link"):
        prepare("btad", tar_with(tmp_path / "evil.tar", "a.png", kind), tmp_path / "data")
    with pytest.raises(ValueError, match=r"member 'a\.png' is a link"):
        prepare("btad", zip_with(tmp_path / "evil.zip", "a.png", link=True), tmp_path / "data")


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tar.xz"])
@pytest.mark.parametrize("kept", [0, 10, 0.6])
def test_a_truncated_archive_is_named(tmp_path: Path, suffix: str, kept: float) -> None:
    archive = packed(build("btad", tmp_path), tmp_path / f"some.{suffix}")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(len(whole) * kept) if kept < 1 else int(kept)])
    with pytest.raises(ValueError, match=rf"some\.{suffix}: .*download it again"):
        prepare("btad", archive, tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


def test_a_damaged_member_is_found(tmp_path: Path) -> None:
    archive = packed(build("btad", tmp_path), tmp_path / "some.zip")
    content = bytearray(archive.read_bytes())
    content[200:260] = bytes(60)
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=r"some\.zip: damaged"):
        prepare("btad", archive, tmp_path / "data")


def members_of(archive: Path) -> list[tarfile.TarInfo]:
    with tarfile.open(archive) as packing:
        return [member for member in packing.getmembers() if member.isfile()]


@pytest.mark.parametrize("damage", ["flipped", "zeros", "end", "behind"])
def test_a_damaged_header_is_not_the_end(tmp_path: Path, damage: str) -> None:
    archive = packed(build("btad", tmp_path), tmp_path / "some.tar")
    content, members = bytearray(archive.read_bytes()), members_of(archive)
    at = members[-2].offset
    if damage == "flipped":
        content[at + 150] ^= 0x55
    elif damage == "zeros":
        content[at : at + 512] = bytes(512)
    elif damage == "end":
        del content[at:]
    else:
        content[-1] = 1
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=r"some\.tar: damaged, cut off or locked .*download it again"):
        prepare("btad", archive, tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize(
    ("suffix", "where"), [("tar.gz", "content"), ("tar.gz", "checksum"), ("tar.bz2", "content")]
)
def test_a_checksum_is_compared(tmp_path: Path, suffix: str, where: str) -> None:
    plain = packed(build("btad", tmp_path), tmp_path / "some.tar")
    archive = tmp_path / f"some.{suffix}"
    if suffix == "tar.gz":
        content = bytearray(
            gzip.compress(plain.read_bytes(), compresslevel=0)
        )  # stored: only the checksum tells
        content[-8 if where == "checksum" else len(content) // 3] ^= 0xFF
    else:
        content = bytearray(bz2.compress(plain.read_bytes()))
        content[len(content) // 2] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=r"some\.tar\.\w+: .*download it again"):
        prepare("btad", archive, tmp_path / "data")


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path: Path) -> None:
    folder = build("btad", tmp_path)
    (folder / "zz.zip").write_bytes(zip_with(tmp_path / "a.zip", "a.png").read_bytes())
    archive = packed(folder, tmp_path / "some.tar")
    assert open_dataset(prepare("btad", archive, tmp_path / "data")).classes


def test_names_written_on_windows_become_folders(tmp_path: Path) -> None:
    folder = build("btad", tmp_path)
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as packing:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            packing.write(path, str(path.relative_to(tmp_path)).replace("/", "\\"))
    assert open_dataset(prepare("btad", tmp_path / "some.zip", tmp_path / "data")).classes


def test_a_web_page_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "btad.zip").write_text("<html>quota exceeded</html>")
    with pytest.raises(ValueError, match="neither a folder nor a zip or tar archive"):
        prepare("btad", tmp_path / "btad.zip", tmp_path / "data")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_given_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        for content in (b"one", b"two"):
            archive.writestr("01/test/ok/0.png", content)
    with pytest.raises(ValueError, match=r"holds '01/test/ok/0.png' twice"):
        prepare("btad", tmp_path / "some.zip", tmp_path / "data")


KILLED = """
import os, signal, sys
from pathlib import Path
from datasets import prepare
prepare._write_marker = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
prepare.prepare("btad", Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    archive = packed(build("btad", tmp_path), tmp_path / "btad.zip")
    root = tmp_path / "data"
    done = subprocess.run([sys.executable, "-c", KILLED, archive, root], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in root.iterdir()] == [".btad.preparing"]
    shutil.copytree(root / ".btad.preparing", root / ".mvtec.preparing")
    (root / ".mine.preparing.txt").write_text("a user's")
    prepare("btad", archive, root)
    assert sorted(path.name for path in root.iterdir()) == [".mine.preparing.txt", "btad"]


def test_two_runs_at_once_do_not_mix(tmp_path: Path) -> None:
    archive = packed(build("btad", tmp_path), tmp_path / "btad.zip")
    work = tmp_path / "data/.btad.preparing"
    (work / "tree").mkdir(parents=True)
    with FileLock(work / "lock"), pytest.raises(FileExistsError, match="another `prepare` is making it"):
        prepare("btad", archive, tmp_path / "data")
    assert (work / "tree").is_dir(), "the other's work stays"
    prepare("btad", archive, tmp_path / "data")


def test_a_table_saved_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    raw = build("visa", tmp_path)
    table = raw / "split_csv/1cls.csv"
    table.write_text(table.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert open_dataset(prepare("visa", raw, tmp_path / "data")).classes
