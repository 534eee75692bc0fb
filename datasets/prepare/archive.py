"""Unpacking a downloaded archive without letting it write anywhere else."""

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError,
    RuntimeError, NotImplementedError,  # a zip with a password, or compressed in a way Python cannot undo
)  # fmt: skip


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the files of a zip or tar archive below `folder`; hidden ones and `__MACOSX` are left out.

    Raises:
        ValueError: It is not such an archive, is damaged, or a member is a link or would land outside
            `folder`; the message names archive and member.
        OSError: A file cannot be written.
    """
    try:
        for name, content in _members(archive):
            path = PurePosixPath(name.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or not path.parts or ":" in path.parts[0]:
                raise ValueError(f"{archive}: member {name!r} would land outside; get the archive anew")
            if path.parts[0] == "__MACOSX" or path.name.startswith("."):
                continue
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                raise ValueError(f"{archive}: holds {name!r} twice; download it again")
            with content, target.open("xb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
    except _DAMAGE as error:
        raise ValueError(
            f"{archive}: damaged, cut off or locked ({type(error).__name__}: {error}); download it again"
        ) from error


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    if zipfile.is_zipfile(archive):
        return _zip_members(archive)
    if tarfile.is_tarfile(archive):
        return _tar_members(archive)
    raise ValueError(f"{archive}: neither a folder nor a zip or tar archive; download it again")


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            if stat.S_ISLNK(member.external_attr >> 16):
                raise ValueError(f"{archive}: member {member.filename!r} is a link; get the archive anew")
            if not member.is_dir():
                yield member.filename, file.open(member)


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive) as file:
        for member in file:
            content = file.extractfile(member) if member.isfile() else None
            if content:
                yield member.name, content
            elif not member.isdir():
                raise ValueError(f"{archive}: member {member.name!r} is a link; get the archive anew")
