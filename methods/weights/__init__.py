"""Where weight files come from: names, addresses, digests, fetching. It never looks at a tensor."""

import warnings
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

from methods.weights import hub
from methods.weights.transfer import DownloadError, download, locked, settle
from methods.weights.trust import Digest, Ledger, MismatchError, Published, check_size, judge, sha256_of

MARK = "UNTRAINED.txt"
"""Name of the file that marks a folder of untrained stand-in weights; its text says why."""
_DRIVES = ("drive.google.com", "docs.google.com", "drive.usercontent.google.com", "pan.baidu.com")
_MEND = "delete it and fetch it again, or put the right file there"


@dataclass(frozen=True)
class WeightFile:
    """One file of weights as its publisher names it."""

    name: str
    """Path below the weights root, `/` as separator; says what the file was trained on."""
    url: str | None = None
    """Direct address; None when a person has to fetch or make it (`by_hand` says how)."""
    size: int | None = None
    """Bytes, where known."""
    sha256: str | None = None
    """In hex; its first digits, where the publisher tells no more."""
    git_sha1: str | None = None
    """Git blob id: SHA-1 of "blob <size>\\0" followed by the content."""
    open_clip: tuple[str, str] | None = None
    """(model, tag) of open_clip's pretrained registry, for files that open_clip itself downloads."""
    digest_is_hearsay: bool = False
    """True when the digest comes from a third party: a mismatch is a warning, not an error."""
    by_hand: str = ""
    """What to do when it cannot be fetched."""
    licence: str = ""


class WeightsError(OSError):
    """Weights that cannot be had or trusted; the one-line message names the file and the mend."""


@dataclass(frozen=True)
class Status:
    """How a weight file stands."""

    file: WeightFile
    path: Path | None
    state: Literal["here", "missing", "damaged", "unverified"]
    """`unverified`: it is there, but its content was not read, or there is nothing to compare it with yet."""
    sha256: str | None
    note: str
    """What is wrong or remarkable, and how to get a file that is missing; else empty."""


def locate(file: WeightFile, root: Path) -> Path | None:
    """Return the local path of `file`, or None if it is not here.

    That is `root / file.name`; or, for a file that open_clip knows, what open_clip downloaded into `root`
    or into its caches. Raises `WeightsError` for a name that leaves the root.
    """
    place = _place(file, root)
    if place.is_file():
        return place
    if file.open_clip is None:
        return None
    source = _origin(file)
    others = (path for path in (_original(file, root), _converted(file, root)) if path.is_file())
    return next(others, None) or hub.cached(source, root)


def status(file: WeightFile, root: Path, digest: Digest | None = None) -> Status:
    """Say how `file` stands, without raising, fetching or recording; without `digest` no content is read."""
    path = None
    try:
        path = locate(file, root)
        if path is None:
            return Status(file, None, "missing", None, by_hand(file, root))
        if untrained(path, root):
            note = "untrained stand-in: results are chance"
            return Status(file, path, "here", digest(path) if digest else None, note)
        published = _published(path, file)
        if digest is None:
            check_size(path, published)
            return Status(file, path, "unverified", None, "its content was not read")
        verdict = judge(path, published, Ledger(root), _key(path, file, root), digest, record=False)
    except MismatchError as mismatch:
        return Status(file, path, "damaged", None, f"{path} {mismatch}; {_MEND}")
    except OSError as error:
        return Status(file, path, "damaged" if path else "missing", None, str(error))
    state: Literal["here", "unverified"] = "here" if verdict.compared else "unverified"
    return Status(file, path, state, verdict.sha256, f"{path} {verdict.note}" if verdict.note else "")


def verify(path: Path, file: WeightFile, root: Path, digest: Digest | None = None) -> str:
    """Return the SHA-256 of the local `file` at `path` after comparing it with what is known of it.

    Where its publisher tells no digest, the first one seen is recorded in the ledger of `root` and binds
    from then on. Untrained stand-ins are compared with nothing. Raises `WeightsError` if the size or a
    digest differs (a warning where a third party told the digest), or file or ledger cannot be read.
    """
    digest = digest or sha256_of
    try:
        if untrained(path, root):
            return digest(path)
        key = _key(path, file, root)
        verdict = judge(path, _published(path, file), Ledger(root), key, digest, record=True)
    except MismatchError as mismatch:
        raise WeightsError(f"{path} {mismatch}; {_MEND}") from mismatch
    except OSError as error:
        raise WeightsError(f"{path} cannot be verified: {error.strerror or error}") from error
    if verdict.note:
        warnings.warn(f"{path} {verdict.note}", stacklevel=2)
    return verdict.sha256


