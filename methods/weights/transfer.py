"""Downloads that survive interruption: continued, retried, checked for length."""

import errno
import fcntl
import itertools
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import Message
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tqdm import tqdm

_TRIES = 4
"""Failures in a row, without a byte gained, after which a download is given up."""
_TIMEOUT = 30
"""Seconds without an answer that count as a failure."""
_LONGEST_WAIT = 60
_CHUNK = 1 << 16
_WORTH_ANOTHER_TRY = {408, 425, 429, 500, 502, 503, 504}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class DownloadError(OSError):
    """A download that cannot be completed; the one-line message says why."""


class _BrokenOffError(Exception):
    """A failure after which another try may succeed."""

    def __init__(self, why: str, *, wait: float = 0.0, connected: bool = True) -> None:
        super().__init__(why)
        self.wait = wait
        self.connected = connected


def download(url: str, part: Path, *, size: int | None = None, progress: bool = False) -> None:
    """Bring all bytes behind `url` into the file `part`, continuing what an earlier call left there.

    It continues only where the server confirms that the file is still the same (If-Range), else it starts
    afresh. `size` are the bytes the publisher promises, if known. `progress` draws a bar on a terminal.
    Hold `locked` on a file beside `part` meanwhile. Raises `DownloadError`; what came is kept. `settle` what
    is complete.
    """
    _require_safe(url)
    failures, most = 0, _length(part)
    while True:
        try:
            _attempt(url, part, size, progress)
            return
        except _BrokenOffError as failure:
            if not failure.connected and failures == 0 and _length(part) <= most:
                raise DownloadError(str(failure)) from failure  # offline: waiting would not help
            failures = 1 if _length(part) > most else failures + 1
            most = max(most, _length(part))
            if failures == _TRIES:
                raise DownloadError(f"{failure}; gave up after {_TRIES} tries") from failure
            time.sleep(min(max(failure.wait, 2.0 ** (failures - 1)), _LONGEST_WAIT))
        except DownloadError:
            raise
        except OSError as error:
            raise DownloadError(f"{part} cannot be written: {_reason(error)}") from error


def settle(part: Path, place: Path) -> None:
    """Move a complete download to its place and forget where it came from."""
    part.replace(place)
    _memory(part).unlink(missing_ok=True)


