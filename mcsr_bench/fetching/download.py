"""Bytes over HTTP: a transfer that goes on where it stopped, never ends short of what was announced, and does not wait for ever."""

from __future__ import annotations

import json
import queue
import re
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from mcsr_bench.errors import UserError
from mcsr_bench.system import files

if TYPE_CHECKING:
    import requests
    import urllib3

TRIES = 5
"""This many failures in a row that bring less than `LEAST_RATE` end a download."""
LEAST_RATE = 1000.0
"""Bytes per second, over `WINDOW` or over a whole attempt: a server that sends fewer has not answered."""
WINDOW = 60.0
"""Seconds."""
ANSWER_WITHIN = 120.0
"""Seconds from a request to the head of its answer, names looked up and connections made."""
TIMEOUT = (30.0, 60.0)
"""Seconds to connect, and between two arrivals of bytes."""
LONGEST_PAUSE = 60.0
"""Seconds between two attempts; each waits twice as long as the one before, or as long as the server asks for."""
PIECE = 1 << 16
MOST_REDIRECTS = 10
MOST_JSON = 64 << 20
_AGAIN = frozenset((408, 425, 429, 500, 502, 503, 504))


class _InterruptedError(Exception):
    """A failure that the next attempt may not have; the text gives the cause, ``wait`` how many seconds the server asks for."""

    def __init__(self, text: str, wait: int = 0) -> None:
        super().__init__(text)
        self.wait = wait


class ResumingDownloader:
    """A downloader for pooch, which calls it with (url, output file, pooch).

    Received bytes are in ``part``, with the server's mark of the version (ETag or Last-Modified) in ``part``.json, so that a later
    call asks for the rest alone; the output file gets all of it in one move. Without a mark only a file with a published checksum
    (``checked``) is resumed. ``size``: the published number of bytes, 0 for unknown. ``pause``: seconds before the second attempt;
    it doubles up to `LONGEST_PAUSE`. ``progress``: called with bytes there and in total (0: unknown).

    Raises UserError for an answer that no repetition mends, for `TRIES` failures in a row, and where the disk has no room.
    """

    def __init__(
        self,
        part: Path,
        *,
        size: int = 0,
        checked: bool = False,
        pause: float = 1.0,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> None:
        self._part, self._state = part, part.with_name(part.name + ".json")
        self._size, self._checked, self._pause, self._progress = size, checked, pause, progress

    def __call__(self, url: str, output_file: str, pooch: object = None) -> None:
        with _session() as session:
            _repeat(url, lambda: self._attempt(session, url), self._there, self._pause)
        files.settle(self._part, Path(output_file))
        self._state.unlink(missing_ok=True)

    def _there(self) -> int:
        return self._part.stat().st_size if self._part.is_file() else 0

    def _attempt(self, session: requests.Session, url: str) -> None:
        self._part.parent.mkdir(parents=True, exist_ok=True)
        state = self._usable_state(url)
        start, size = self._there(), self._size or state.get("size", 0)
        if start and start == size:
            return
        headers = {}
        if start:
            headers["Range"] = f"bytes={start}-"
            if state["mark"]:
                headers["If-Range"] = state["mark"]
        with closing(_get(session, url, headers)) as response:
            if response.status_code == 416:
                self._discard()
                raise _InterruptedError("the server has no such range, so the file is begun again")
            goes_on = response.status_code == 206
            total = _range_total(response, start) if goes_on else _length(response)
            if total is None or (goes_on and size and total and total != size):
                self._discard()
                raise _InterruptedError("the server answered with another range than asked, so the file is begun again")
            # Not every server knows If-Range: it may go on with another version of the file.
            if goes_on and start and state["mark"] and _mark(response) not in ("", state["mark"]):
                self._discard()
                raise _InterruptedError("the file has changed at the server, so it is begun again")
            if self._size and total and total != self._size:
                self._discard()
                raise UserError(f"{url}: has {total} bytes, and {self._size} are published; it is another file")
            if not goes_on:
                start = 0
                self._discard()
                files.write_json(self._state, {"url": url, "mark": _mark(response), "size": total})
            self._receive(response.raw, "ab" if goes_on else "wb", start, self._size or total)

    def _receive(self, raw: urllib3.response.BaseHTTPResponse, mode: str, there: int, total: int) -> None:
        """Append what comes, and prove that it is all; every byte that came is on disk when this ends, however it ends."""
        import urllib3

        free = shutil.disk_usage(self._part.parent).free
        if total - there > free:
            raise UserError(
                f"{self._part.parent}: the disk has {free} bytes free, and {total - there} are to come; make room"
            )
        self._progress(there, total)
        pace = _Pace()
        with self._part.open(mode) as file:
            try:
                while piece := raw.read1(PIECE, decode_content=False):
                    file.write(piece)
                    there += len(piece)
                    if total and there > total:
                        break
                    self._progress(there, total)
                    pace.came(len(piece))
            except urllib3.exceptions.HTTPError as error:
                raise _InterruptedError(f"the connection ended early ({_reason(error)})") from None
            except OSError as error:  # a full disk, an error without a path
                error.filename = error.filename or str(self._part)
                raise
        if total and there > total:
            self._discard()
            raise UserError(f"{self._part.name}: the server sends more than the {total} bytes it announced")
        if there < total:
            raise _InterruptedError(f"{there} of {total} bytes came")

    def _usable_state(self, url: str) -> dict[str, Any]:
        """What is known of the part; a part that must not be gone on with is removed, and nothing is known."""
        state: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            found = files.read_json(self._state)
            if isinstance(found, dict) and isinstance(found.get("mark"), str) and isinstance(found.get("size"), int):
                state = found
        there, size = self._there(), self._size or state.get("size", 0)
        known = state.get("url") == url and (state["mark"] or self._checked)
        if not known or (size and there > size):
            self._discard()
            return {}
        return state

    def _discard(self) -> None:
        self._part.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)


