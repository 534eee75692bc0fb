"""Downloads that survive interruption, from any address or from the Hugging Face Hub."""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tqdm import tqdm

from methods.weights.trust import not_weights

_TRIES = 4
"""Failures in a row, without a byte gained, after which a download is given up."""
_TIMEOUT = 30
"""Seconds without an answer that count as a failure."""
_LONGEST_WAIT = 60
_CHUNK = 1 << 16
_WORTH_ANOTHER_TRY = {408, 416, 425, 429, 500, 502, 503, 504}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class DownloadError(OSError):
    """A download that cannot be completed; the one-line message says why."""


class _BrokenOffError(Exception):
    """A failure after which another try may succeed."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


def from_hub(repository: str, name: str, revision: str, folder: Path) -> tuple[Path, str | None]:
    """Download a file of a repository on the Hub below `folder`; its client resumes and draws bars itself.

    Returns its path and the SHA-256 that the Hub tells (None for small files). Raises `DownloadError`.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url  # noqa: PLC0415 (slow)

    address = hf_hub_url(repository, name, revision=revision)
    try:
        told = get_hf_file_metadata(address)  # fails at once without a network, where a download waits long
        commit = told.commit_hash or revision
        path = Path(hf_hub_download(repository, name, revision=commit, local_dir=folder))
    except Exception as error:  # the Hub's client has many kinds of them
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DownloadError(f"{address} failed ({reason[0]})") from error
    sha256 = told.etag if re.fullmatch("[0-9a-f]{64}", told.etag or "") else None
    return path, sha256


def from_address(url: str, part: Path, *, size: int | None = None, progress: bool = False) -> None:
    """Bring all bytes behind `url` into the file `part`, continuing what an earlier call left there.

    It continues only where the server confirms that the file is still the same (If-Range), else it starts
    afresh. `size` are the bytes the publisher promises, if known: no more are taken. `progress` draws a
    bar on a terminal. Raises `DownloadError`; what came is kept, with its version in `part` + `.from`.
    """
    _require_safe(url)
    failures = 0
    while True:
        before = _length(part)
        try:
            return _attempt(url, part, size, progress)
        except _BrokenOffError as failure:
            if type(failure.__cause__) is URLError and not failures:
                raise DownloadError(str(failure)) from failure  # offline: waiting would not help
            failures = 1 if _length(part) > before else failures + 1
            if failures == _TRIES:
                raise DownloadError(f"{failure}; gave up after {_TRIES} tries") from failure
            time.sleep(min(max(failure.wait, 2.0 ** (failures - 1)), _LONGEST_WAIT))
        except DownloadError:
            raise
        except OSError as error:
            raise DownloadError(f"{part} cannot be written: {error.strerror or error}") from error


def version_file(part: Path) -> Path:
    """Return the file that says what `part` is the beginning of: its address and version."""
    return part.with_name(part.name + ".from")


def _attempt(url: str, part: Path, size: int | None, progress: bool) -> None:
    have, version = _left_behind(url, part)
    headers = {"User-Agent": "zsad-bench", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    try:
        with _said(url):
            response: HTTPResponse = _OPENER.open(Request(url, headers=headers), timeout=_TIMEOUT)
    except HTTPError as refusal:
        with refusal:
            if refusal.code == 416 and refusal.headers.get("Content-Range") == f"bytes */{have}":
                return  # everything had come already
            if refusal.code == 416:
                version_file(part).unlink(missing_ok=True)  # start afresh
            if refusal.code in _WORTH_ANOTHER_TRY:
                wait = refusal.headers.get("Retry-After", "")
                why = f"{url} answers {refusal.code} {refusal.reason}"
                raise _BrokenOffError(why, float(wait) if wait.isdigit() else 0.0) from refusal
            raise DownloadError(f"{url} answers {refusal.code} {refusal.reason}") from refusal
    with response:
        _receive(response, url, part, have, size, progress)


def _receive(
    response: HTTPResponse, url: str, part: Path, have: int, size: int | None, progress: bool
) -> None:
    """Write what the server sends to the end of `part`, or anew where it sends the whole."""
    length = response.headers.get("Content-Length", "")
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        if found is None or int(found[1]) != have:
            version_file(part).unlink(missing_ok=True)
            raise _BrokenOffError(f"{url} continues at another place than was asked for")
        length = found[2]
    else:
        have = 0
    with _said(url):
        chunk = response.read(_CHUNK)
    if not have and (what := not_weights(chunk, part.stem)):
        raise DownloadError(f"{url} answers with {what}")
    told = int(length) if length.isdigit() else None
    if None not in (told, size) and told != size:
        raise DownloadError(f"{url} offers {told} bytes where {size} are published: it is another file")
    total = told if size is None else size
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise DownloadError(
            f"{part} needs {(total - have) / 1e6:,.0f} MB more, but its disk has {free / 1e6:,.0f} MB free"
        )
    if not have:
        _remember(url, part, response.headers)
    with (
        part.open("ab" if have else "wb") as file,
        tqdm(
            desc=part.stem,
            total=total,
            initial=have,
            unit="B",
            unit_scale=True,
            disable=None if progress else True,
        ) as bar,
    ):
        while chunk:
            have += len(chunk)
            if total is not None and have > total:
                version_file(part).unlink(missing_ok=True)
                raise DownloadError(f"{url} sends more than the {total} bytes of the file")
            file.write(chunk)
            bar.update(len(chunk))
            with _said(url):
                chunk = response.read(_CHUNK)
    if have == 0:
        raise DownloadError(f"{url} answers with an empty file")
    if total is not None and have < total:
        raise _BrokenOffError(f"{url} broke off after {have} of {total} bytes")


@contextmanager
def _said(url: str) -> Iterator[None]:
    """Turn failures of the connection into `_BrokenOffError`."""
    try:
        yield
    except (HTTPError, DownloadError):
        raise
    except (OSError, HTTPException) as error:
        inner = getattr(error, "reason", error)
        why = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
        raise _BrokenOffError(
            f"no connection to {urlsplit(url).hostname}, or it broke off ({why})"
        ) from error


def _remember(url: str, part: Path, headers: HTTPMessage) -> None:
    """Note which version of which file `part` is the beginning of, as far as the server names it."""
    version_file(part).unlink(missing_ok=True)
    tag = headers.get("ETag", "")
    # A weak tag does not promise the same bytes, and If-Range must not carry one.
    version = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")
    if version:
        version_file(part).write_text(f"{url}\n{version}\n", encoding="utf-8")


def _left_behind(url: str, part: Path) -> tuple[int, str]:
    """Return the bytes that came earlier and their version; (0, "") where they cannot be continued."""
    lines: list[str] = []
    with suppress(OSError, UnicodeDecodeError):
        lines = version_file(part).read_text(encoding="utf-8").splitlines()
    return (_length(part), lines[1]) if len(lines) == 2 and lines[0] == url else (0, "")


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _require_safe(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise DownloadError(f"{url} is not an https address")


class _SafeRedirects(HTTPRedirectHandler):
    """Follows redirections, but never from https to an unprotected address."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        _require_safe(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = build_opener(_SafeRedirects)
