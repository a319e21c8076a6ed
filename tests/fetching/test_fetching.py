"""Licence, list, disk and folder of a fetched data set."""

from __future__ import annotations

import errno
import hashlib
import json
import resource
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from local_server import BODY, PAUSE, Hearing, Page, Server, finals, md5, source, yes

from mcsr_bench.errors import UserError, disk_error
from mcsr_bench.fetching import fetch as fetching
from mcsr_bench.fetching.fetch import fetch
from mcsr_bench.fetching.sources import sources


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
    def without(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", without)
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