def get_json(url: str, pause: float = 1.0) -> Any:
    """The JSON value at an address, with the same patience. UserError where there is none."""
    import urllib3

    found: list[Any] = []

    def attempt() -> None:
        with closing(_get(session, url, {"Accept": "application/json"})) as response:
            body = b""
            try:
                pace = _Pace()
                while piece := response.raw.read1(PIECE, decode_content=False):
                    pace.came(len(piece))
                    body += piece
                    if len(body) > MOST_JSON:
                        raise UserError(
                            f"{url}: the answer is longer than {MOST_JSON} bytes, which no list of files is"
                        )
            except urllib3.exceptions.HTTPError as error:
                raise _InterruptedError(f"the connection ended early ({_reason(error)})") from None
            if len(body) < _length(response):
                raise _InterruptedError("the answer ended early")
        try:
            found.append(json.loads(body))
        except (ValueError, RecursionError):
            raise UserError(f"{url}: the answer is not JSON") from None

    with _session() as session:
        _repeat(url, attempt, lambda: 0, pause)
    return found[0]


def _session() -> requests.Session:
    import requests

    session = requests.Session()
    # The published bytes, not a recompression of them: only then do sizes, ranges and checksums mean the file.
    session.headers.update({"Accept-Encoding": "identity", "User-Agent": "mcsr-bench"})
    return session


def _repeat(url: str, attempt: Callable[[], None], there: Callable[[], int], pause: float) -> None:
    best, failures = there(), 0
    while True:
        began = time.monotonic()
        try:
            return attempt()
        except _InterruptedError as error:
            new = there() - best
            if new > 0 and new >= LEAST_RATE * (time.monotonic() - began):
                failures = 0
            best = max(best, there())
            failures += 1
            if failures >= TRIES:
                raise UserError(
                    f"{url}: {error}; {TRIES} attempts in a row brought nothing new, or hardly anything, the same command goes on "
                    f"later"
                ) from None
            time.sleep(min(LONGEST_PAUSE, max(pause * 2 ** (failures - 1), error.wait)))


