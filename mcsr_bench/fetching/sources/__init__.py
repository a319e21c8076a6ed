"""Where public data sets are: one TOML file each, with licence, citation, addresses and published checksums."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mcsr_bench.errors import UserError
from mcsr_bench.fetching.download import get_json

SOURCES = Path(__file__).parent
_CHECKSUM = r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}|git:[0-9a-f]{40}|)$"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Licence(_Model):
    """Under what terms data are given."""

    name: str
    url: str
    summary: str
    """What it asks of the user, in a few sentences."""


class RemoteFile(_Model):
    """A file at its publisher's."""

    url: str
    name: str
    """Where it goes, relative to the data set's folder."""
    size: int = Field(default=0, ge=0)
    """Bytes; 0: not published."""
    checksum: str = Field(default="", pattern=_CHECKSUM)
    """``md5:``, ``sha256:`` or ``git:`` (the id of a git blob) and hexadecimal digits; empty: none is published."""
    checksum_from: str = ""
    """Who publishes the checksum."""
    unpack: Literal["", "tar", "zip"] = ""
    """The kind of archive. Where all of it is in one folder, that folder is kept; else one is named after the archive."""

    @model_validator(mode="after")
    def _stays_inside(self) -> RemoteFile:
        path = PurePosixPath(self.name)
        hidden = any(part.startswith(".") for part in path.parts)
        if path.is_absolute() or not path.parts or hidden or set(self.name) & set("\\:") or not self.name.isprintable():
            raise ValueError(f"{self.name!r} is not the name of a file within the folder")
        return self


class Listing(_Model):
    """A list of files that the publisher hands out when asked, with sizes and checksums."""

    kind: Literal["zenodo", "github"]
    url: str
    """zenodo: the record's address in the interface for programs. github: that of the git tree, with {commit}."""
    commit: str = ""
    """github: the address that gives the commit."""
    file: str = ""
    """github: the address of a file, with {commit} and {path}."""
    keep: tuple[str, ...]
    """Shell patterns of the names that are wanted."""
    strip: str = ""
    """A prefix that is taken off the names."""
    unpack: Literal["", "tar", "zip"] = ""


class Source(_Model):
    """A public data set: what it is, its licence, and where its files are."""

    name: str
    title: str
    what: str
    homepage: str
    download: str
    """The amount, for people."""
    licence: Licence
    citation: tuple[str, ...]
    layout: str
    """Which files are where afterwards."""
    next: str = ""
    """A command that uses it, with {to}."""
    files: tuple[RemoteFile, ...] = ()
    listing: Listing | None = None

    @model_validator(mode="after")
    def _one_of_files_and_listing(self) -> Source:
        if bool(self.files) == bool(self.listing):
            raise ValueError("a source has either files or a listing")
        return self

    def terms(self) -> str:
        """What a user reads before the first byte."""
        lines = [
            f"{self.title}: {self.what}",
            f"From {self.homepage} ({self.download}).",
            f"Licence: {self.licence.name}, {self.licence.url}",
            self.licence.summary,
            "Cite:",
            *(f"  {text}" for text in self.citation),
        ]
        return "\n".join(lines)


def sources() -> dict[str, Source]:
    """The known sources by name. A file that is not a source is a programming error, and raises ValueError."""
    found = [Source.model_validate(tomllib.loads(p.read_text("utf-8"))) for p in sorted(SOURCES.glob("*.toml"))]
    return {source.name: source for source in found}


def listed(source: Source, pause: float) -> tuple[RemoteFile, ...]:
    """All files of a source; where it has a listing, the publisher is asked. UserError for a list of a form not known."""
    if (listing := source.listing) is None:
        return source.files
    try:
        found = list(_of_zenodo(listing, pause) if listing.kind == "zenodo" else _of_github(listing, pause))
    except (KeyError, TypeError, AttributeError, ValidationError):
        raise UserError(
            f"{listing.url}: the list of files has another form than known; see {source.homepage}"
        ) from None
    if not found:
        raise UserError(f"{listing.url}: lists no file like {', '.join(listing.keep)}; see {source.homepage}")
    names = [file.name for file in found]
    if len(set(names)) < len(names):
        raise UserError(f"{listing.url}: lists a name twice; see {source.homepage}")
    return tuple(sorted(found, key=lambda file: file.name))


def _wanted(listing: Listing, name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in listing.keep)


def _of_zenodo(listing: Listing, pause: float) -> Iterator[RemoteFile]:
    answer: dict[str, Any] = get_json(listing.url, pause)
    for entry in answer["files"]:
        if _wanted(listing, entry["key"]):
            yield RemoteFile(
                url=entry["links"]["self"],
                name=entry["key"].removeprefix(listing.strip),
                size=entry["size"],
                checksum=entry["checksum"],
                checksum_from=f"listed at {listing.url}",
                unpack=listing.unpack,
            )


def _of_github(listing: Listing, pause: float) -> Iterator[RemoteFile]:
    commit = get_json(listing.commit, pause)["sha"]
    answer: dict[str, Any] = get_json(listing.url.format(commit=commit), pause)
    if answer.get("truncated"):
        raise UserError(f"{listing.url.format(commit=commit)}: the list is cut short, so files would be missed")
    for entry in answer["tree"]:
        if entry["type"] == "blob" and _wanted(listing, entry["path"]):
            yield RemoteFile(
                url=listing.file.format(commit=commit, path=entry["path"]),
                name=entry["path"].removeprefix(listing.strip),
                size=entry["size"],
                checksum=f"git:{entry['sha']}",
                checksum_from=f"in commit {commit}",
                unpack=listing.unpack,
            )
