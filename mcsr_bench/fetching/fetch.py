"""Public data sets from where their publishers keep them: licence first, verified, resumable, never half there.

A fetched folder holds ``fetched.json``: what came from where, with sizes and hashes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from mcsr_bench.errors import UserError, explain
from mcsr_bench.fetching.download import ResumingDownloader
from mcsr_bench.fetching.sources import Licence, RemoteFile, Source, listed
from mcsr_bench.fetching.unpack import unpack
from mcsr_bench.system import files
from mcsr_bench.system.locks import locked
from mcsr_bench.system.progress import Listener

FETCHED = "fetched.json"
UNFINISHED = ".part"
"""Holds what is not yet complete, so that nothing else ever does."""
_MB = 1_000_000


class FetchedFile(BaseModel):
    """A file that is there, as it came; of an archive, what it became."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    url: str
    size: int
    sha256: str
    verified: str
    """What it was checked against; empty: not verified against a published checksum."""
    folder: str = ""
    """Where the archive's files lie."""
    files: int = 1
    bytes: int
    """The number of files on disk, and their bytes."""


class Fetched(BaseModel):
    """``fetched.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    source: str
    title: str
    homepage: str
    licence: Licence
    citation: tuple[str, ...]
    listing: tuple[RemoteFile, ...]
    """All files of the data set, as they were listed at the first fetch: later ones keep to it."""
    files: tuple[FetchedFile, ...] = ()

    def lines(self) -> list[str]:
        """A sentence per file."""
        out = []
        for file in self.files:
            where = f"{file.folder}: {file.files} files from {file.name}" if file.folder else file.name
            check = file.verified or "not verified against a published checksum"
            out.append(f"{where}, {file.size} bytes, sha256 {file.sha256}, {check}")
        return out


def fetch(
    source: Source,
    to: Path,
    accept: Callable[[Source], bool],
    listener: Listener | None = None,
    pause: float = 1.0,
) -> Fetched:
    """Bring a data set into the folder ``to``; what is there is not brought again, and what was begun goes on.

    ``accept`` is asked once, before anything is asked of the publisher. ``pause``: seconds before a second attempt.
    Raises UserError when the licence is not accepted, when the folder holds something else, the disk has no room, the publisher
    does not answer, or what came is not what is published.
    """
    listener = listener or Listener()
    record = _read_record(to, source)
    if record is not None and not _missing(record, to):
        return record
    if not accept(source):
        raise UserError(f"{source.name}: its licence, {source.licence.name}, was not accepted; nothing was downloaded")
    with _only_one(to) as unfinished:
        if record is None:
            record = Fetched(
                source=source.name,
                title=source.title,
                homepage=source.homepage,
                licence=source.licence,
                citation=source.citation,
                listing=listed(source, pause),
            )
            files.write_json(to / FETCHED, record.model_dump(mode="json"))
        _check_disk(record, to, unfinished)
        for file in _missing(record, to):
            record = _bring(file, record, to, unfinished, listener, pause)
    shutil.rmtree(unfinished)
    return record


def _read_record(to: Path, source: Source) -> Fetched | None:
    path = to / FETCHED
    if to.exists() and not to.is_dir():
        raise UserError(f"--to {to}: is a file, not a folder")
    if not path.is_file():
        return None
    try:
        record = Fetched.model_validate(files.read_json(path))
    except ValueError as error:
        why = explain(error) if isinstance(error, ValidationError) else "not JSON"
        raise UserError(
            f"{path}: not readable as a record of fetch ({why}); remove it, or choose another --to"
        ) from None
    if record.source != source.name:
        raise UserError(f"--to {to}: holds {record.source}, not {source.name}; choose another folder")
    return record


def _missing(record: Fetched, to: Path) -> list[RemoteFile]:
    """The files that are still to be brought. UserError for one that is there, and is not as it came."""
    there = {file.name: file for file in record.files}
    out = []
    for file in record.listing:
        done = there.get(file.name)
        place = to / (done.folder or done.name) if done else None
        if done is None or place is None or not place.exists():
            out.append(file)
        elif _count(place) != (done.files, done.bytes):
            raise UserError(f"{place}: is not as it was fetched ({done.files} files, {done.bytes} bytes); move it away")
    return out


def _count(place: Path) -> tuple[int, int]:
    """The number of files at a place, and their bytes."""
    found = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return len(found), sum(path.stat().st_size for path in found)


@contextmanager
def _only_one(to: Path) -> Iterator[Path]:
    """The folder for what is unfinished, locked. UserError while another process has it."""
    unfinished = to / UNFINISHED
    unfinished.mkdir(parents=True, exist_ok=True)
    with locked(unfinished / "lock", busy=f"--to {to}: another fetch is writing into it; wait for its end"):
        yield unfinished


def _check_disk(record: Fetched, to: Path, unfinished: Path) -> None:
    """UserError where the disk cannot take what is known to come: all files, and the largest archive a second time."""
    missing = _missing(record, to)
    begun = _count(unfinished)[1]
    packed = [file.size for file in missing if file.unpack]
    need = sum(file.size for file in missing) + max(packed, default=0) - begun
    free = shutil.disk_usage(to).free
    if need > free:
        raise UserError(
            f"--to {to}: the disk has {free // _MB} MB free, and {record.source} needs {need // _MB} MB; make room"
        )


def _bring(file: RemoteFile, record: Fetched, to: Path, unfinished: Path, listener: Listener, pause: float) -> Fetched:
    """Download, verify, unpack and move one file into place; the record is written before the last move."""
    final = to / file.name
    if not file.unpack and final.exists():
        raise UserError(f"{final}: is there already and was not put there by fetch; move it away")
    key = hashlib.sha256(file.name.encode()).hexdigest()[:16]
    archive = unfinished / key / PurePosixPath(file.name).name  # its name stands in sentences

    progress = _in_megabytes(file, record, listener)
    _download(file, archive, pause, progress)
    done = FetchedFile(
        name=file.name,
        url=file.url,
        size=archive.stat().st_size,
        sha256=files.file_digest(archive),
        verified=f"{file.checksum.partition(':')[0]} as {file.checksum_from or 'published'}" if file.checksum else "",
        bytes=archive.stat().st_size,
    )
    if not done.verified:
        listener.warning(f"{file.name}: sha256 {done.sha256}, not verified against a published checksum: none is known")
    kept = [earlier for earlier in record.files if earlier.name != file.name]
    if not file.unpack:
        made = archive
    else:
        try:
            made, done = _unpacked(file, done, archive, unfinished, listener)
        except UserError:
            if not done.verified:  # it may have come cut: the next fetch begins it again
                archive.unlink()
            raise
        final = to / done.folder
        if final.exists():
            raise UserError(f"{final}: is there already and was not put there by fetch; move it away")
    record = record.model_copy(update={"files": (*kept, done)})
    files.write_json(to / FETCHED, record.model_dump(mode="json"))
    final.parent.mkdir(parents=True, exist_ok=True)
    os.replace(made, final)
    archive.unlink(missing_ok=True)
    return record


def _in_megabytes(file: RemoteFile, record: Fetched, listener: Listener) -> Callable[[int, int], None]:
    """Progress over all files where their sizes are known, else of this file; said once per megabyte."""
    known = all(other.size for other in record.listing)
    before = sum(done.size for done in record.files) if known else 0
    whole = sum(other.size for other in record.listing) if known else 0
    said = -1

    def progress(there: int, total: int) -> None:
        nonlocal said
        all_of_it = whole or total or there + 2 * _MB
        done = (before + there) // _MB
        if done != said:
            said = done
            listener.preparing(f"fetch {record.source}, {file.name} (MB)", done, -(-all_of_it // _MB))

    return progress


def _download(file: RemoteFile, path: Path, pause: float, progress: Callable[[int, int], None]) -> None:
    """The verified file at ``path``. pooch compares the checksum and moves; ours are the transfer and git's kind of checksum."""
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    by_git = file.checksum.startswith("git:")
    downloader = ResumingDownloader(
        path.with_name(path.name + ".part"),
        size=file.size,
        checked=bool(file.checksum),
        pause=pause,
        progress=progress,
    )
    known = None if by_git or not file.checksum else file.checksum
    try:
        pooch.retrieve(file.url, known_hash=known, fname=path.name, path=path.parent, downloader=downloader)
    except ValueError:  # pooch's word for another checksum; it has thrown the download away
        raise _differs(file) from None
    if by_git and git_blob(path) != file.checksum.removeprefix("git:"):
        path.unlink()
        raise _differs(file)


