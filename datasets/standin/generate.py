"""Writing the stand-in datasets, each whole or not at all."""

import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from datasets.files import STAND_IN
from datasets.standin.files import File
from datasets.standin.layouts import LAYOUTS
from datasets.standin.shots import SCALES, Studio

KEYS = tuple(LAYOUTS)
VERSION = 2  # counts up when the pixels of any picture change

_TEXT = """\
GENERATED STAND-IN DATA, NOT THE REAL DATASETS.

Every picture in this folder was drawn by a program. The folders and file names follow the raw layouts of
real datasets so that the same code reads both. Numbers measured on these pictures say nothing about
results on the real datasets. Made by `python -m datasets.standin`.
"""


def files(key: str, *, seed: int = 0, scale: str = "full") -> Iterator[File]:
    """Yield the files of one stand-in dataset, drawn as they are asked for."""
    if key not in LAYOUTS:
        raise ValueError(f"unknown dataset {key!r}: choose from {', '.join(KEYS)}")
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}: choose {', '.join(SCALES)}")
    return LAYOUTS[key](Studio(key, seed, SCALES[scale]))


def generate(
    root: Path, *, seed: int = 0, keys: Sequence[str] | None = None, scale: str = "full"
) -> dict[str, Path]:
    """Write stand-in datasets in the raw layouts of the real ones and return the raw folders by key.

    Each goes to `root/<key>`, all of it or nothing; one that is there is left alone. `keys` defaults to
    all fourteen. At `scale` "full" there are about 14 normal and 14 anomalous test pictures of 112 to
    192 pixels per class. "small" takes the first three of each in two classes, or five where a dataset has
    one class; "tiny", for tests, two of each in at most two classes, with halved sides.

    The same seed and scale draw the same pixels on every machine, and write the same bytes but for the
    bytes of JPEG files, which follow Pillow's JPEG codec.

    Raises ValueError for an unknown key or scale, and for a folder that is no stand-in dataset or one of
    another seed, scale or version; OSError where the root cannot be written.
    """
    wanted = KEYS if keys is None else tuple(keys)
    for key in wanted:
        files(key, seed=seed, scale=scale)  # refuse bad names before anything is written
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    folders = {key: root / key for key in wanted}
    missing = [key for key, folder in folders.items() if not _complete(folder, _mark(seed, scale))]
    if not (root / STAND_IN).exists():
        (root / STAND_IN).write_text(_TEXT, encoding="utf-8")
    for key in missing:
        _write(folders[key], files(key, seed=seed, scale=scale), _mark(seed, scale))
    return folders


def _mark(seed: int, scale: str) -> str:
    return f"{_TEXT}\nseed {seed}, scale {scale}, version {VERSION}\n"


def _complete(folder: Path, mark: str) -> bool:
    """Return whether the dataset is there, and refuse a folder that holds something else."""
    if not folder.exists():
        return False
    notice = folder / STAND_IN
    if not notice.is_file():
        raise ValueError(f"{folder} has no {STAND_IN}, so it is not stand-in data: choose another root")
    found = notice.read_text(encoding="utf-8")
    if found != mark:
        have, want = found.strip().splitlines()[-1], mark.strip().splitlines()[-1]
        raise ValueError(f"{folder} holds stand-ins of {have}, not {want}: delete it or choose another root")
    return True


def _write(folder: Path, content: Iterator[File], mark: str) -> None:
    """Write a dataset beside its place and move it there in one step."""
    scratch = folder.parent / f".{folder.name}-{secrets.token_hex(6)}"
    scratch.mkdir()
    try:
        for file in content:
            target = scratch / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.encode())
        (scratch / STAND_IN).write_text(mark, encoding="utf-8")
        try:
            scratch.rename(folder)
        except OSError:
            # Another process may have finished the same dataset first; its pictures are as good.
            if not _complete(folder, mark):
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
