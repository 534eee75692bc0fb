"""SHA-256 of files, remembered between runs as long as size and modification time stay the same.

Fingerprints of datasets and digests of weights go into every cell's key, so they are needed before each
run; hashing some gigabytes each time would make `--dry-run` slow.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from datasets.files import escaped_name
from datasets.files import sha256_of as sha256

_BLOCK = 1000
_THREADS = 4
_Entry = tuple[str, str]
"""Stamp (size, times, inode) and SHA-256."""


def cache_folder() -> Path:
    """Return the folder for what may be recomputed: ZSAD_CACHE, else `zsad-bench` in the user's cache."""
    if named := os.environ.get("ZSAD_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zsad-bench"


def warm(digest: Callable[[Path], str], paths: Iterable[Path]) -> None:
    """Have a digest that remembers take in many files at once; nothing to do for one that does not."""
    if isinstance(digest, DigestCache):
        digest.warm(paths)


class DigestCache:
    """A callable like `sha256_of` that remembers. An unusable cache only costs time."""

    def __init__(self, folder: Path | None = None) -> None:
        """Open or create `digests.sqlite` in `folder` (default: `cache_folder()`)."""
        self._database: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._known: dict[str, _Entry] = {}
        try:
            folder = folder or cache_folder()
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(folder / "digests.sqlite", timeout=30, check_same_thread=False)
            # What a crash of the machine loses here is hashed anew.
            self._database.execute("PRAGMA synchronous = OFF")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, stamp TEXT, sha256 TEXT)"
            )
        except (OSError, RuntimeError, sqlite3.Error):  # RuntimeError: no home folder
            self._database = None

    def __call__(self, path: Path) -> str:
        """Return the file's SHA-256, from memory if its size and times have not changed."""
        where, stamp = _place(path), _stamp(path)
        with self._lock:
            known = self._known.get(where) or self._look_up([where]).get(where)
        if known and known[0] == stamp:
            return known[1]
        entry = (stamp, sha256(path))
        with self._lock:
            self._write({where: entry})
        return entry[1]

    def warm(self, paths: Iterable[Path]) -> None:
        """Take in the digests of many files: looked up together, hashed by a few threads, written at once.

        A file that cannot be read is passed over: asking for its digest raises the error.
        """
        files = {_place(path): path for path in paths}
        places = list(files)
        with self._lock:
            for start in range(0, len(places), _BLOCK):
                self._known |= self._look_up(places[start : start + _BLOCK])
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="hash") as pool:
            found = pool.map(self._hash_if_new, files.items())
            for _ in range(0, len(places), _BLOCK):
                block = {place: entry for place, entry in islice(found, _BLOCK) if entry}
                with self._lock:
                    self._write(block)

    def _hash_if_new(self, file: tuple[str, Path]) -> tuple[str, _Entry | None]:
        place, path = file
        try:
            stamp = _stamp(path)
            if place in self._known and self._known[place][0] == stamp:
                return place, None
            return place, (stamp, sha256(path))
        except OSError:
            return place, None

    def _look_up(self, places: list[str]) -> dict[str, _Entry]:
        marks = ",".join("?" * len(places))
        query = f"SELECT path, stamp, sha256 FROM digests WHERE path IN ({marks})"
        try:
            rows = self._database.execute(query, places).fetchall() if self._database else []
        except sqlite3.Error:
            self._database, rows = None, []
        return {str(place): (str(stamp), str(digest)) for place, stamp, digest in rows}

    def _write(self, entries: dict[str, _Entry]) -> None:
        self._known |= entries
        if self._database is None or not entries:
            return
        try:
            with self._database:
                rows = [(place, *entry) for place, entry in entries.items()]
                self._database.executemany("REPLACE INTO digests VALUES (?, ?, ?)", rows)
        except sqlite3.Error:
            self._database = None


def _place(path: Path) -> str:
    return escaped_name(str(path.absolute()))


def _stamp(path: Path) -> str:
    status = path.stat()
    # The change time catches an edit whose modification time was set back.
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
