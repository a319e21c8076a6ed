"""Files that are never half-written, and hashes of what they hold."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcsr_bench.errors import InterruptedWorkError, UserError
from mcsr_bench.system.locks import locked

if TYPE_CHECKING:
    import pandas as pd


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text, so that hashes of it mean something."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any, length: int = 64) -> str:
    """SHA-256 of the canonical JSON of a value, as hexadecimal text cut to ``length``."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``; when the block ends well it is moved over ``path``, otherwise removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; results are meant to be read by colleagues, as the umask says.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make a folder, so that one that cannot be written fails first; remove what was made and is empty when the block fails."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(folder / ".writable"):
            pass
        (folder / ".writable").unlink()
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


def write_text(path: Path, text: str) -> None:
    r"""Write UTF-8 text to ``path`` in one move; odd bytes in the names of files become escapes (``\udce9``), as JSON has them."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write indented, sorted JSON to ``path`` in one move. NaN and infinities are refused."""
    write_text(path, json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON value in a UTF-8 file. ValueError for anything else."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV in one move, with a fixed float format: equal numbers give equal bytes."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.12g", lineterminator="\n")


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a Parquet file in one move. UserError without pyarrow."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise UserError('Parquet needs pyarrow: pip install "mcsr-bench[parquet]"') from None
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False)


def read_table(path: Path, text: Iterable[str] = ()) -> pd.DataFrame:
    """Read what `write_table` wrote; ``text``: columns of names, in which even "NA" or "007" is one. OSError, ValueError."""
    import pandas as pd

    return pd.read_csv(path, dtype=dict.fromkeys(text, str), keep_default_na=False, na_values=[""])


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

    What an interrupted or killed block left in the folder is still there the next time, so that work goes on where it stopped;
    any other error removes it. One process builds at a time: another one waits (``waiting`` is called) for the first. The lock is
    ``PARENT.locks/NAME.lock``, outside the folder that is moved and removed.
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
        except InterruptedWorkError:
            raise
        except Exception:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def cache_folder() -> Path:
    """Where prepared data live: $MCSR_BENCH_CACHE, else $XDG_CACHE_HOME/mcsr-bench, else ~/.cache/mcsr-bench."""
    own = os.environ.get("MCSR_BENCH_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mcsr-bench"