def reachable(url: str) -> bool:
    """Whether a server answers at `url`, whatever its answer."""
    try:
        _OPENER.open(Request(url, headers=_headers(), method="HEAD"), timeout=_TIMEOUT / 3).close()
    except HTTPError:
        return True
    except (OSError, HTTPException):
        return False
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, waiting for another process that holds it; it is removed afterwards."""
    while True:
        handle = path.open("a")
        fcntl.flock(handle, fcntl.LOCK_EX)
        # The holder before us may have removed the file that we were waiting for.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle.fileno()), path.stat()):
                break
        handle.close()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        handle.close()


def _attempt(url: str, part: Path, size: int | None, progress: bool) -> None:
    have, validator = _left_behind(url, part)
    resume = {"Range": f"bytes={have}-", "If-Range": validator} if have else {}
    try:
        response = _OPENER.open(Request(url, headers=_headers(**resume)), timeout=_TIMEOUT)
    except HTTPError as refusal:
        with refusal:
            if refusal.code == 416 and refusal.headers.get("Content-Range") == f"bytes */{have}":
                return  # everything had come already
            _refused(url, part, refusal)
    except URLError as error:
        host = urlsplit(url).hostname
        raise _BrokenOffError(f"no connection to {host} ({_reason(error)})", connected=False) from error
    except DownloadError:  # an unprotected redirection
        raise
    except (OSError, HTTPException) as error:
        raise _BrokenOffError(f"{url} broke off ({_reason(error)})") from error
    with response:
        _receive(response, url, part, have if response.status == 206 else 0, size, progress)


def _refused(url: str, part: Path, refusal: HTTPError) -> NoReturn:
    if refusal.code == 416:
        _memory(part).unlink(missing_ok=True)
        raise _BrokenOffError(f"{url} does not continue the download")
    if refusal.code in _WORTH_ANOTHER_TRY:
        wait = refusal.headers.get("Retry-After", "")
        raise _BrokenOffError(
            f"{url} answers {refusal.code} {refusal.reason}", wait=float(wait) if wait.isdigit() else 0.0
        )
    raise DownloadError(f"{url} answers {refusal.code} {refusal.reason}")


def _receive(
    response: HTTPResponse, url: str, part: Path, have: int, size: int | None, progress: bool
) -> None:
    total = _total(response, url, part, have)
    first = _read(response, url)
    if response.headers.get_content_type() == "text/html" or (have == 0 and _is_page(first)):
        raise DownloadError(
            f"{url} answers with a web page, not a file (a login, a quota or a moved address)"
        )
    if total is not None and size is not None and total != size:
        raise DownloadError(f"{url} offers {total} bytes where {size} are published: it is another file")
    total = size if total is None else total
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise DownloadError(
            f"{part} needs {(total - have) / 1e6:,.0f} MB more, but its disk has {free / 1e6:,.0f} MB free"
        )
    if not have:
        _memory(part).unlink(missing_ok=True)
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
        if not have:
            _remember(url, part, response.headers)
        for chunk in itertools.takewhile(len, itertools.chain([first], _chunks(response, url))):
            file.write(chunk)
            bar.update(len(chunk))
    have = _length(part)
    if have == 0:
        raise DownloadError(f"{url} answers with an empty file")
    if total is not None and have < total:
        raise _BrokenOffError(f"{url} broke off after {have} of {total} bytes")
    if total is not None and have > total:
        _memory(part).unlink(missing_ok=True)
        raise _BrokenOffError(f"{url} sent {have} bytes where {total} were announced")


def _total(response: HTTPResponse, url: str, part: Path, have: int) -> int | None:
    """Return the length of the whole file as the server tells it, in bytes."""
    if response.status != 206:
        length = response.headers.get("Content-Length", "")
        return int(length) if length.isdigit() else None
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if found is None or int(found[1]) != have:
        _memory(part).unlink(missing_ok=True)
        raise _BrokenOffError(f"{url} continues at another place than was asked for")
    return None if found[2] == "*" else int(found[2])


def _read(response: HTTPResponse, url: str) -> bytes:
    try:
        return response.read(_CHUNK)
    except (OSError, HTTPException) as error:
        raise _BrokenOffError(f"{url} broke off ({_reason(error)})") from error


def _chunks(response: HTTPResponse, url: str) -> Iterator[bytes]:
    while True:
        yield _read(response, url)


def _memory(part: Path) -> Path:
    return part.with_name(part.name + ".from")


def _remember(url: str, part: Path, headers: HTTPMessage | Message) -> None:
    """Note which version of which file `part` is the beginning of, as far as the server names it."""
    tag = headers.get("ETag", "")
    # A weak tag does not promise the same bytes, and If-Range must not carry one.
    validator = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")
    if validator:
        _memory(part).write_text(f"{url}\n{validator}\n", encoding="utf-8")


def _left_behind(url: str, part: Path) -> tuple[int, str]:
    """Return the bytes that came earlier and their version; (0, "") where they cannot be continued."""
    try:
        lines = _memory(part).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return 0, ""
    return (_length(part), lines[1]) if len(lines) == 2 and lines[0] == url else (0, "")


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is_page(start: bytes) -> bool:
    return start.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html"))


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, URLError) else error
    if isinstance(inner, OSError) and inner.errno == errno.ENOSPC:
        return "the disk is full"
    return str(getattr(inner, "strerror", None) or inner or type(inner).__name__)


def _headers(**more: str) -> dict[str, str]:
    return {"User-Agent": "zsad-bench", "Accept-Encoding": "identity", **more}


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
