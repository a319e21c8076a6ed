"""Files that are never half-written and, once they have their name, outlive a power cut; and hashes of what they hold."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
import tempfile
import tomllib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mcsr_bench.errors import machine_error
from mcsr_bench.system.locks import locked
from mcsr_bench.system.owners import alive, this_process

LARGEST_RECORD = 1 << 24
"""Bytes of a JSON or TOML file that are read; parsed it takes some twenty times as much memory."""
DEEPEST = 64
"""Levels of lists and tables within each other in a JSON or TOML file."""

_LONGEST_NAME = 120
_NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)  # as some network folders answer for a folder


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text, so that hashes of it mean something."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any, length: int = 64) -> str:
    """SHA-256 of the canonical JSON of a value, as hexadecimal text cut to ``length``."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


NO_FILE = "no such file"


def not_a_file(path: Path) -> str:
    """What a path is that is not a file with a beginning and an end ("no such file", "a folder, not a file"); "" for a file.

    To be asked before a file of someone else's is opened: opening a pipe waits for its other end, and a device has no end. OSError.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "a broken link" if path.is_symlink() else NO_FILE
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return "a link that leads to itself"
    if stat.S_ISREG(mode):
        return ""
    return "a folder, not a file" if stat.S_ISDIR(mode) else "a pipe, a socket or a device, not a regular file"


def check_finite(path: Path) -> None:
    """ValueError for a pipe or a device; what is wrong with any other path opening it will tell."""
    if path.exists() and not path.is_dir() and (what := not_a_file(path)):
        raise ValueError(f"{path}: {what}")


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces. OSError, ValueError for a pipe or a device, whose bytes may never end."""
    check_finite(path)
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def settle(temporary: Path, final: Path) -> None:
    """Move a finished file over ``final`` once its bytes are on the disk: the one way in which files get their names.

    A name that is there after a power cut, or after a network folder was cut off, has all its bytes. OSError.
    """
    settled(temporary)
    os.replace(temporary, final)
    settled(final.parent)


def settled(path: Path) -> None:
    """Bring a file's bytes, or the names in a folder, to the disk, where the system has a way to. OSError."""
    folder = path.is_dir()
    try:
        handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    except PermissionError:
        if folder:  # Windows opens no folders
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if not folder or error.errno not in _NO_FLUSH:
            raise
    finally:
        os.close(handle)


def to_disk(handle: IO[bytes]) -> None:
    """Bring what was written to a file to the disk: only then is a full disk, or a lost one, sure to have been told."""
    handle.flush()
    os.fsync(handle.fileno())


@contextmanager
def replacing(path: Path, *, lasting: bool = True) -> Iterator[Path]:
    """A temporary name beside ``path``; when the block ends well it is moved over ``path`` by `settle`, otherwise removed.

    Those that killed processes left of the same path are removed, too. An OSError that names no file, or the temporary one, names
    ``path``. lasting: False for one of many files that are brought to the disk together, before anything says that they are there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _clear_temporary(path)
        owner = this_process()
        host = digest(owner.host, 8)
        prefix = f"{_temporary_prefix(path)}{host}-{owner.pid}-{owner.start}."
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=".tmp", dir=path.parent)
    except OSError as error:
        error.filename = str(path)
        raise
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; results are meant to be read by colleagues, as the umask says.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        if lasting:
            settle(temporary, path)
        else:
            os.replace(temporary, path)
    except OSError as error:
        if error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _temporary_prefix(path: Path) -> str:
    return f".{path.name[:150]}."  # names may have 255 characters


def _clear_temporary(path: Path) -> None:
    """Remove the temporary files of a path whose processes, on this machine, do not run any more."""
    prefix, host = _temporary_prefix(path), digest(this_process().host, 8)
    with os.scandir(path.parent) as entries:
        left = [entry.name for entry in entries if entry.name.startswith(prefix) and entry.name.endswith(".tmp")]
    for name in left:
        where, _, process = name.removeprefix(prefix).partition("-")
        pid, _, start = process.rpartition(".tmp")[0].rpartition(".")[0].partition("-")
        if where == host and pid.isdecimal() and alive(int(pid), start) is False:
            (path.parent / name).unlink(missing_ok=True)


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make a folder, so that one that cannot be written fails first; remove what was made and is empty when the block fails."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        yield
    except BaseException:
        for path in made:
            if any(path.iterdir()):
                break
            path.rmdir()
        raise


@contextmanager
def writing_to(place: Path) -> Iterator[None]:
    """An OSError that names no file, as one of a full disk does, names ``place``."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(place)
        raise


def write_text(path: Path, text: str, *, lasting: bool = True) -> None:
    r"""Write UTF-8 text to ``path`` in one move; odd bytes in the names of files become escapes (``\udce9``), as JSON has them.

    lasting: as `replacing`.
    """
    with replacing(path, lasting=lasting) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any, *, lasting: bool = True) -> None:
    """Write indented, sorted JSON to ``path`` in one move. NaN and infinities are refused. lasting: as `replacing`."""
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(path, text, lasting=lasting)


