"""Where weight files come from: names, addresses, digests, fetching. It never looks at a tensor."""

import re
import shutil
import warnings
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from methods.files import write_atomically
from methods.weights.download import DownloadError, from_address, from_hub, version_file
from methods.weights.file import HubFile, WeightFile, frozen, is_learned
from methods.weights.trust import (
    Digest,
    MismatchError,
    Published,
    Verdict,
    check_plainly,
    compare,
    lock,
    sha256_of,
)

__all__ = [
    "HubFile",
    "Status",
    "WeightFile",
    "WeightsError",
    "by_hand",
    "fetch",
    "frozen",
    "is_learned",
    "locate",
    "mark_untrained",
    "status",
    "untrained",
    "verify",
]

MARK = "UNTRAINED.txt"
"""Name of the file that marks a folder of untrained stand-in weights; its text says why."""
_DRIVES = ("drive.google.com", "docs.google.com", "drive.usercontent.google.com", "pan.baidu.com")
_REMEDY = "delete it and fetch it again, or put the right file there"


class WeightsError(OSError):
    """Weights that cannot be had or trusted; the one-line message names the file and what to do."""


class Status(NamedTuple):
    """How a weight file stands."""

    file: WeightFile
    path: Path | None
    state: Literal["here", "missing", "damaged", "unverified"]
    """`unverified`: it is there, but its content was not read, or there is nothing to compare it with yet."""
    sha256: str | None
    basis: str
    """What its digest agrees with: `published` or `first seen DATE`; empty for neither."""
    note: str
    """What is wrong or remarkable, and how to get a file that is missing; else empty."""


def locate(file: WeightFile, root: Path) -> Path | None:
    """Return the local path of `file`, or None if it is not here.

    That is `root / file.name` (or the Hub's form beside it); or, for what CLIP's usual libraries
    download, the file in their caches. Raises `WeightsError` for a name that leaves the root.
    """
    places, cached = [_place(file, root)], []
    if file.hub is not None:
        from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 (slow)

        repository, name, revision, _ = file.hub
        places.append(_hub_place(file, root))
        cached = [try_to_load_from_cache(repository, name, folder, revision) for folder in (root, None)]
    if file.url is not None:
        places.append(Path.home() / ".cache" / "clip" / file.url.rsplit("/", 1)[-1])
    places += [Path(found) for found in cached if isinstance(found, str)]
    return next((place for place in places if place.is_file()), None)


def status(file: WeightFile, root: Path, digest: Digest | None = None) -> Status:
    """Say how `file` stands, without raising, fetching or recording; without `digest` no content is read."""
    path = None
    try:
        path = locate(file, root)
        if path is None:
            return Status(file, None, "missing", None, "", by_hand(file, root))
        if untrained(path, root):
            note = "untrained stand-in: results are chance"
            return Status(file, path, "here", digest(path) if digest else None, "", note)
        if digest is None:
            check_plainly(path, _published(path, file))
            return Status(file, path, "unverified", None, "", "its content was not read")
        verdict = _compare(path, file, root, digest, record=False)
    except MismatchError as mismatch:
        return Status(file, path, "damaged", None, "", f"{path} {mismatch}; {_REMEDY}")
    except OSError as error:
        return Status(file, path, "damaged" if path else "missing", None, "", str(error))
    note = f"{path} {verdict.note}" if verdict.note else ""
    state: Literal["here", "unverified"] = "here" if verdict.basis or file.trained_here else "unverified"
    return Status(file, path, state, verdict.sha256, verdict.basis, note)


def verify(path: Path, file: WeightFile, root: Path, digest: Digest | None = None) -> str:
    """Return the SHA-256 of the local `file` at `path` after comparing it with what is known of it.

    Where its publisher tells no digest, the first one seen is recorded in the ledger of `root`, the file
    `digests.json`, and binds from then on. Untrained stand-ins and what was trained here are compared with
    nothing. Raises `WeightsError` if the size or a digest differs (a warning where a third party told the
    digest), if it plainly is something else, such as a web page, or if file or ledger cannot be read.
    """
    digest = digest or sha256_of
    try:
        if untrained(path, root):
            return digest(path)
        verdict = _compare(path, file, root, digest, record=True)
    except MismatchError as mismatch:
        raise WeightsError(f"{path} {mismatch}; {_REMEDY}") from mismatch
    except OSError as error:
        raise WeightsError(f"{path} cannot be verified: {error.strerror or error}") from error
    if verdict.note:
        warnings.warn(f"{path} {verdict.note}", stacklevel=2)
    return verdict.sha256


def fetch(file: WeightFile, root: Path, *, progress: bool, digest: Digest | None = None) -> Path:
    """Return the verified local path of `file`, downloading it if it is not here.

    An interrupted download is continued. A file appears under its name only when it is whole and its
    digest is right; one with a wrong digest is kept beside it as `.damaged`. It comes from its address, or
    from the Hub where that fails. Drives are left to people. Raises `WeightsError`; its message says what
    to put where by hand.
    """
    digest = digest or sha256_of
    found = locate(file, root)
    if found is not None:
        verify(found, file, root, digest)
        return found
    if untrained(_place(file, root), root):
        raise WeightsError(f"{root} is marked by {MARK}: fetch {file.name} into another weights root")
    failures = []
    try:
        with lock(root, file.name):
            for arrive in (_from_address, _from_hub):
                try:
                    path = locate(file, root) or arrive(file, root, progress, digest)
                except DownloadError as error:
                    failures.append(str(error))
                    continue
                if path is not None:
                    return path
    except WeightsError:
        raise
    except OSError as error:
        failures.append(str(error))
    why = "; ".join(failures) or "it is not fetched automatically"
    raise WeightsError(f"{file.name} cannot be fetched ({why}): {by_hand(file, root)}")


