"""SHA-256 of files, remembered between runs as long as size and modification time stay the same.

Fingerprints of datasets and digests of weights go into every cell's key, so they are needed before each
run; hashing some gigabytes each time would make `--dry-run` slow.
"""

import os
import sqlite3
import threading
from pathlib import Path

from datasets.files import sha256_of as sha256


def cache_folder() -> Path:
    """Return the folder for what may be recomputed: ZSAD_CACHE, else `zsad-bench` in the user's cache."""
    if named := os.environ.get("ZSAD_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zsad-bench"


class DigestCache:
    """A callable like `sha256_of` that remembers. An unwritable cache only costs time."""

    def __init__(self, folder: Path | None = None) -> None:
        """Open or create `digests.sqlite` in `folder` (default: `cache_folder()`)."""
        self._database: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        try:
            folder = folder or cache_folder()
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(folder / "digests.sqlite", timeout=30, check_same_thread=False)
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, stamp TEXT, sha256 TEXT)"
            )
        except (OSError, sqlite3.Error):
            self._database = None

    def __call__(self, path: Path) -> str:
        """Return the file's SHA-256, from memory if its size and times have not changed."""
        if self._database is None:
            return sha256(path)
        status = path.stat()
        # The change time catches an edit whose modification time was set back.
        stamp = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
        where = str(path.resolve())
        try:
            with self._lock:
                row = self._database.execute(
                    "SELECT stamp, sha256 FROM digests WHERE path = ?", (where,)
                ).fetchone()
            if row and row[0] == stamp:
                return str(row[1])
            digest = sha256(path)
            with self._lock, self._database:
                self._database.execute("REPLACE INTO digests VALUES (?, ?, ?)", (where, stamp, digest))
        except sqlite3.Error:
            self._database = None
            return sha256(path)
        return digest
