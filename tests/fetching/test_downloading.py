"""One file from a server that drops, dribbles, truncates and lies: what is under a final name is always whole and verified."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from local_server import BODY, PAUSE, Hearing, Page, Server, finals, md5, source, yes

from mcsr_bench.errors import UserError
from mcsr_bench.fetching import download as downloading
from mcsr_bench.fetching import fetch as fetching
from mcsr_bench.fetching.download import ResumingDownloader, get_json
from mcsr_bench.fetching.fetch import FETCHED, UNFINISHED, fetch
from mcsr_bench.fetching.sources import Source


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
    assert {p.name for p in (tmp_path / "wrong" / UNFINISHED).rglob("*") if p.is_file()} <= {"lock"}
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


def test_an_answer_that_is_no_json_is_refused(server: Server) -> None:
    server.pages["/r"] = Page(b"<html>busy</html>", drop_after=[3])
    with pytest.raises(UserError, match="the answer is not JSON"):
        get_json(f"{server.url}/r", PAUSE)
    assert len(server.log) == 2
    server.pages["/r"] = Page(b"[" * 100_000)
    with pytest.raises(UserError, match="the answer is not JSON"):
        get_json(f"{server.url}/r", PAUSE)


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