def by_hand(file: WeightFile, root: Path) -> str:
    """Return how a person puts `file` in its place: one line of addresses and paths."""
    ways = []
    if file.url is not None:
        ways.append(f"{file.url} as {_place(file, root)}")
    if file.hub is not None:
        ways.append(f"{file.hub.url} as {_hub_place(file, root)}")
    if ways:
        return f"put {', or '.join(ways)}" + (f" ({file.by_hand})" if file.by_hand else "")
    usual = "train it with `run_bench.py train`" if file.trained_here else "it has no address"
    return f"{file.by_hand or usual}; it belongs at {_place(file, root)}"


def untrained(path: Path, root: Path) -> bool:
    """Whether `path` is a stand-in: `UNTRAINED.txt` lies in its folder or in one above, up to `root`.

    Results under such weights are chance. The file behind a link counts as well as the link.
    """
    for end, start in ((root.absolute(), path.absolute()), (root.resolve(), path.resolve())):
        for folder in start.parents:
            if (folder / MARK).is_file():
                return True
            if folder == end:
                break
    return False


def mark_untrained(root: Path, reason: str) -> None:
    """Mark all weights below `root` as untrained stand-ins; makes the folder. Do it before writing them."""
    text = f"The weights in this folder are untrained stand-ins; results under them are chance.\n{reason}\n"
    write_atomically(root / MARK, lambda place: place.write_text(text, encoding="utf-8"))


def _place(file: WeightFile, root: Path) -> Path:
    name = PurePosixPath(file.name)
    if name.is_absolute() or ".." in name.parts or not name.name or "\\" in file.name or ":" in file.name:
        raise WeightsError(f"{file.name!r} leaves the weights root {root}: give a plain path below it")
    return root / name


def _hub_place(file: WeightFile, root: Path) -> Path:
    """Return where the Hub's form of the file belongs: its own suffix tells it from another format."""
    assert file.hub is not None
    return _place(file, root).with_suffix(PurePosixPath(file.hub.name).suffix)


def _from_address(file: WeightFile, root: Path, progress: bool, digest: Digest) -> Path | None:
    if file.url is None or urlsplit(file.url).hostname in _DRIVES:
        return None
    place = _place(file, root)
    part = place.with_name(place.name + ".part")
    place.parent.mkdir(parents=True, exist_ok=True)
    from_address(file.url, part, size=file.size, progress=progress)
    _accept(part, place, file, root, digest, file.url)
    version_file(part).unlink(missing_ok=True)
    return place


def _from_hub(file: WeightFile, root: Path, progress: bool, digest: Digest) -> Path | None:
    if file.hub is None:
        return None
    place, folder = _hub_place(file, root), root / ".hub" / file.hub.repository.replace("/", "_")
    repository, name, revision, _ = file.hub
    arrived, told = from_hub(repository, name, revision, folder)
    if told not in (None, digest(arrived)):
        arrived.unlink()
        raise DownloadError(f"{file.hub.url} came with another SHA-256 than the Hub tells, {told}")
    place.parent.mkdir(parents=True, exist_ok=True)
    _accept(arrived, place, file, root, digest, file.hub.url)
    shutil.rmtree(folder)
    return place


def _accept(arrived: Path, place: Path, file: WeightFile, root: Path, digest: Digest, origin: str) -> None:
    """Put a complete download in its place if it is the right file, else aside."""
    damaged = place.with_name(place.name + ".damaged")
    try:
        verdict = _compare(arrived, file, root, digest, record=True, place=place)
    except MismatchError as mismatch:
        arrived.replace(damaged)
        raise WeightsError(
            f"{file.name} came from {origin}, but {mismatch}; kept as {damaged}."
            f" Fetch it again, or {by_hand(file, root)}"
        ) from mismatch
    arrived.replace(place)
    if verdict.note:
        warnings.warn(f"{place} {verdict.note}", stacklevel=4)


def _compare(
    path: Path, file: WeightFile, root: Path, digest: Digest, *, record: bool, place: Path | None = None
) -> Verdict:
    """Compare the file at `path`, which is or will be at `place`; raises `MismatchError` or `OSError`."""
    place = place or path
    published = _published(place, file)
    if file.trained_here:
        check_plainly(path, published)
        return Verdict(digest(path), "", "")
    inside = place.is_relative_to(root)
    key = place.relative_to(root).as_posix() if inside else f"{file.name}/{place.name}"
    return compare(path, published, root / "digests.json", key, digest, record=record)


def _published(place: Path, file: WeightFile) -> Published:
    """Return what is told of the file at `place`, which may be the Hub's form of `file`."""
    names = {PurePosixPath(file.name).name, (file.url or "").rsplit("/", 1)[-1]}
    if file.hub is None or place.name in names:
        return Published(file.size, file.sha256, file.git_sha1, file.digest_by_third_party)
    blob = place.resolve().name  # in the Hub's cache a file of weights is called by its SHA-256
    told = blob if place.is_symlink() and re.fullmatch("[0-9a-f]{64}", blob) else None
    return Published(sha256=file.hub.sha256 or told)
