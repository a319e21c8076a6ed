"""Archives, sound and hostile: nothing leaves its folder, nothing half-unpacked is under a final name."""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from local_server import BODY, Page, Server, finals, md5, source, yes

from mcsr_bench.errors import UserError
from mcsr_bench.fetching import fetch as fetching
from mcsr_bench.fetching import unpack as unpacking
from mcsr_bench.fetching.fetch import UNFINISHED, fetch
from mcsr_bench.fetching.unpack import unpack


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