class _Pace:
    """Raises where fewer bytes come than `LEAST_RATE` over `WINDOW`: a byte now and then is no transfer."""

    def __init__(self) -> None:
        self._began, self._bytes = time.monotonic(), 0

    def came(self, n: int) -> None:
        """``n`` bytes came."""
        self._bytes += n
        if (passed := time.monotonic() - self._began) >= WINDOW:
            if self._bytes < LEAST_RATE * passed:
                raise _InterruptedError(f"only {self._bytes} bytes came in {passed:.0f} s")
            self._began, self._bytes = time.monotonic(), 0


def _answered(call: Callable[[], requests.Response]) -> requests.Response:
    """What the call returns or raises within `ANSWER_WITHIN`; after that it is left alone, and taken for interrupted.

    The timeouts of the network libraries are between two bytes, and looking up a name has none.
    """
    answer: queue.SimpleQueue[requests.Response | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put(call())
        except Exception as error:
            answer.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        found = answer.get(timeout=ANSWER_WITHIN)
    except queue.Empty:
        raise _InterruptedError(f"no answer in {ANSWER_WITHIN:g} s") from None
    if isinstance(found, Exception):
        raise found
    return found


def _get(session: requests.Session, url: str, headers: dict[str, str]) -> requests.Response:
    """A response with 200, 206 or 416, its body still to be read. Redirects stay within http and https, and never leave https."""
    import requests

    asked = url
    for _ in range(MOST_REDIRECTS + 1):
        try:
            _check_scheme(url, asked)
            response = _answered(
                partial(session.get, url, headers=headers, stream=True, timeout=TIMEOUT, allow_redirects=False)
            )
        except requests.exceptions.SSLError as error:
            raise UserError(f"{url}: no secure connection ({_reason(error)})") from None
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _InterruptedError(f"no connection ({_reason(error)})") from None
        except (requests.RequestException, ValueError) as error:  # ValueError: not an address
            raise UserError(f"{url}: cannot be asked for ({_reason(error)})") from None
        code = response.status_code
        if code in (200, 206, 416):
            return response
        response.close()
        if code in (301, 302, 303, 307, 308) and (target := response.headers.get("Location")):
            try:
                url = urljoin(url, target)
            except ValueError as error:
                raise UserError(f"{url}: leads to {target!r}, which is not an address ({_reason(error)})") from None
            continue
        if code in _AGAIN:
            asked_for = response.headers.get("Retry-After", "")
            wait = int(asked_for) if re.fullmatch(r"[0-9]{1,6}", asked_for) else 0
            raise _InterruptedError(f"the server answers {code} ({response.reason})", wait)
        raise UserError(f"{url}: the server answers {code} ({response.reason})")
    raise UserError(f"{asked}: more than {MOST_REDIRECTS} redirects")


def _check_scheme(url: str, asked: str) -> None:
    scheme, first = urlsplit(url).scheme, urlsplit(asked).scheme
    if scheme not in ("http", "https") or (first == "https" and scheme != "https"):
        how = "" if url == asked else f", where {asked} leads,"
        raise UserError(f"{url}{how} is refused: only http and https are followed, and never from https to http")


def _range_total(response: requests.Response, start: int) -> int | None:
    """The total of an answer 206 that begins at ``start`` (0: unknown); None for any other."""
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != start:
        return None
    return 0 if match[3] == "*" else int(match[3])


def _length(response: requests.Response) -> int:
    """The announced number of bytes, 0 for none."""
    text = response.headers.get("Content-Length", "")
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else 0


def _mark(response: requests.Response) -> str:
    """What If-Range may be asked with: a strong ETag, else Last-Modified, else nothing."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _reason(error: BaseException) -> str:
    """The last, most telling words of an error of the network libraries, which wrap each other."""
    while inner := [
        cause for cause in (getattr(error, "reason", None), *error.args) if isinstance(cause, BaseException)
    ]:
        error = inner[-1]
    lines = str(error).strip().splitlines()
    return lines[0].rpartition(": ")[2].strip("'\")( ") if lines else type(error).__name__