def read_json(path: Path, most: int = LARGEST_RECORD) -> Any:
    """The JSON value in a UTF-8 file of ``most`` bytes at most, as `parse_json`. ValueError for anything else, OSError."""
    return parse_json(_bounded_text(path, most))


def parse_json(text: str) -> Any:
    """The JSON value of a text. ValueError also for NaN, infinities, and nesting that nobody writes."""
    try:
        value = json.loads(text, parse_constant=_not_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return _shallow(value)


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file. ValueError for anything else, too large a file and nesting that nobody writes; OSError."""
    try:
        found: dict[str, Any] = _shallow(tomllib.loads(_bounded_text(path, LARGEST_RECORD)))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return found


def _bounded_text(path: Path, most: int) -> str:
    """Read no further than ``most`` bytes: a file may come from anyone, and parsing takes many times its size."""
    check_finite(path)
    with path.open("rb") as handle:
        data = handle.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it is larger than {most} bytes")
    return data.decode("utf-8")


def _shallow(value: Any) -> Any:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise ValueError("it is nested too deeply")
        inner = (part.values() if isinstance(part, dict) else part for part in level if isinstance(part, (dict, list)))
        level = [part for parts in inner for part in parts]
    return value


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:20]} is not a finite number")
    return value


def _not_finite(text: str) -> float:
    raise ValueError(f"{text} is not a finite number")


def set_aside(path: Path) -> None:
    """Move a damaged file to NAME.damaged, where nothing reads it; an earlier one of that name is lost. No error for no file."""
    if path.exists():
        os.replace(path, path.with_name(f"{path.name}.damaged"))


_REMOVED = ".removed"


def remove_folder(path: Path) -> None:
    """Remove a folder, if it is there, in one move first: a kill at any moment leaves all of it, or nothing under its name.

    What a kill leaves under another name goes with the next removal beside it, or by `clear_removed`.
    """
    if path.exists():
        os.replace(path, path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{_REMOVED}"))
    clear_removed(path.parent)


def clear_removed(parent: Path) -> None:
    """Finish the removals in a folder that were interrupted."""
    for left in parent.glob(f".*{_REMOVED}"):
        shutil.rmtree(left, ignore_errors=True)


def build_folder(final: Path, build: Callable[[Path], None]) -> None:
    """Build a folder under a temporary name beside ``final`` and move it there when complete.

    A second process that builds the same folder at once does no harm: whoever comes second throws its own copy away.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".tmp", dir=final.parent))
    try:
        build(temporary)
        temporary.chmod(0o755)
        try:
            os.rename(temporary, final)
            settled(final.parent)
        except OSError:
            if not final.is_dir():  # not lost to another builder: a real failure
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def resumable_folder(
    final: Path, whole: Callable[[Path], bool], waiting: Callable[[], None] = lambda: None
) -> Iterator[Path | None]:
    """A folder ``.NAME.building`` beside ``final`` that takes its place when the block ends well; None where that is whole by now.

    What an interrupted or killed block, or one that a fault of the machine ended (a full disk, see `machine_error`), left in the
    folder is still there the next time, so that work goes on where it stopped; any other error removes it. One process builds at
    a time: another one waits (``waiting`` is called) for the first. The lock is ``PARENT.locks/NAME.lock``, outside the folder
    that is moved and removed.
    """
    if whole(final):
        yield None
        return
    temporary = final.with_name(f".{final.name}.building")
    with locked(final.parent.with_name(f"{final.parent.name}.locks") / f"{final.name}.lock", waiting):
        if whole(final):  # the one that was waited for built it
            yield None
            return
        temporary.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            remove_folder(final)  # damaged, or it would have been whole
            os.rename(temporary, final)
            settled(final.parent)
        except Exception as error:
            if machine_error(error) is None:
                shutil.rmtree(temporary, ignore_errors=True)
            raise


def file_name(text: str) -> str:
    """One part of a path from any text, the same one each time: text that is a safe name on every system stays as it is.

    Of other text, letters that are not ASCII and signs become hyphens, and 8 digits of a hash keep different texts apart.
    """
    safe = re.sub(r"[^A-Za-z0-9_.=@+-]", "-", text)[:_LONGEST_NAME].strip(".-")
    if safe == text and not re.fullmatch(r"|(con|prn|aux|nul|com\d|lpt\d)(\..*)?", safe, re.IGNORECASE):
        return safe
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe[: _LONGEST_NAME - 9] or 'name'}-{mark}"


def absolute(path: Path) -> Path:
    """The path as it works from any folder; links stay links."""
    return Path(os.path.abspath(path.expanduser()))


def cache_folder() -> Path:
    """Where prepared data live: $MCSR_BENCH_CACHE, else $XDG_CACHE_HOME/mcsr-bench, else ~/.cache/mcsr-bench."""
    if own := os.environ.get("MCSR_BENCH_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mcsr-bench"
