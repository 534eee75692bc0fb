"""Whether a file is the one that is meant: by what its publisher tells of it, or as it was first seen."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from methods.weights.transfer import locked

Digest = Callable[[Path], str]
"""Returns a file's SHA-256 in lower-case hex; may remember it."""


class MismatchError(Exception):
    """A file is not the one that is meant; the message continues a sentence that begins with the file."""


class LedgerError(OSError):
    """The ledger cannot be understood; the message names the mend."""


class Published(NamedTuple):
    """What is told of a file."""

    size: int | None = None
    """Bytes."""
    sha256: str | None = None
    """In hex, or its first digits."""
    git_sha1: str | None = None
    hearsay: bool = False
    """By a third party: a different digest is no proof against the file, nor an equal one for it."""


class Verdict(NamedTuple):
    """What a comparison found."""

    sha256: str
    compared: bool
    """With a digest that binds: the publisher's, or the ledger's."""
    note: str
    """What is remarkable; else empty."""


@dataclass(frozen=True)
class Entry:
    """A file as it was first seen."""

    sha256: str
    size: int
    """Bytes."""
    first_seen: str
    """UTC, ISO 8601."""


class Ledger:
    """The file `digests.json` of a weights root: {name: {sha256, size, first_seen}}.

    It is read afresh every time and written whole, under a lock, so processes may share it.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / "digests.json"

    def get(self, name: str) -> Entry | None:
        """Return the entry of `name`, or None; raises `LedgerError` if it is torn or badly edited."""
        return self._read().get(name)

    def record(self, name: str, sha256: str, size: int) -> Entry:
        """Enter a file seen for the first time and return its entry; an entry that is there stays.

        Raises `OSError` where the ledger cannot be written.
        """
        with locked(self.path.with_name(self.path.name + ".lock")):
            entries = self._read()
            if name not in entries:
                entries[name] = Entry(sha256, size, datetime.now(UTC).isoformat(timespec="seconds"))
                self._write(entries)
            return entries[name]

    def _read(self) -> dict[str, Entry]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            entries = {name: Entry(**entry) for name, entry in content.items()}
            for name, entry in entries.items():
                if len(bytes.fromhex(entry.sha256)) != hashlib.sha256().digest_size:
                    raise ValueError(f"the sha256 of {name!r} does not have 64 digits")
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError) as error:
            raise LedgerError(
                f"{self.path} is damaged ({error}): restore it, or delete it to record the digests anew"
            ) from error
        return entries

    def _write(self, entries: dict[str, Entry]) -> None:
        beside = self.path.with_name(self.path.name + ".new")
        with beside.open("w", encoding="utf-8") as file:
            json.dump({name: asdict(entries[name]) for name in sorted(entries)}, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_sha1_of(path: Path) -> str:
    """Return the git blob id of a file: SHA-1 of "blob <size>\\0" followed by the content."""
    blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            blob.update(chunk)
    return blob.hexdigest()


def check_size(path: Path, published: Published) -> int:
    """Return the size of a file in bytes; raises `MismatchError` if it is 0 or another one is published."""
    size = path.stat().st_size
    if size == 0:
        raise MismatchError("is empty")
    if published.size is not None and size != published.size:
        raise MismatchError(f"has {size} bytes where {published.size} are published")
    return size


def judge(
    path: Path, published: Published, ledger: Ledger, key: str, digest: Digest, *, record: bool
) -> Verdict:
    """Compare a file with what is published of it and, where that proves too little, with the ledger.

    `key` is its name there; `record` enters a file that is not in it yet. Raises `MismatchError`,
    `LedgerError`, or `OSError` if the file cannot be read.
    """
    size, sha256, complaint = check_size(path, published), digest(path), ""
    if published.sha256 and not sha256.startswith(published.sha256.lower()):
        complaint = f"has SHA-256 {sha256} where {published.sha256} is published"
    elif published.git_sha1 and (blob := git_sha1_of(path)) != published.git_sha1.lower():
        complaint = f"is git blob {blob} where {published.git_sha1} is published"
    if complaint and not published.hearsay:
        raise MismatchError(complaint)
    note = f"{complaint} by a third party: it may still be right" if complaint else ""
    if not published.hearsay and (published.git_sha1 or len(published.sha256 or "") == len(sha256)):
        return Verdict(sha256, True, note)
    entry = ledger.get(key)
    if entry is None and record:
        try:
            entry = ledger.record(key, sha256, size)
        except LedgerError:
            raise
        except OSError as error:  # a shared root may be read-only
            return Verdict(sha256, False, note or f"cannot be recorded in {ledger.path} ({error.strerror})")
    if entry is None:
        return Verdict(sha256, False, note or "has no published digest; the first one verified is recorded")
    if entry.sha256 != sha256:
        raise MismatchError(
            f"has SHA-256 {sha256} where {entry.sha256} was first seen on {entry.first_seen}"
            f" (if the new file is meant, remove {key!r} from {ledger.path})"
        )
    return Verdict(sha256, True, note)
