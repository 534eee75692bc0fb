"""Which pictures are meant by files, folders and lists, and what each of them shows."""

import csv
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.errors import BenchError, printable
from bench.store.predictions import MARKER
from datasets.files import IMAGE_SUFFIXES, is_image

_KNOWN = " ".join(sorted(IMAGE_SUFFIXES))


def say(lines: Iterable[str]) -> None:
    """Print lines to standard error."""
    for line in lines:
        print(line, file=sys.stderr)


class Classes:
    """What each picture shows, by `--classes`."""

    def __init__(self, words: list[str]) -> None:
        self._default = "object"
        self._places: dict[Path, str] = {}
        self._listed: list[Path] = []
        for word in words:
            place, equals, name = word.rpartition("=")
            if equals:
                if not Path(place).exists():
                    raise BenchError(f"--classes {word}: no such image or folder: {place}")
                self._add(Path(place), name, word)
            elif word.lower().endswith(".csv"):
                self._read(Path(word))
            elif not word.strip():
                raise BenchError(f"--classes {word!r}: write a name")
            else:
                self._default = word

    def _add(self, place: Path, name: str, where: str) -> None:
        if not name.strip():
            raise BenchError(f"--classes {where}: write a name after {place}")
        self._places[_place(place)] = name.strip()

    def _read(self, path: Path) -> None:
        try:
            rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise BenchError(f"--classes {path}: not a list of file,name ({error})") from error
        for number, row in enumerate(rows, 1):
            if not row or (number == 1 and [word.strip().lower() for word in row] == ["image", "object"]):
                continue
            if len(row) != 2:
                raise BenchError(f"--classes {path}, line {number}: expected file,name")
            place = path.parent / row[0].strip()
            self._add(place, row[1], f"{path}, line {number}")
            self._listed.append(place)

    def name(self, paths: list[Path], out: Path) -> list[tuple[Path, str]]:
        """Return every picture of `paths` and of the list, once, with what it shows.

        The innermost PATH of `--classes` decides. Raises `BenchError` if there is none, or for a missing
        path; a missing file of the list is returned, to be reported when it is read.
        """
        folders = [*paths, *(path for path in self._listed if path.is_dir())]
        files = [path for path in self._listed if not path.is_dir()]
        found = [*_pictures(folders, out), *files]
        if not found:
            raise BenchError(
                f"no picture in {', '.join(map(str, folders))}; known: {_KNOWN}"
                if folders
                else "name pictures or folders, or a list with --classes"
            )
        pictures = {_place(path): path for path in found}
        return [
            (
                shown,
                next((self._places[p] for p in (path, *path.parents) if p in self._places), self._default),
            )
            for path, shown in pictures.items()
        ]


def _pictures(paths: list[Path], out: Path) -> Iterator[Path]:
    """Yield files as given, and the visible pictures in and below folders, sorted."""
    other = 0
    for path in paths:
        if path.is_file():
            yield path
            continue
        if not path.is_dir():
            raise BenchError(f"no such image or folder: {path}")
        if _place(path) == _place(out):
            raise BenchError(f"--out {out} holds the pictures themselves; choose another folder")
        for folder, folders, names in os.walk(path, onerror=_stop):
            if MARKER in names or _place(Path(folder)) == _place(out):
                say([f"passed over: {folder} holds predictions"])
                folders.clear()
                continue
            folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
            visible = sorted(Path(folder, name) for name in names if not name.startswith("."))
            yield from (images := [each for each in visible if is_image(each)])
            other += len(visible) - len(images)
    if other:
        say([f"passed over: {other} files that are no pictures by their extension; known: {_KNOWN}"])


def _place(path: Path) -> Path:
    """Return the path without `..` and linked folders; a linked file keeps its name."""
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


def _stop(error: OSError) -> None:
    say([f"passed over: {printable(str(error))}"])
