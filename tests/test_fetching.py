"""Downloads against a local server that misbehaves on purpose: what is under a final name is always whole and verified."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import resource
import shutil
import tarfile
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from mcsr_bench import downloading, fetching, unpacking
from mcsr_bench.downloading import ResumingDownloader, get_json
from mcsr_bench.errors import UserError, disk_error
from mcsr_bench.fetching import FETCHED, UNFINISHED, fetch
from mcsr_bench.progress import Listener
from mcsr_bench.sources import Source, sources
from mcsr_bench.unpacking import unpack

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
        if page.chunked:
            for i in range(0, entry.sent, 50_000):  # a dribble
                piece = body[i : min(i + 50_000, entry.sent)]
                request.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                time.sleep(0.002)
            if limit >= len(body):
                request.wfile.write(b"0\r\n\r\n")
        else:
            request.wfile.write(body[: entry.sent])


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


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


def test_a_file_comes_whole_and_a_second_fetch_asks_for_nothing(server: Server, tmp_path: Path) -> None:
    server.pages["/a.bin"] = Page(BODY)
    what = source(server, {"name": "a.bin", "size": len(BODY), "checksum": md5(BODY)})
    first = fetch(what, tmp_path / "to", yes)
    assert (tmp_path / "to" / "a.bin").read_bytes() == BODY
    assert [file.name for file in first.files] == ["a.bin"]
    assert first.files[0].sha256 == hashlib.sha256(BODY).hexdigest()
    assert not (tmp_path / "to" / UNFINISHED).exists()

    def never(_: Source) -> bool:
        raise AssertionError("asked again")

    assert len(server.log) == 1
    assert fetch(what, tmp_path / "to", never) == first
    assert len(server.log) == 1


def test_a_dropped_connection_is_taken_up_at_the_byte_where_it_ended(server: Server, tmp_path: Path) -> None:
    server.pages["/a.bin"] = Page(BODY, drop_after=[100_001, 33_333])
    fetch(source(server, {"name": "a.bin", "checksum": md5(BODY)}), tmp_path, yes, pause=PAUSE)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert [entry.range for entry in server.log] == ["", "bytes=100001-", "bytes=133334-"]
    assert [entry.condition for entry in server.log] == ["", '"v1"', '"v1"']
    assert sum(entry.sent for entry in server.log) == len(BODY)


def test_a_later_fetch_goes_on_where_an_earlier_one_gave_up(server: Server, tmp_path: Path) -> None:
    what = source(server, {"name": "a.bin", "size": len(BODY), "checksum": md5(BODY)})
    server.pages["/a.bin"] = Page(BODY, drop_after=[70_000] + [0] * 10)
    with pytest.raises(UserError, match="5 attempts in a row brought nothing new"):
        fetch(what, tmp_path, yes, pause=PAUSE)
    assert finals(tmp_path) == []
    asked = len(server.log)
    server.pages["/a.bin"] = Page(BODY)
    fetch(what, tmp_path, yes, pause=PAUSE)
    assert [(entry.range, entry.sent) for entry in server.log[asked:]] == [("bytes=70000-", len(BODY) - 70_000)]
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_a_file_that_changed_meanwhile_is_begun_again(server: Server, tmp_path: Path) -> None:
    what = source(server, {"name": "a.bin"})
    server.pages["/a.bin"] = Page(BODY, drop_after=[70_000] + [0] * 10)
    with pytest.raises(UserError):
        fetch(what, tmp_path, yes, pause=PAUSE)
    other = BODY[::-1]
    server.pages["/a.bin"] = Page(other, etag='"v2"')
    asked = len(server.log)
    fetch(what, tmp_path, yes, pause=PAUSE)
    assert (tmp_path / "a.bin").read_bytes() == other
    assert [entry.sent for entry in server.log[asked:]] == [len(other)]


def test_a_server_that_goes_on_with_another_version_is_noticed(server: Server, tmp_path: Path) -> None:
    """If-Range is ignored, and the other version is as long: only the mark in the answer tells."""
    what = source(server, {"name": "a.bin"})
    server.pages["/a.bin"] = Page(BODY, drop_after=[70_000] + [0] * 10)
    with pytest.raises(UserError):
        fetch(what, tmp_path, yes, pause=PAUSE)
    other = BODY[::-1]
    server.pages["/a.bin"] = Page(other, etag='"v2"', conditions=False)
    asked = len(server.log)
    fetch(what, tmp_path, yes, pause=PAUSE)
    assert (tmp_path / "a.bin").read_bytes() == other
    assert [entry.range for entry in server.log[asked:]] == ["bytes=70000-", ""]


def test_a_server_that_ignores_ranges_is_read_from_the_start(server: Server, tmp_path: Path) -> None:
    server.pages["/a.bin"] = Page(BODY, ranges=False, drop_after=[50_000])
    fetch(source(server, {"name": "a.bin", "checksum": md5(BODY)}), tmp_path, yes, pause=PAUSE)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert [entry.sent for entry in server.log] == [50_000, len(BODY)]


def test_without_a_mark_of_the_version_only_a_file_with_a_checksum_is_resumed(server: Server, tmp_path: Path) -> None:
    for checksum, ranges in (("", ["", ""]), (md5(BODY), ["", "bytes=50000-"])):
        server.log.clear()
        server.pages["/a.bin"] = Page(BODY, etag="", drop_after=[50_000])
        to = tmp_path / (checksum.partition(":")[0] or "none")
        fetch(source(server, {"name": "a.bin", "checksum": checksum}), to, yes, pause=PAUSE)
        assert (to / "a.bin").read_bytes() == BODY
        assert [entry.range for entry in server.log] == ranges


def test_a_range_that_cannot_be_is_begun_again(server: Server, tmp_path: Path) -> None:
    part = tmp_path / "a.part"
    part.write_bytes(b"x" * 10)
    part.with_name("a.part.json").write_text(
        json.dumps({"url": f"{server.url}/a.bin", "mark": '"v1"', "size": 0}), encoding="utf-8"
    )
    server.pages["/a.bin"] = Page(BODY[:8])
    ResumingDownloader(part, pause=PAUSE)(f"{server.url}/a.bin", str(tmp_path / "a.bin"))
    assert (tmp_path / "a.bin").read_bytes() == BODY[:8]
    assert [entry.range for entry in server.log] == ["bytes=10-", ""]


def test_a_chunked_dribble_is_waited_for_and_a_cut_one_is_not_taken_for_whole(server: Server, tmp_path: Path) -> None:
    server.pages["/a.bin"] = Page(BODY, chunked=True, drop_after=[100_000])
    fetch(source(server, {"name": "a.bin"}), tmp_path, yes, pause=PAUSE)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert [entry.range for entry in server.log] == ["", "bytes=100000-"]


def test_a_body_shorter_than_announced_is_never_taken(server: Server, tmp_path: Path) -> None:
    server.pages["/a.bin"] = Page(BODY, ranges=False, announce=len(BODY) + 5)
    with pytest.raises(UserError, match=r"a\.bin: .*5 attempts"):
        fetch(source(server, {"name": "a.bin"}), tmp_path, yes, pause=PAUSE)
    assert finals(tmp_path) == []


def test_a_file_of_another_size_than_published_is_refused_before_it_comes(server: Server, tmp_path: Path) -> None:
    server.pages["/a.bin"] = Page(BODY)
    with pytest.raises(UserError, match=f"has {len(BODY)} bytes, and 12 are published"):
        fetch(source(server, {"name": "a.bin", "size": 12}), tmp_path, yes, pause=PAUSE)
    server.pages["/a.bin"] = Page(BODY, chunked=True)
    with pytest.raises(UserError, match="sends more than the 12 bytes"):
        fetch(source(server, {"name": "a.bin", "size": 12}), tmp_path, yes, pause=PAUSE)
    assert finals(tmp_path) == []


@pytest.mark.parametrize("kind", ["md5", "sha256", "git"])
def test_a_wrong_checksum_leaves_nothing_and_a_right_one_is_told(server: Server, tmp_path: Path, kind: str) -> None:
    right = {
        "md5": md5(BODY),
        "sha256": "sha256:" + hashlib.sha256(BODY).hexdigest(),
        "git": "git:" + hashlib.sha1(b"blob 256000\0" + BODY).hexdigest(),
    }[kind]
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    server.pages["/a.bin"] = Page(BODY)
    with pytest.raises(UserError, match=f"has not the published checksum {wrong}"):
        fetch(source(server, {"name": "a.bin", "checksum": wrong}), tmp_path / "wrong", yes, pause=PAUSE)
    assert finals(tmp_path / "wrong") == []
    assert not [p for p in (tmp_path / "wrong" / UNFINISHED).rglob("*") if p.is_file()]
    hearing = Hearing()
    done = fetch(source(server, {"name": "a.bin", "checksum": right}), tmp_path / "right", yes, hearing, pause=PAUSE)
    assert done.files[0].verified == f"{kind} as published"
    assert hearing.warnings == []


def test_the_id_of_a_git_blob_is_gits(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"test content\n")  # the example of the book "Pro Git", chapter 10.2
    assert fetching.git_blob(path) == "d670460b4b4aece5915caf5c68d12f560a9fe3e4"


def test_what_no_checksum_vouches_for_is_said_and_recorded(server: Server, tmp_path: Path) -> None:
    server.pages["/a.bin"] = Page(BODY)
    hearing = Hearing()
    fetch(source(server, {"name": "a.bin"}), tmp_path, yes, hearing)
    digest = hashlib.sha256(BODY).hexdigest()
    assert len(hearing.warnings) == 1
    assert digest in hearing.warnings[0]
    assert "not verified against a published checksum" in hearing.warnings[0]
    record = json.loads((tmp_path / FETCHED).read_text())
    assert record["files"] == [
        {
            "name": "a.bin",
            "url": f"{server.url}/a.bin",
            "size": 256_000,
            "sha256": digest,
            "verified": "",
            "folder": "",
            "files": 1,
            "bytes": 256_000,
        }
    ]
    assert record["licence"]["name"] == "CC0"


def test_a_missing_file_ends_it_at_once_and_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"/a\.bin: the server answers 404"):
        fetch(source(server, {"name": "a.bin"}), tmp_path, yes, pause=PAUSE)
    assert len(server.log) == 1
    assert finals(tmp_path) == []
    server.pages["/a.bin"] = Page(BODY, codes=[500, 503, 429])
    fetch(source(server, {"name": "a.bin"}), tmp_path, yes, pause=PAUSE)
    assert len(server.log) == 5
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_a_server_that_says_when_to_come_again_is_listened_to(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zenodo counts requests, and answers 429 with seconds."""
    waits: list[float] = []
    monkeypatch.setattr(downloading.time, "sleep", waits.append)
    for name, told in (("a", "7"), ("b", "100000"), ("c", "Wed, 21 Oct 2015 07:28:00 GMT"), ("d", "-1")):
        server.pages[f"/{name}"] = Page(BODY, codes=[429], retry_after=told)
        fetch(source(server, {"name": name}), tmp_path / name, yes, pause=0.5)
    assert waits == [7, 60, 0.5, 0.5]


