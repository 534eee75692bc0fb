"""Unpacking a downloaded archive without letting it write anywhere else, and without missing damage."""

import lzma
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Self

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
        if tarfile.is_tarfile(archive):
            _unpack_tar(archive, folder)
        elif zipfile.is_zipfile(archive):
            _unpack_zip(archive, folder)
        else:
            raise ValueError(f"{archive}: neither a folder nor a zip or tar archive; download it again")
    except _DAMAGE as error:
        raise _damaged(archive, f"{type(error).__name__}: {error}") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise _damaged(archive, str(error)) from error  # how gzip and bz2 report a wrong checksum


def _damaged(archive: Path, what: str) -> ValueError:
    return ValueError(f"{archive}: damaged, cut off or locked ({what}); download it again")


def _wanted(archive: Path, name: str, link: bool, seen: set[PurePosixPath]) -> bool:
    """Return False for hidden files and `__MACOSX`; raises `ValueError` for what is refused."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or ":" in path.parts[0]:
        raise ValueError(f"{archive}: member {name!r} would land outside; get the archive anew")
    if path.parts[0] == "__MACOSX" or path.name.startswith("."):
        return False
    if link:
        raise ValueError(f"{archive}: member {name!r} is a link; get the archive anew")
    if path in seen:
        raise ValueError(f"{archive}: holds {name!r} twice; download it again")
    seen.add(path)
    return True


def _unpack_zip(archive: Path, folder: Path) -> None:
    seen: set[PurePosixPath] = set()
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            member.filename = member.filename.replace("\\", "/")
            link = stat.S_ISLNK(member.external_attr >> 16)
            if not member.is_dir() and _wanted(archive, member.filename, link, seen):
                file.extract(member, folder)  # compares its checksum


def _unpack_tar(archive: Path, folder: Path) -> None:
    seen: set[PurePosixPath] = set()
    with tarfile.open(archive, tarinfo=_StrictHeader) as file:
        for member in file:
            member.name = member.name.replace("\\", "/")
            if not member.isdir() and _wanted(archive, member.name, not member.isfile(), seen):
                file.extract(member, folder, set_attrs=False, filter="data")
        assert file.fileobj is not None
        while rest := file.fileobj.read(1 << 20):  # gzip compares its checksum at its own end
            if rest.strip(b"\0"):
                raise tarfile.ReadError(f"what follows after {file.offset} bytes is no member")


class _StrictHeader(tarfile.TarInfo):
    """Refuses a damaged header, which `tarfile` takes for the end of the archive."""

    @classmethod
    def fromtarfile(cls, file: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(file)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # a block of zeros: the real end
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} after {file.offset} bytes") from error
