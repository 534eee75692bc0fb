"""Whether a file is the one that is meant: by the digest its publisher tells, else by the first one seen."""

import codecs
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from methods.files import write_atomically

Digest = Callable[[Path], str]
"""Returns a file's SHA-256 in lower-case hex; may remember it."""
TEXTS = (".csv", ".json", ".md", ".txt", ".yaml", ".yml")
"""Suffixes of companions of weights that are text."""
_HEAD = 512


class MismatchError(Exception):
    """A file is not the one that is meant; the message continues a sentence that begins with the file."""


class Published(NamedTuple):
    """What is told of a file."""

    size: int | None = None
    """Bytes."""
    sha256: str | None = None
    """In hex, or its first digits: those can disprove a file, not prove it."""
    git_sha1: str | None = None
    third_party: bool = False
    """Whether `sha256` is by somebody else than the publisher: it is compared, but decides nothing."""


class Verdict(NamedTuple):
    """What a comparison found."""

    sha256: str
    basis: str
    """What the digest agrees with: `published`, `first seen DATE`, or nothing yet."""
    note: str
    """What is remarkable; else empty."""


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


def not_weights(head: bytes, name: str) -> str:
    """Say what a file called `name` is that plainly is no weights, by its first bytes; else return ""."""
    head = head[:_HEAD]
    if head.startswith(b"version https://git-lfs."):
        return "a Git LFS pointer, not the file it stands for"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, not a file of weights (a login, a quota or a moved address)"
    if not head or name.endswith(TEXTS):
        return ""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # may end within a character
    except UnicodeDecodeError:
        return ""
    plain = all(letter.isprintable() or letter in "\t\r\n" for letter in text)
    return "text, not a file of weights" if plain else ""


def check_plainly(path: Path, published: Published) -> None:
    """Raise `MismatchError` for what shows without a digest: an empty file, another size, a web page."""
    size = path.stat().st_size
    if size == 0:
        raise MismatchError("is empty")
    with path.open("rb") as file:
        if what := not_weights(file.read(_HEAD), path.name.removesuffix(".part")):
            raise MismatchError(f"is {what}")
    if published.size is not None and size != published.size:
        raise MismatchError(f"has {size} bytes where {published.size} are published")


def compare(
    path: Path, published: Published, ledger: Path, key: str, digest: Digest, *, record: bool
) -> Verdict:
    """Compare a file with what is published of it and, where that proves too little, with the ledger.

    `key` is its name there; `record` enters a file that is not in it yet. Raises `MismatchError`, or
    `OSError` if the file cannot be read or the ledger is damaged.
    """
    check_plainly(path, published)
    sha256, note = digest(path), ""
    if published.git_sha1 and (blob := git_sha1_of(path)) != published.git_sha1.lower():
        raise MismatchError(f"is git blob {blob} where {published.git_sha1} is published")
    if published.sha256 and not sha256.startswith(published.sha256.lower()):
        note = f"has SHA-256 {sha256} where {published.sha256} is published"
        if not published.third_party:
            raise MismatchError(note)
        note += " by a third party: it may still be right"
    whole = len(published.sha256 or "") == len(sha256) and not published.third_party
    if whole or published.git_sha1:
        return Verdict(sha256, "published", note)
    seen = _read(ledger).get(key)
    if seen is None and record:
        try:
            seen = _record(ledger, key, sha256)
        except OSError as error:  # a shared root may be read-only
            return Verdict(sha256, "", note or f"cannot be recorded in {ledger} ({error.strerror})")
    if seen is None:
        return Verdict(sha256, "", note or "has no published digest; the first one verified is recorded")
    if seen["sha256"] != sha256:
        raise MismatchError(
            f"has SHA-256 {sha256} where {seen['sha256']} was first seen on {seen['first_seen']}"
            f" (if the new file is meant, remove {key!r} from {ledger})"
        )
    return Verdict(sha256, f"first seen {seen['first_seen'][:10]}", note)


def lock(root: Path, name: str) -> FileLock:
    """Return the lock of what is called `name` below the weights root; the folder `.locks` keeps its file."""
    folder = root / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{name.replace('/', '_')}.lock")


def _record(ledger: Path, key: str, sha256: str) -> dict[str, str]:
    """Enter a file seen for the first time; an entry that another process made meanwhile stays."""
    with lock(ledger.parent, ledger.name):
        entries = _read(ledger)
        if key not in entries:
            entries[key] = {"sha256": sha256, "first_seen": datetime.now(UTC).isoformat(timespec="seconds")}
            text = json.dumps(dict(sorted(entries.items())), indent=2) + "\n"
            write_atomically(ledger, lambda place: place.write_text(text, encoding="utf-8"))
        return entries[key]


def _read(ledger: Path) -> dict[str, dict[str, str]]:
    """Return {name: {sha256, first_seen}}; raises `OSError` where that is not what the file holds."""
    try:
        entries: dict[str, dict[str, str]] = json.loads(ledger.read_text(encoding="utf-8"))
        for name, entry in entries.items():
            if len(bytes.fromhex(entry["sha256"])) != 32 or not isinstance(entry["first_seen"], str):
                raise ValueError(f"the entry {name!r} is no SHA-256 with a date")
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise OSError(f"{ledger} is damaged ({error}): restore it, or delete it to record anew") from error
    return entries