def test_redirects_stay_within_http(server: Server, tmp_path: Path) -> None:
    server.pages["/b.bin"] = Page(BODY)
    server.pages["/a.bin"] = Page(redirect="/b.bin")
    fetch(source(server, {"name": "a.bin"}), tmp_path / "good", yes, pause=PAUSE)
    assert (tmp_path / "good" / "a.bin").read_bytes() == BODY
    secret = tmp_path / "secret"
    secret.write_bytes(b"not yours")
    for target in (f"file://{secret}", "ftp://127.0.0.1/x"):
        server.pages["/a.bin"] = Page(redirect=target)
        with pytest.raises(UserError, match="is refused: only http and https"):
            fetch(source(server, {"name": "a.bin"}), tmp_path / "bad", yes, pause=PAUSE)
    for target in ("http://[::1", f"http://{'a' * 70}.example/"):
        server.pages["/a.bin"] = Page(redirect=target)
        with pytest.raises(UserError, match="cannot be asked for"):
            fetch(source(server, {"name": "a.bin", "checksum": md5(BODY)}), tmp_path / "bad", yes, pause=PAUSE)
    server.pages["/a.bin"] = Page(redirect="/a.bin")
    with pytest.raises(UserError, match="more than 10 redirects"):
        fetch(source(server, {"name": "a.bin"}), tmp_path / "bad", yes, pause=PAUSE)
    assert finals(tmp_path / "bad") == []
    with pytest.raises(UserError, match="never from https to http"):
        downloading._check_scheme("http://a.example", "https://a.example")
    downloading._check_scheme("https://a.example", "http://a.example")