def _differs(file: RemoteFile) -> UserError:
    return UserError(
        f"{file.url}: what came has not the published checksum {file.checksum}, and was thrown away; try again, "
        f"or the publisher has changed the file"
    )


def git_blob(path: Path) -> str:
    """The id that git gives a file's content: SHA-1 of "blob SIZE" with a zero byte, and the bytes."""
    found = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as handle:
        while piece := handle.read(1 << 20):
            found.update(piece)
    return found.hexdigest()


def _unpacked(
    file: RemoteFile, done: FetchedFile, archive: Path, unfinished: Path, listener: Listener
) -> tuple[Path, FetchedFile]:
    """The folder that an archive became, still among what is unfinished, and the record of it."""
    assert file.unpack
    for left in unfinished.glob("unpacking-*"):
        shutil.rmtree(left)
    folder = Path(tempfile.mkdtemp(prefix="unpacking-", dir=unfinished))
    n, total = unpack(archive, file.unpack, folder, lambda i, of: listener.preparing(f"unpack {file.name}", i, of))
    name, tops = PurePosixPath(file.name).stem, list(folder.iterdir())
    if len(tops) == 1 and tops[0].is_dir() and not tops[0].name.startswith("."):
        folder, name = tops[0], tops[0].name
    folder.chmod(0o755)
    return folder, done.model_copy(update={"folder": name, "files": n, "bytes": total})
