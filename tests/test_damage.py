"""Whatever a trial or a store left on disk, spoilt in whatever way: each command does what the table says, without a traceback.

Damage that `run` meets is mended, and the scores are the sound ones again, to the last digit.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

import mcsr_bench as mb
from mcsr_bench.api import experiment_spec
from mcsr_bench.data import store as stores
from mcsr_bench.errors import DamagedFileError, UserError
from mcsr_bench.experiment import trial
from mcsr_bench.experiment.run import run_experiment
from mcsr_bench.plugin.registry import scoped_plugins
from mcsr_bench.results.bundle import Bundle, BundleFiles
from mcsr_bench.roles import ROLES
from mcsr_bench.system import digests, files
from mcsr_bench.system.progress import Listener
from mcsr_bench.weights.tensors import load_tensors, save_tensors

TOYS = Path(__file__).parent / "toys"
ASKED: dict[str, Any] = {
    "methods": ["zerofill", "toynet"],
    "dataset": "toy",
    "scale": 2,
    "preset": "quick",
    "seeds": [0, 1],
    "settings": {"toynet": {"budget": 6}},
    "plugins": TOYS,
    "jobs": 1,
}


class Told(Listener):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warning(self, message: str) -> None:
        self.said.append(message)


@dataclass
class Sound:
    """A run that was stressed, whole, and its scores."""

    root: Path
    scores: pd.DataFrame

    def copy(self, to: Path) -> Path:
        return Path(shutil.copytree(self.root / "r", to / "r"))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sound]:
    root = tmp_path_factory.mktemp("damage")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCSR_BENCH_CACHE", str(root / "cache"))
        patch.setattr(Figure, "savefig", lambda *_, **__: None)  # what is drawn is another test's
        scores = again(root / "r")
        mb.stress(root / "r", plugins=TOYS, jobs=1)
        yield Sound(root, scores)


def place(run: Path, seed: int = 0, method: str = "toynet") -> BundleFiles:
    [folder] = run.glob(f"toy/x2/{method}*/seed{seed}")
    return BundleFiles(folder)


def missing(path: Path, _: Path) -> None:
    path.unlink()


def empty(path: Path, _: Path) -> None:
    path.write_bytes(b"")


def half(path: Path, _: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def flipped(path: Path, _: Path) -> None:
    """One bit: of the last digit of a CSV, of a tensor, in the middle of HDF5; of JSON the first brace."""
    data = bytearray(path.read_bytes())
    position = {".csv": -2, ".safetensors": -5, ".h5": len(data) // 2, ".npy": -7, ".json": 0}[path.suffix]
    data[position] ^= 1
    path.write_bytes(data)


def swapped(path: Path, other: Path) -> None:
    shutil.copy(other, path)


# Of a file and damage: load_results, stress, predict --from. "ok"; "no": one sentence; "out": one sentence, and the rest goes on.
TABLE: list[tuple[str, tuple[Callable[..., None], ...], tuple[str, str, str]]] = [
    ("trial", (empty, half, flipped, swapped), ("no", "out", "no")),
    ("trial", (missing,), ("ok", "ok", "ok")),
    ("volumes", (missing, empty, half, flipped, swapped), ("no", "out", "ok")),
    ("weights", (missing, empty, half, flipped, swapped), ("ok", "out", "no")),
    ("slices", (missing, flipped), ("ok", "ok", "ok")),
    ("training_log", (flipped,), ("ok", "ok", "ok")),
    ("predictions", (missing, half), ("ok", "ok", "ok")),
    ("stress", (missing, empty, half, swapped), ("ok", "ok", "ok")),
]
CASES = [(file, damage, outcomes) for file, damages, outcomes in TABLE for damage in damages]
LATER = ("slices", "training_log", "predictions")
"""Neither loading, stress nor predicting opens them."""


@pytest.mark.parametrize(("file", "damage", "outcomes"), CASES, ids=[f"{f}-{d.__name__}" for f, d, _ in CASES])
def test_reading(sound: Sound, tmp_path: Path, file: str, damage: Any, outcomes: tuple[str, ...]) -> None:
    run = sound.copy(tmp_path)
    path = getattr(place(run), file)
    damage(path, getattr(place(run, 1), file))
    load, stress, predict = outcomes
    if load == "no":
        with pytest.raises(DamagedFileError, match=path.name):
            mb.load_results(run)
    else:
        found = mb.load_results(run)
        assert len(found.trials) == (3 if (file, damage) == ("trial", missing) else 4)
        if file == "slices":
            with pytest.raises(DamagedFileError, match=path.name):
                len(found.slices)
    # Of a good bundle the sentence is about the volume, which is not there.
    expected = "target.h5" if predict == "ok" else path.name if damage is not swapped else "weights"
    with pytest.raises(UserError, match=expected):
        mb.predict(path.parent, tmp_path / "target.h5", tmp_path / "sr.h5", tmp_path / "auxiliary.h5", plugins=TOYS)
    if file in LATER:
        return
    table, failed = mb.stress(run, plugins=TOYS, jobs=1)
    assert [str(path) in sentence and "left out" in sentence for sentence in failed] == [True] * (stress == "out")
    assert len(table.rows) == 1


def test_a_report_of_tables_leaves_out_what_is_damaged_says_so_and_ends_with_1(
    sound: Sound, tmp_path: Path, here: Callable[..., Any]
) -> None:
    run = sound.copy(tmp_path)
    spoilt = [place(run, 1).trial, place(run, 1, "zerofill").volumes, place(run).stress]
    for path, damage in zip(spoilt, (empty, flipped, half), strict=True):
        damage(path, path)
    out = here("report", run, "--to", tmp_path / "to", "--formats", "md")
    assert out.returncode == 1
    assert out.stdout.count("zerofill") > 0
    lines = (tmp_path / "to" / "report.md").read_text(encoding="utf-8").splitlines()
    left = [line for line in lines if "Left out: " in line]
    assert len(left) == len(spoilt)
    assert not any("toynet" in line for line in lines if line not in left)
    said = [line for line in out.stderr.splitlines() if line.startswith("warning: ")]
    assert len(said) == len(spoilt)
    for path in spoilt:
        assert any(str(path) in line and line.endswith("the trial is left out of the report") for line in said)
    flipped(place(run, 0, "zerofill").volumes, run)  # the last one
    out = here("report", run, "--to", tmp_path / "to", "--formats", "md")
    assert out.returncode == 1
    assert out.stderr.splitlines()[-1].startswith("mcsr-bench: ")


@pytest.mark.usefixtures("pictures")
def test_a_report_with_pictures_too(sound: Sound, tmp_path: Path) -> None:
    run = sound.copy(tmp_path)
    spoilt = [place(run).slices, place(run, 1).training_log, place(run, 0, "zerofill").predictions]
    for path, damage in zip(spoilt, (missing, flipped, flipped), strict=True):
        damage(path, path)
    told = Told()
    mb.report(run, tmp_path / "to", formats="html", listener=told)
    assert len(told.said) == len(spoilt)
    assert all(any(str(path) in line for line in told.said) for path in spoilt)


@pytest.mark.parametrize("damage", [empty, half, flipped])
def test_a_damaged_experiment_is_refused_in_a_sentence(sound: Sound, tmp_path: Path, damage: Any) -> None:
    run = sound.copy(tmp_path)
    damage(run / "experiment.json", run)
    for call in (lambda: mb.report(run, tmp_path / "to"), lambda: mb.stress(run), lambda: again(run)):
        with pytest.raises(UserError, match=r"experiment\.json: not a readable experiment"):
            call()


def again(run: Path, told: Told | None = None, **changes: Any) -> pd.DataFrame:
    """The scores after the same command, without its report."""
    spec = experiment_spec(**(ASKED | {"out": run} | changes))
    with scoped_plugins(TOYS):
        results, records = run_experiment(spec, told or Told())
    assert {record.status for record in records} == {"done"}
    return results.volumes


REDONE = [
    *(("trial", damage) for damage in (missing, empty, flipped, swapped)),
    *(("volumes", damage) for damage in (missing, empty, flipped, swapped)),
]


@pytest.mark.parametrize(("file", "damage"), REDONE, ids=[f"{f}-{d.__name__}" for f, d in REDONE])
def test_the_same_command_again_mends_what_it_meets(sound: Sound, tmp_path: Path, file: str, damage: Any) -> None:
    run, told = sound.copy(tmp_path), Told()
    path = getattr(place(run), file)
    damage(path, getattr(place(run, 1), file))
    pd.testing.assert_frame_equal(again(run, told), sound.scores)
    assert [str(path) in said and "set aside" in said for said in told.said] == [True] * ((file, damage) != REDONE[0])
    assert path.with_name(f"{path.name}.damaged").is_file() == (damage is not missing)
    told.said.clear()
    pd.testing.assert_frame_equal(again(run, told), sound.scores)
    assert told.said == []


@pytest.mark.usefixtures("pictures")
def test_what_the_report_of_a_run_meets_is_mended_too(sound: Sound, tmp_path: Path) -> None:
    run, told = sound.copy(tmp_path), Told()
    flipped(place(run).predictions, run)
    missing(place(run, 0, "zerofill").slices, run)
    flipped(place(run, 1).volumes, run)
    results = mb.run(**{**ASKED, "seeds": 0}, out=run, listener=told)  # seed 1 is not this command's
    assert [record.status for record in results.asked] == ["done", "done"]
    assert sum("set aside" in said for said in told.said) == 2
    assert sum("left out" in said and str(place(run, 1).volumes) in said for said in told.said) == 1
    mended = sound.scores[(sound.scores["method"] == "zerofill") | (sound.scores["seed"] == 0)]
    pd.testing.assert_frame_equal(results.volumes, mended.reset_index(drop=True))
    for path in (place(run).predictions, place(run, 0, "zerofill").slices):
        assert Bundle(path.parent, BundleFiles(path.parent).read_record()).checked(path) == path


def unfinished(run: Path) -> BundleFiles:
    """The trial as if it had been killed before it scored."""
    found = place(run)
    record = found.read_record()
    record.status = "running"
    for path in (found.volumes, found.slices):
        del record.files[path.name]
        path.unlink()
    Bundle(found.folder, record).write()
    return found


STAGES = [
    *(("weights", damage) for damage in (empty, flipped, swapped)),
    *(("predictions", damage) for damage in (missing, half, swapped)),
    ("training_log", flipped),
]


@pytest.mark.parametrize(("file", "damage"), STAGES, ids=[f"{f}-{d.__name__}" for f, d in STAGES])
def test_a_resumed_trial_trusts_no_damaged_stage(sound: Sound, tmp_path: Path, file: str, damage: Any) -> None:
    run, told = sound.copy(tmp_path), Told()
    there = unfinished(run)
    path, predicted = getattr(there, file), there.predictions.stat()
    damage(path, getattr(place(run, 1), file))
    pd.testing.assert_frame_equal(again(run, told), sound.scores)
    assert there.predictions.stat().st_mtime_ns != predicted.st_mtime_ns  # they may be of the damaged weights
    assert [str(path) in said and "set aside" in said for said in told.said] == [True] * (damage is not missing)
    assert path.is_file()
    assert path.with_name(f"{path.name}.damaged").is_file() == (damage is not missing)


def other_weights(run: Path, key: str) -> None:
    """Weights of equal shape, with a sound checksum of their own."""
    tensors, info = load_tensors(place(run).weights)
    info["key"] = key or info["key"]
    save_tensors(place(run).weights, {name: value + 0.1 for name, value in tensors.items()}, info)


@pytest.mark.parametrize(
    ("record", "key"), [("kept", ""), ("lost", ""), ("lost", "0123456789abcdef"), ("of another key", "")]
)
def test_weights_that_were_put_there_are_not_the_trials(sound: Sound, tmp_path: Path, record: str, key: str) -> None:
    run = sound.copy(tmp_path)
    there = unfinished(run)
    there.predictions.unlink()
    other_weights(run, key)
    if record == "lost":
        there.trial.unlink()
    elif record == "of another key":
        files.write_json(there.trial, files.read_json(there.trial) | {"key": "fedcba9876543210"})
    pd.testing.assert_frame_equal(again(run), sound.scores)


@pytest.mark.parametrize("damage", [half, flipped, swapped])
def test_a_damaged_checkpoint_is_not_resumed(sound: Sound, tmp_path: Path, damage: Any) -> None:
    run, told = sound.copy(tmp_path), Told()
    there = unfinished(run)
    there.weights.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial, "save_weights", interrupted)  # at the end of the training
        with pytest.raises(KeyboardInterrupt):
            again(run)
    assert there.checkpoint.is_file()
    tensors, info = load_tensors(there.checkpoint)
    save_tensors(tmp_path / "other.safetensors", tensors, info | {"key": "of another trial"})
    damage(there.checkpoint, tmp_path / "other.safetensors")
    pd.testing.assert_frame_equal(again(run, told), sound.scores)
    assert ["checkpoint" in said and "begins again" in said for said in told.said] == [True] * (damage is not swapped)


def interrupted(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_a_kill_while_fresh_removes_leaves_nothing_of_before(sound: Sound, tmp_path: Path) -> None:
    run = sound.copy(tmp_path)
    other_weights(run, "")  # what must not be used
    there = place(run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files.shutil, "rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            again(run, fresh=True, seeds=0, methods="toynet")
    assert not there.folder.exists()
    assert [path.name.startswith(".seed0.") for path in there.folder.parent.iterdir()].count(True) == 1
    pd.testing.assert_frame_equal(again(run), sound.scores)
    assert sorted(path.name for path in there.folder.parent.iterdir()) == ["seed0", "seed1"]


@pytest.mark.parametrize("file", ["weights", "predictions"])
def test_a_kill_between_the_hash_and_the_file_leaves_a_stage_that_runs_again(
    sound: Sound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    run = sound.copy(tmp_path)
    path = getattr(place(run), file)
    move = files.os.replace

    def killed(source: Any, target: Any) -> None:
        if Path(target) == path:
            raise KeyboardInterrupt
        move(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            again(run, fresh=True, seeds=0, methods="toynet")
    assert path.name in place(run).read_record().files
    assert not path.exists()
    pd.testing.assert_frame_equal(again(run), sound.scores)


@pytest.mark.parametrize("part", ["hr", "lr"])
@pytest.mark.parametrize(("file", "damage"), [("volume", flipped), ("volume", swapped), ("index", flipped)])
def test_a_damaged_store_is_built_again(sound: Sound, tmp_path: Path, part: str, file: str, damage: Any) -> None:
    run, told = sound.copy(tmp_path), Told()
    store = stores.open_store(place(run).read_record().data.store)
    volume = store.volumes[sound.scores["volume_id"][0]]
    folder: Path = getattr(volume, f"{part}_folder")
    whole = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    target, auxiliary = (folder / role / f"{volume.position:05d}.npy" for role in ROLES)
    damage(target if file == "volume" else folder / "index.json", auxiliary)
    with pytest.raises(UserError, match=r"damaged: run the experiment again"):
        mb.stress(run, plugins=TOYS, jobs=1)
    pd.testing.assert_frame_equal(again(run, told), sound.scores)
    assert told.said == [f"the prepared data {folder} are damaged: they are built again"]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == whole


def test_one_changed_number_of_the_index_is_noticed(sound: Sound) -> None:
    key = place(sound.root / "r").read_record().data.store
    [path] = sound.root.glob(f"cache/stores/{key}/index.json")
    text = path.read_text()
    path.write_text(text.replace('"scale": 2', '"scale": 3'))
    with pytest.raises(UserError, match="or damaged: run the experiment again"):
        stores.open_store(key)
    path.write_text(text)


def test_a_volume_is_hashed_once_per_process(sound: Sound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = sound.copy(tmp_path)
    again(run)
    hashed: list[Path] = []
    digest = digests.file_digest

    def counting(path: Path) -> str:
        hashed.append(path)
        return digest(path)

    monkeypatch.setattr(digests, "file_digest", counting)
    again(run)
    assert hashed == []
    monkeypatch.setattr(digests, "_read", {})
    again(run)
    names = [path.name for path in hashed]
    assert names.count("volumes.csv") == 4
    assert {path.suffix for path in hashed} == {
        ".csv",
        ".npy",
    }  # a finished trial is known by its record: nothing else is read
    assert len(set(hashed)) == len(hashed)