def test_nothing_is_asked_of_anybody_before_the_licence_is_accepted(server: Server, tmp_path: Path) -> None:
    server.pages["/a.bin"] = Page(BODY)
    with pytest.raises(UserError, match="its licence, CC0, was not accepted; nothing was downloaded"):
        fetch(source(server, {"name": "a.bin"}), tmp_path / "to", lambda _: False)
    assert server.log == []
    assert not (tmp_path / "to").exists()


def test_a_full_disk_is_known_before_a_byte_comes(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: real._replace(free=300_000))
    server.pages["/a.zip"] = Page(BODY)
    with pytest.raises(UserError, match="the disk has 0 MB free, and tiny needs"):
        # 256 000 bytes fit, but not with what comes out of them
        fetch(source(server, {"name": "a.zip", "size": len(BODY), "unpack": "zip"}), tmp_path / "a", yes)
    assert server.log == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: real._replace(free=200_000))
    with pytest.raises(UserError, match="the disk has 200000 bytes free, and 256000 are to come"):
        fetch(source(server, {"name": "a.zip"}), tmp_path / "b", yes)
    assert server.log[-1].path == "/a.zip"
    assert finals(tmp_path) == []


def test_a_folder_of_another_source_or_of_somebody_else_is_left_alone(server: Server, tmp_path: Path) -> None:
    server.pages["/a.bin"] = Page(BODY)
    what = source(server, {"name": "a.bin"})
    fetch(what, tmp_path / "to", yes)
    with pytest.raises(UserError, match="holds tiny, not other"):
        fetch(source(server, {"name": "a.bin"}, name="other"), tmp_path / "to", yes)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.bin").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"a\.bin: is there already and was not put there by fetch"):
        fetch(what, tmp_path / "own", yes)
    assert (tmp_path / "own" / "a.bin").read_bytes() == b"mine"
    (tmp_path / "to" / "a.bin").write_bytes(b"shorter")
    with pytest.raises(UserError, match=r"a\.bin: is not as it was fetched \(1 files, 256000 bytes\)"):
        fetch(what, tmp_path / "to", yes)
    (tmp_path / "to" / "a.bin").unlink()
    fetch(what, tmp_path / "to", yes)
    assert (tmp_path / "to" / "a.bin").read_bytes() == BODY