def fetch(file: WeightFile, root: Path, *, progress: bool, digest: Digest | None = None) -> Path:
    """Return the verified local path of `file`, downloading it if it is not here.

    An interrupted download is continued. A file appears under its name only when it is whole and its
    digest is right; one with a wrong digest is kept beside it as `.damaged`. What open_clip knows comes
    from the Hub, or from its original address where the Hub fails. Drives are left to people. Raises
    `WeightsError`; its message says what to put where by hand.
    """
    digest = digest or sha256_of
    found = locate(file, root)
    if found is None and untrained(_place(file, root), root):
        raise WeightsError(f"{root} is marked by {MARK}: fetch {file.name} into another weights root")
    failures: list[str] = []
    if found is None and file.open_clip is not None:
        found = _from_hub(file, root, failures)
    if found is None:
        return _from_address(file, root, failures, progress, digest)
    verify(found, file, root, digest)
    return found


def by_hand(file: WeightFile, root: Path) -> str:
    """Return how a person puts `file` in its place: one line of addresses and paths."""
    ways = []
    if file.open_clip is not None:
        source = _origin(file)
        if source.repository is not None:
            ways.append(f"{source.page}/resolve/main/{source.names[0]} as {_converted(file, root)}")
        if url := file.url or source.url:
            ways.append(f"{url} as {_original(file, root)}")
    elif file.url is not None:
        ways.append(f"{file.url} as {_place(file, root)}")
    if not ways:
        return f"{file.by_hand or 'it has no address'}; it belongs at {_place(file, root)}"
    return f"put {', or '.join(ways)}" + (f" ({file.by_hand})" if file.by_hand else "")


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
    root.mkdir(parents=True, exist_ok=True)
    (root / MARK).write_text(
        f"The weights in this folder are untrained stand-ins; results under them are chance.\n{reason}\n",
        encoding="utf-8",
    )


def _place(file: WeightFile, root: Path) -> Path:
    name = PurePosixPath(file.name)
    if name.is_absolute() or ".." in name.parts or not name.name or "\\" in file.name:
        raise WeightsError(f"{file.name!r} leaves the weights root {root}: give a plain path below it")
    return root / name


def _original(file: WeightFile, root: Path) -> Path:
    """Return where the file from its original address belongs."""
    name = _origin(file).url_name if file.open_clip and not file.url else None
    return _place(file, root).with_name(name) if name else _place(file, root)


def _converted(file: WeightFile, root: Path) -> Path:
    """Return where the Hub's safetensors form of the file belongs, if a person puts it there."""
    place = _place(file, root)
    stem = place.stem if place.suffix in (".pt", ".pth", ".bin", ".safetensors") else place.name
    return place.with_name(stem + ".safetensors")


def _origin(file: WeightFile) -> hub.Origin:
    assert file.open_clip is not None
    try:
        return hub.origin(*file.open_clip)
    except ValueError as error:
        raise WeightsError(f"{file.name}: {error}; put the file there by hand, or mend its entry") from error


def _from_hub(file: WeightFile, root: Path, failures: list[str]) -> Path | None:
    source = _origin(file)
    if source.repository is None:
        return None
    try:
        return hub.download(source, root)
    except DownloadError as error:
        failures.append(str(error))
        return None


def _from_address(file: WeightFile, root: Path, failures: list[str], progress: bool, digest: Digest) -> Path:
    url = file.url or (_origin(file).url if file.open_clip else None)
    if url is None or urlsplit(url).hostname in _DRIVES:
        why = "; ".join(failures) or "it is not fetched automatically"
        raise WeightsError(f"{file.name} is missing ({why}): {by_hand(file, root)}")
    place = _original(file, root)
    part, damaged = (place.with_name(place.name + ending) for ending in (".part", ".damaged"))
    published, key = _published(place, file), _key(place, file, root)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with locked(part.with_name(part.name + ".lock")):
            if place.is_file():  # another process was faster
                return place
            download(url, part, size=published.size, progress=progress)
            try:
                verdict = judge(part, published, Ledger(root), key, digest, record=True)
            except MismatchError as mismatch:
                settle(part, damaged)
                raise WeightsError(
                    f"{file.name} came from {url}, but {mismatch}; kept as {damaged}."
                    f" Fetch it again, or {by_hand(file, root)}"
                ) from mismatch
            settle(part, place)
    except WeightsError:
        raise
    except OSError as error:
        why = "; ".join([*failures, str(error)])
        raise WeightsError(f"{file.name} cannot be fetched ({why}): {by_hand(file, root)}") from error
    if verdict.note:
        warnings.warn(f"{place} {verdict.note}", stacklevel=3)
    return place


def _published(path: Path, file: WeightFile) -> Published:
    """Return what is told of the file at `path`, which may be another form of `file`."""
    if file.open_clip is None or path.name in (PurePosixPath(file.name).name, hub.last_part(file.url)):
        if file.sha256 or file.git_sha1:
            return Published(file.size, file.sha256, file.git_sha1, file.digest_is_hearsay)
        return Published(file.size, hub.sha256_in(file.url))
    source = _origin(file)
    if path.name == source.url_name:
        return Published(sha256=hub.sha256_in(source.url))
    return Published(sha256=hub.cached_sha256(path))


def _key(path: Path, file: WeightFile, root: Path) -> str:
    """Return the file's name in the ledger: its path below the root, or below `file.name` in a cache."""
    inside = path.is_relative_to(root)
    return path.relative_to(root).as_posix() if inside else f"{file.name}/{path.name}"
