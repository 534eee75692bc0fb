"""A publisher of files on this machine, who can be made to fail in the ways that real ones do."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Publisher:
    """Serves `files` by path. `faults` are used up one a GET: a status code, or one of

    `truncate` (half of what is due), `silent` (nothing), `html`, `page` (HTML called a binary),
    `whole` (ignores Range), `unannounced` (no length), `elsewhere` (another range than asked for).
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.files: dict[str, bytes] = {}
        self.faults: list[str | int] = []
        self.headers: dict[str, str] = {}
        self.redirects: dict[str, str] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []

    def etag(self, path: str) -> str:
        return f'"{hashlib.sha256(self.files[path]).hexdigest()}"'

    def gets(self) -> list[dict[str, str]]:
        """Headers of the GET requests so far."""
        return [headers for method, _, headers in self.requests if method == "GET"]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.lstrip("/")
        self.requests.append((handler.command, path, dict(handler.headers)))
        fault = self.faults.pop(0) if self.faults and handler.command == "GET" else None
        if path in self.redirects:
            return self._send(handler, 302, {"Location": self.redirects[path]})
        if isinstance(fault, int):
            return self._send(handler, fault, {"Retry-After": "7"})
        if path not in self.files:
            return self._send(handler, 404, {})
        if fault in ("html", "page"):
            kind = "text/html; charset=utf-8" if fault == "html" else "application/octet-stream"
            return self._send(handler, 200, {"Content-Type": kind}, b"\n<!DOCTYPE html><p>Quota exceeded")
        content, status, headers = self.files[path], 200, {"ETag": self.etag(path)} | self.headers
        start = self._start(handler, headers) if fault != "whole" else 0
        if start:
            if start >= len(content):
                return self._send(handler, 416, {"Content-Range": f"bytes */{len(content)}"})
            start += fault == "elsewhere"
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        due = content[start:]
        sent = {"truncate": due[: len(due) // 2], "silent": b""}.get(str(fault), due)
        return self._send(handler, status, headers, sent, None if fault == "unannounced" else len(due))

    def _start(self, handler: BaseHTTPRequestHandler, headers: dict[str, str]) -> int:
        asked, condition = handler.headers.get("Range"), handler.headers.get("If-Range")
        same = condition is None or condition in (headers.get("ETag"), headers.get("Last-Modified"))
        return int(asked.removeprefix("bytes=").rstrip("-")) if asked and same else 0

    @staticmethod
    def _send(
        handler: BaseHTTPRequestHandler,
        status: int,
        headers: dict[str, str],
        body: bytes = b"",
        length: int | None = 0,
    ) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if length is not None:
            handler.send_header("Content-Length", str(length or len(body)))
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(body)


@contextmanager
def publisher() -> Iterator[Publisher]:
    """Run a publisher on a free port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = Publisher(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
        thread.start()
        yield served
        server.shutdown()