def test_two_fetches_into_one_folder_are_not_mixed(server: Server, tmp_path: Path) -> None:
    what = source(server, {"name": "a.bin"})
    with (
        fetching._only_one(tmp_path),
        pytest.raises(UserError, match="another fetch is writing into it"),
    ):
        fetch(what, tmp_path, yes)


def test_a_disk_that_takes_no_more_is_named_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    """The size is not announced, so that nothing could be known before."""
    server.pages["/a.bin"] = Page(BODY, chunked=True)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, usual[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            fetch(source(server, {"name": "a.bin"}), tmp_path, yes, pause=PAUSE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert "a.bin.part: cannot write or read: the file would be larger" in str(disk_error(caught.value))
    assert finals(tmp_path) == []


def test_a_file_system_without_locks_will_do(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fetching.fcntl, "flock", without)
    server.pages["/a.bin"] = Page(BODY)
    fetch(source(server, {"name": "a.bin"}), tmp_path, yes)
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_zenodo_is_asked_for_the_list_once_and_its_checksums_are_held(server: Server, tmp_path: Path) -> None:
    pages = {"x_multicoil_train.bin": b"train" * 9, "x_multicoil_val.bin": b"val" * 9, "notes.pdf": b"no"}
    entries = [
        {
            "key": key,
            "size": len(body),
            "checksum": md5(body),
            "links": {"self": f"{server.url}/files/{key}/content"},
        }
        for key, body in pages.items()
    ]
    server.pages["/api/records/1"] = Page(json.dumps({"id": 1, "files": entries}).encode())
    for key, body in pages.items():
        server.pages[f"/files/{key}/content"] = Page(body)
    listing = {"kind": "zenodo", "url": f"{server.url}/api/records/1", "keep": ["*multicoil_*.bin"]}
    what = source(server, listing=listing)
    server.pages["/files/x_multicoil_val.bin/content"].codes = [404]
    with pytest.raises(UserError, match="404"):
        fetch(what, tmp_path, yes, pause=PAUSE)
    assert finals(tmp_path) == ["x_multicoil_train.bin"]
    done = fetch(what, tmp_path, yes, pause=PAUSE)
    assert finals(tmp_path) == ["x_multicoil_train.bin", "x_multicoil_val.bin"]
    assert [entry.path for entry in server.log].count("/api/records/1") == 1
    assert [entry.path for entry in server.log].count("/files/x_multicoil_train.bin/content") == 1
    assert all(file.verified == f"md5 as listed at {server.url}/api/records/1" for file in done.files)
    entries[0]["checksum"] = md5(b"something else")
    server.pages["/api/records/1"] = Page(json.dumps({"files": entries}).encode())
    with pytest.raises(UserError, match="has not the published checksum"):
        fetch(what, tmp_path / "again", yes, pause=PAUSE)


def test_github_is_pinned_to_a_commit_and_its_blobs_are_held(server: Server, tmp_path: Path) -> None:
    body = b"\x1f\x8b not really"
    blob = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
    tree = [
        {"path": "raw", "type": "tree", "sha": "0" * 40},
        {"path": "raw/p1/T1W.nii.gz", "type": "blob", "sha": blob, "size": len(body)},
        {"path": "raw/p1/T1WKS.nii.gz", "type": "blob", "sha": blob, "size": len(body)},
    ]
    server.pages["/commits/master"] = Page(json.dumps({"sha": "c0ffee"}).encode())
    server.pages["/trees/c0ffee"] = Page(json.dumps({"tree": tree, "truncated": False}).encode())
    server.pages["/blobs/c0ffee/raw/p1/T1W.nii.gz"] = Page(body)
    listing = {
        "kind": "github",
        "commit": f"{server.url}/commits/master",
        "url": f"{server.url}/trees/{{commit}}",
        "file": f"{server.url}/blobs/{{commit}}/{{path}}",
        "keep": ["raw/*/*T1W.nii.gz"],
        "strip": "raw/",
    }
    done = fetch(source(server, listing=listing), tmp_path / "a", yes, pause=PAUSE)
    assert finals(tmp_path / "a") == ["p1/T1W.nii.gz"]
    assert done.files[0].verified == "git as in commit c0ffee"
    server.pages["/trees/c0ffee"] = Page(json.dumps({"tree": tree, "truncated": True}).encode())
    with pytest.raises(UserError, match="cut short"):
        fetch(source(server, listing=listing), tmp_path / "b", yes, pause=PAUSE)
    server.pages["/trees/c0ffee"] = Page(json.dumps({"tree": tree[:1]}).encode())
    with pytest.raises(UserError, match=r"lists no file like raw/\*/\*T1W"):
        fetch(source(server, listing=listing), tmp_path / "b", yes, pause=PAUSE)


@pytest.mark.parametrize(
    "answer",
    [
        {"files": [{"key": "../../x", "size": 1, "checksum": "", "links": {"self": "http://a.example"}}]},
        {"files": [{"key": ".x", "size": 1, "checksum": "", "links": {"self": "http://a.example"}}]},
        {"files": [{"key": "x", "size": 1, "checksum": "md5:12", "links": {"self": "http://a.example"}}]},
        {"files": [{"key": "x", "size": -1, "checksum": "", "links": {"self": "http://a.example"}}]},
        {"files": [{"key": "x"}]},
        {"entries": []},
        [],
    ],
)
def test_a_list_of_another_form_is_refused(server: Server, tmp_path: Path, answer: object) -> None:
    server.pages["/r"] = Page(json.dumps(answer).encode())
    what = source(server, listing={"kind": "zenodo", "url": f"{server.url}/r", "keep": ["*"]})
    with pytest.raises(UserError, match="another form than known"):
        fetch(what, tmp_path / "to", yes, pause=PAUSE)
    assert finals(tmp_path) == []


def test_an_answer_that_is_no_json_is_refused(server: Server) -> None:
    server.pages["/r"] = Page(b"<html>busy</html>", drop_after=[3])
    with pytest.raises(UserError, match="the answer is not JSON"):
        get_json(f"{server.url}/r", PAUSE)
    assert len(server.log) == 2
    server.pages["/r"] = Page(b"[" * 100_000)
    with pytest.raises(UserError, match="the answer is not JSON"):
        get_json(f"{server.url}/r", PAUSE)


def zipped(*members: tuple[str, bytes], mode: int = 0) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, body in members:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            file.writestr(info, body)
    return out.getvalue()


def tarred(
    *members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE, link: str = "", pax: dict[str, str] | None = None
) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        for name, body in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(body) if kind == tarfile.REGTYPE else 0, kind, link
            info.pax_headers = pax or {}
            file.addfile(info, io.BytesIO(body))
    return out.getvalue()


@pytest.mark.parametrize(("kind", "make"), [("zip", zipped), ("tar", tarred)])
def test_archives_are_unpacked_whole_and_thrown_away(
    server: Server, tmp_path: Path, kind: str, make: Callable[..., bytes]
) -> None:
    server.pages[f"/flat.{kind}"] = Page(make(("a.h5", b"aa"), ("b.h5", b"bbb")))
    server.pages[f"/deep.{kind}"] = Page(make(("multicoil_train/a.h5", b"aaaa"), ("multicoil_train/x/c.h5", b"c")))
    what = source(server, {"name": f"flat.{kind}", "unpack": kind}, {"name": f"deep.{kind}", "unpack": kind})
    done = fetch(what, tmp_path, yes)
    assert finals(tmp_path) == ["flat/a.h5", "flat/b.h5", "multicoil_train/a.h5", "multicoil_train/x/c.h5"]
    assert (tmp_path / "flat" / "b.h5").read_bytes() == b"bbb"
    assert [(f.folder, f.files, f.bytes) for f in done.files] == [("flat", 2, 5), ("multicoil_train", 2, 5)]
    assert not (tmp_path / UNFINISHED).exists()
    assert len(server.log) == 2
    fetch(what, tmp_path, yes)
    assert len(server.log) == 2
    shutil.rmtree(tmp_path / "flat")
    fetch(what, tmp_path, yes)
    assert [entry.path for entry in server.log[2:]] == [f"/flat.{kind}"]
    assert (tmp_path / "flat" / "a.h5").read_bytes() == b"aa"


BAD_NAMES = ["/etc/x", "../x", "a/../../x", "..\\x", "C:x", "a/./../../x"]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize(("kind", "make"), [("zip", zipped), ("tar", tarred)])
def test_a_name_that_leaves_the_folder_is_refused(
    tmp_path: Path, kind: str, make: Callable[..., bytes], name: str
) -> None:
    (tmp_path / "a").write_bytes(make(("good", b"x"), (name, b"evil")))
    (tmp_path / "in" / "side").mkdir(parents=True)
    with pytest.raises(UserError, match="would leave its folder"):
        unpack(tmp_path / "a", kind, tmp_path / "in" / "side")  # type: ignore[arg-type]
    assert finals(tmp_path) == ["a"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(tarred(("x", b""), kind=kind, link="/etc/passwd"))
    (tmp_path / "in").mkdir()
    with pytest.raises(UserError, match="x is a link, device or sparse file"):
        unpack(tmp_path / "a.tar", "tar", tmp_path / "in")
    (tmp_path / "a.zip").write_bytes(zipped(("x", b"/etc/passwd"), mode=0o120777))
    with pytest.raises(UserError, match="x is a link or device"):
        unpack(tmp_path / "a.zip", "zip", tmp_path / "in")
    assert finals(tmp_path) == ["a.tar", "a.zip"]


def test_an_archive_that_swells_comes_twice_or_lies_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def refused(body: bytes, sentence: str, kind: str = "zip") -> None:
        (tmp_path / "a").write_bytes(body)
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        with pytest.raises(UserError, match=sentence):
            unpack(tmp_path / "a", kind, folder)  # type: ignore[arg-type]

    refused(zipped(("zeros", bytes(10_000_000))), "would become 10000000")
    refused(tarred(("a", b"1"), ("A", b"2")), "holds A twice", "tar")
    refused(tarred(("a", b"1"), ("a/b", b"2")), "not a readable tar", "tar")
    refused(zipped(), "holds no file")
    refused(tarred(), "holds no file", "tar")
    refused(zipped(("\x1b[2Ja", b"1")), "has control characters")
    refused(tarred(("a", b"123"), pax={"size": "9" * 17}), "not a readable tar", "tar")
    refused(b"no archive at all", "not a readable zip")
    refused(b"no archive at all" * 100, "not a readable tar", "tar")
    refused(tarred(("a", bytes(20_000)))[:10_000], "not a readable tar", "tar")
    good = zipped(("a", BODY))
    refused(good.replace(good[200:210], bytes(10)), "not a readable zip")
    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(unpacking.shutil, "disk_usage", lambda _: real._replace(free=1000))
    refused(zipped(("a", BODY)), "the disk has 1000 bytes free, and unpacking a needs 256000")


def test_a_bad_archive_leaves_nothing_under_a_final_name(server: Server, tmp_path: Path) -> None:
    server.pages["/a.zip"] = Page(zipped(("good", b"x"), ("../evil", b"x")))
    with pytest.raises(UserError, match="would leave its folder"):
        fetch(source(server, {"name": "a.zip", "unpack": "zip"}), tmp_path / "to", yes)
    assert finals(tmp_path) == []


def test_an_archive_that_came_cut_comes_again_at_the_next_fetch(server: Server, tmp_path: Path) -> None:
    body = zipped(("m/a.h5", b"aa"))
    server.pages["/a.zip"] = Page(body[:-30])  # neither size nor checksum are published: nobody can tell but unzip
    with pytest.raises(UserError, match=r"^a\.zip: not a readable zip"):
        fetch(source(server, {"name": "a.zip", "unpack": "zip"}), tmp_path, yes)
    server.pages["/a.zip"] = Page(body)
    fetch(source(server, {"name": "a.zip", "unpack": "zip"}), tmp_path, yes)
    assert finals(tmp_path) == ["m/a.h5"]


def test_a_crash_between_record_and_move_is_mended(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = zipped(("m/a.h5", b"aa"))
    server.pages["/a.zip"] = Page(body)
    what = source(server, {"name": "a.zip", "unpack": "zip", "checksum": md5(body)})

    def crash(made: Path, final: Path, real: Callable[[Path, Path], None] = fetching.os.replace) -> None:
        if Path(final).name == "m":
            raise KeyboardInterrupt
        real(made, final)

    with monkeypatch.context() as patch:
        patch.setattr(fetching.os, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            fetch(what, tmp_path, yes)
    assert finals(tmp_path) == []
    fetch(what, tmp_path, yes)
    assert finals(tmp_path) == ["m/a.h5"]
    assert len(server.log) == 1, "the archive was there already"


def test_progress_counts_all_megabytes(server: Server, tmp_path: Path) -> None:
    big = BODY * 12  # 3.072 MB
    server.pages["/a.bin"], server.pages["/b.bin"] = Page(big), Page(big)
    hearing = Hearing()
    what = source(server, {"name": "a.bin", "size": len(big)}, {"name": "b.bin", "size": len(big)})
    fetch(what, tmp_path, yes, hearing)
    assert [(done, total) for message, done, total in hearing.steps if "a.bin" in message] == [
        (0, 7), (1, 7), (2, 7), (3, 7),
    ]  # fmt: skip
    assert [done for message, done, _ in hearing.steps if "b.bin" in message] == [3, 4, 5, 6]


def test_the_built_in_sources_are_sound() -> None:
    known = sources()
    assert sorted(known) == ["ixi", "m4raw", "open-ms"]
    for found in known.values():
        addresses = [file.url for file in found.files]
        if found.listing is not None:
            addresses += [x for x in (found.listing.url, found.listing.commit, found.listing.file) if x]
        assert all(address.startswith("https://") for address in addresses)
        assert found.licence.summary
        assert found.licence.url.startswith("https://creativecommons.org/licenses/")
        assert found.next.format(to="DIR").startswith("mcsr-bench prepare --dataset ")
        assert found.citation
    for file in known["ixi"].files:
        assert file.name in file.url


def test_an_answer_that_ends_well_before_the_published_size_is_not_taken(server: Server, tmp_path: Path) -> None:
    server.pages["/a.bin"] = Page(BODY[:1000], chunked=True, ranges=False)
    with pytest.raises(UserError, match="1000 of 256000 bytes came"):
        fetch(source(server, {"name": "a.bin", "size": len(BODY)}), tmp_path, yes, pause=PAUSE)
    assert finals(tmp_path) == []


def test_any_number_of_drops_is_borne_while_bytes_arrive(server: Server, tmp_path: Path) -> None:
    server.pages["/a.bin"] = Page(BODY, drop_after=[20_000] * 9)
    fetch(source(server, {"name": "a.bin"}), tmp_path, yes, pause=PAUSE)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert len(server.log) == 10
