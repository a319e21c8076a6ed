"""A server on this machine that misbehaves on purpose, and sources of data whose files it has."""

from __future__ import annotations

import hashlib
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

from mcsr_bench.fetching.fetch import FETCHED, UNFINISHED
from mcsr_bench.fetching.sources import Source
from mcsr_bench.system.progress import Listener

BODY = b"".join(i.to_bytes(4, "big") for i in range(64_000))  # every four bytes say where they are


PAUSE = 0.001


@dataclass
class Page:
    """What the server has at a path, and how it misbehaves."""

    body: bytes = b""
    etag: str = '"v1"'
    ranges: bool = True
    conditions: bool = True
    """Whether If-Range is known: not every server does."""
    drop_after: list[int] = field(default_factory=list)
    """Per request, in order: the connection ends after so many bytes of the body."""
    codes: list[int] = field(default_factory=list)
    """Per request, in order: an answer without the file."""
    retry_after: str = ""
    """Goes with each of the codes."""
    redirect: str = ""
    chunked: bool = False
    drip: float = 0.0
    """Seconds between two bytes of the body, one at a time."""
    silent: float = 0.0
    """Seconds between two bytes of a head that has no end."""
    announce: int | None = None
    """A Content-Length that is not true."""


class Server:
    """An HTTP server on this machine, with a log of (path, Range, bytes sent)."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.log: list[SimpleNamespace] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            def end_headers(self) -> None:
                self.send_header("Connection", "close")
                super().end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        page = self.pages.get(request.path)
        asked = request.headers.get("Range", "")
        entry = SimpleNamespace(path=request.path, range=asked, condition=request.headers.get("If-Range", ""), sent=0)
        self.log.append(entry)
        request.close_connection = True
        code = 404 if page is None else page.codes.pop(0) if page.codes else 0
        if page is None or code:
            request.send_response(code)
            if page is not None and page.retry_after:
                request.send_header("Retry-After", page.retry_after)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        with suppress(OSError):  # until the other side has enough
            while page.silent:
                request.wfile.write(b"X")
                time.sleep(page.silent)
        if page.redirect:
            request.send_response(302)
            request.send_header("Location", page.redirect)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        body, start = page.body, 0
        if asked and page.ranges and (entry.condition in ("", page.etag) or not page.conditions):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                request.send_response(416)
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            request.send_response(200)
        body = body[start:]
        if page.etag:
            request.send_header("ETag", page.etag)
        if page.chunked:
            request.send_header("Transfer-Encoding", "chunked")
        else:
            request.send_header("Content-Length", str(page.announce if page.announce is not None else len(body)))
        request.end_headers()
        limit = page.drop_after.pop(0) if page.drop_after else len(body)
        entry.sent = min(limit, len(body))
        if page.drip:
            with suppress(OSError):
                for i in range(entry.sent):
                    request.wfile.write(body[i : i + 1])
                    time.sleep(page.drip)
            return
        if page.chunked:
            for i in range(0, entry.sent, 50_000):  # a dribble
                piece = body[i : min(i + 50_000, entry.sent)]
                request.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                time.sleep(0.002)
            if limit >= len(body):
                request.wfile.write(b"0\r\n\r\n")
        else:
            request.wfile.write(body[: entry.sent])


def md5(body: bytes) -> str:
    return "md5:" + hashlib.md5(body, usedforsecurity=False).hexdigest()


def source(server: Server, *files: dict[str, object], **changes: object) -> Source:
    """A source with files of the server; keys of a file: name, and perhaps size, checksum, unpack."""
    value = {
        "name": "tiny",
        "title": "Tiny",
        "what": "a test",
        "homepage": "http://tiny.example",
        "download": "little",
        "licence": {"name": "CC0", "url": "http://cc0.example", "summary": "Do what you like."},
        "citation": ["Nobody. Nothing. 2020."],
        "layout": "files",
        "files": [{"url": f"{server.url}/{file['name']}", **file} for file in files],
    }
    return Source.model_validate(value | changes)


def yes(_: Source) -> bool:
    return True


def finals(to: Path) -> list[str]:
    """Everything outside what is marked unfinished, but for the record."""
    found = (path for path in to.rglob("*") if path.is_file() and UNFINISHED not in path.parts)
    return sorted(path.relative_to(to).as_posix() for path in found if path.name != FETCHED)


class Hearing(Listener):
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.steps: list[tuple[str, int, int]] = []

    def warning(self, message: str) -> None:
        self.warnings.append(message)

    def preparing(self, message: str, done: int, total: int) -> None:
        self.steps.append((message, done, total))
