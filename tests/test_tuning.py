"""Tuning by cross-validation: the same space for every method, folds by patient, and no look at the test patients."""

from __future__ import annotations

import builtins
import math
import shlex
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mcsr_bench import api
from mcsr_bench.cli.options import settings
from mcsr_bench.data.spec import DataSpec
from mcsr_bench.errors import UserError
from mcsr_bench.experiment import tune as tuning
from mcsr_bench.experiment.tune import TUNED, SearchSpec, tune
from mcsr_bench.plugin import registry
from mcsr_bench.plugin.loading import load_dataset
from mcsr_bench.protocol import MCSR_1
from mcsr_bench.system import files
from mcsr_bench.system.progress import Listener

TOYS = Path(__file__).parent / "toys"
SPACE = """
[tuning]
folds = 3
trials = 2

[tuning.space]
learning_rate = { low = 1e-4, high = 1e-1, log = true }
batch_size = { choices = [1, 2] }
"""


def plugins(folder: Path, poison: tuple[str, ...] = (), extra: str = SPACE) -> Path:
    """A copy of the toys, the network with a search space; reading a poisoned patient's images fails."""
    for name in ("toy", "toynet"):  # folders of another name, for a module is imported once by the name of its folder
        own = f"{name}_{zlib.crc32(str(folder).encode())}"
        shutil.copytree(TOYS / name, folder / own, ignore=shutil.ignore_patterns("__pycache__"))
    dataset, network = sorted(folder.iterdir())
    card = network / "card.toml"
    card.write_text(card.read_text("utf-8") + extra, encoding="utf-8")
    code = dataset / "__init__.py"
    text = code.read_text("utf-8")
    first = "        s = self.settings\n        if s.fault"
    assert text.count(first) == 1
    broken = f"        if case.patient_id in {poison!r}:\n            raise UserError('poison')\n"
    code.write_text(text.replace(first, broken + first), encoding="utf-8")
    return folder


def only(where: Path) -> None:
    """Make the plugins of one folder known, and those of no other: the copies have the same names."""
    for known in (registry.methods(), registry.datasets(), registry.reports()):
        known._extra, known._found = (), None
    registry.add_plugins(where)


def search(out: Path, where: Path, listener: Listener | None = None, **changes: Any) -> dict[str, Any]:
    only(where)
    given = changes.pop("settings", {})
    spec = SearchSpec(
        data=data_of(where, settings={name: given[name] for name in given if name != "toynet"}),
        method="toynet",
        settings=given.get("toynet", {}),
        **{"out": out, "jobs": 1, "preset": "smoke", **changes},
    )
    return tune(spec, listener)


def data_of(where: Path, scale: Any = 2, **changes: Any) -> DataSpec:
    return api.data_spec(["toy"], scale, plugins=where, **changes)


class Counting(Listener):
    def __init__(self) -> None:
        self.ended: list[str] = []
        self.planned: tuple[int, int] = (0, 0)
        self.warnings: list[str] = []

    def trials(self, total: int, finished: int) -> None:
        self.planned = total, finished

    def trial_ended(self, trial: str, status: str, detail: str) -> None:
        self.ended.append(trial)

    def warning(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCSR_BENCH_CACHE", str(cache))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[tuple[Path, dict[str, Any], set[str]]]:
    """A finished search, its result, and the dataset's test patients, whose images it could not have read."""
    folder = tmp_path_factory.mktemp("search")
    only(TOYS)
    toy = load_dataset("toy")
    split = toy.split(toy.cases(), MCSR_1)
    patient = {case.volume_id: case.patient_id for case in toy.cases()}
    tested = {patient[v] for v in split.test}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCSR_BENCH_CACHE", str(cache))
        where = plugins(folder / "plugins", tuple(sorted(tested)))
        yield folder, search(folder / "out", where), tested


def test_no_image_of_a_test_patient_is_read_or_scored(done: tuple[Path, dict[str, Any], set[str]]) -> None:
    folder, tuned, tested = done  # its plugins fail where a test patient's images are read
    assert len(tested) == 4
    assert tuned["patients"] == 6
    seen = set()
    for path in (folder / "out").glob("points/*/*/toy/x2/*/seed0"):
        lines = (path / "volumes.csv").read_text().splitlines()[1:]
        seen |= {line.split(",")[0] for line in lines}
    assert len(seen) == 6
    assert not seen & tested
    with pytest.raises(
        UserError, match="poison"
    ):  # the poison works: a test patient among the development ones is noticed
        search(folder / "poisoned", folder / "plugins", settings={"toy": {"seed": 1}})


def test_every_development_patient_is_held_out_once_per_point(done: tuple[Path, dict[str, Any], set[str]]) -> None:
    folder, tuned, tested = done
    everybody = {f"p{i:02d}" for i in range(10)}
    for number in range(2):
        held: list[str] = []
        for fold in (1, 2, 3):
            path = folder / "out" / "points" / f"{number:03d}" / f"fold{fold}"
            [table] = path.rglob("volumes.csv")
            held += [line.split(",")[0] for line in table.read_text().splitlines()[1:]]
            record = files.read_json(table.parent / "trial.json")
            assert record["data"]["patients"] == {"train": 2, "validation": 2, "test": 2}
            assert record["settings"]["learning_rate"] == tuned["points"][number]["values"]["learning_rate"]
            assert record["settings"]["batch_size"] == tuned["points"][number]["values"]["batch_size"]
        assert sorted(held) == sorted(everybody - tested)


def test_the_score_is_the_mean_over_folds_of_the_patients_psnr(done: tuple[Path, dict[str, Any], set[str]]) -> None:
    folder, tuned, _ = done
    only(TOYS)
    toy = load_dataset("toy")
    cases = {case.volume_id: case for case in toy.cases()}
    for point in tuned["points"]:
        folds = []
        for fold in (1, 2, 3):
            [path] = (folder / "out" / "points" / f"{point['number']:03d}" / f"fold{fold}").rglob("predictions.h5")
            values = []
            with h5py.File(path) as file:
                for volume_id, group in file.items():
                    truth = np.abs(np.stack([t for t, _ in toy.read(cases[volume_id])]).astype(np.complex128))
                    error = np.mean((np.abs(group["target"][...].astype(np.complex128)) - truth) ** 2)
                    values.append(10 * np.log10(truth.max() ** 2 / error))
            folds.append(np.mean(values))  # one volume per patient
        assert point["folds"] == pytest.approx(folds, abs=1e-5)
        assert point["score"] == pytest.approx(np.mean(folds), abs=1e-5)
    scores = [point["score"] for point in tuned["points"]]
    assert tuned["best"]["number"] == int(np.argmax(scores))
    assert tuned["best"]["values"] == tuned["points"][tuned["best"]["number"]]["values"]
    assert 1e-4 <= tuned["best"]["values"]["learning_rate"] <= 1e-1
    assert tuned["best"]["values"]["batch_size"] in (1, 2)


@pytest.mark.usefixtures("workers")
def test_a_search_goes_on_where_it_stopped_and_asks_for_the_same_points(
    done: tuple[Path, dict[str, Any], set[str]], tmp_path: Path
) -> None:
    folder, tuned, _ = done
    assert files.read_json(folder / "out" / TUNED) == tuned
    shutil.copytree(folder / "out", tmp_path / "out")
    where = folder / "plugins"
    counting = Counting()
    assert search(tmp_path / "out", where, counting) == tuned
    assert counting.ended == []
    assert counting.planned == (6, 6)
    (tmp_path / "out" / TUNED).unlink()
    shutil.rmtree(tmp_path / "out" / "points" / "001" / "fold2")
    counting = Counting()
    assert search(tmp_path / "out", where, counting) == tuned
    assert counting.ended == ["toy x2 toynet (001-fold2) seed 0"]
    # more trials go on with the same first points
    counting = Counting()
    more = search(tmp_path / "out", where, counting, trials=3)
    assert more["points"][:2] == tuned["points"]
    assert len(counting.ended) == 3
    with pytest.raises(UserError, match="holds a search with another folds, fold_rules, split_hashes; choose another"):
        search(tmp_path / "out", where, folds=4)
    with pytest.raises(UserError, match="another held"):
        search(tmp_path / "out", where, settings={"toynet": {"width": 2}})


def test_damaged_scores_of_a_fold_are_computed_again(
    done: tuple[Path, dict[str, Any], set[str]], tmp_path: Path
) -> None:
    folder, tuned, _ = done
    shutil.copytree(folder / "out", tmp_path / "out")
    [one] = (tmp_path / "out" / "points" / "000" / "fold1").rglob("volumes.csv")
    [two] = (tmp_path / "out" / "points" / "001" / "fold2").rglob("trial.json")
    one.write_bytes(b"".join(one.read_bytes().splitlines(keepends=True)[:-1]))  # a row less
    two.write_bytes(b"")
    counting = Counting()
    assert search(tmp_path / "out", folder / "plugins", counting) == tuned
    assert counting.ended == ["toy x2 toynet (000-fold1) seed 0", "toy x2 toynet (001-fold2) seed 0"]
    assert [str(path) in said for path, said in zip((one, two), counting.warnings, strict=True)] == [True, True]


def test_a_point_whose_trial_fails_has_no_score_and_the_search_goes_on(tmp_path: Path) -> None:
    where = plugins(
        tmp_path / "plugins",
        extra='[tuning]\nfolds = 3\ntrials = 2\n[tuning.space]\nfault = { choices = ["", "raise"] }\n',
    )
    tuned = search(tmp_path / "out", where, trials=4)
    faults = [point["values"]["fault"] for point in tuned["points"]]
    assert set(faults) == {"", "raise"}
    for point in tuned["points"]:
        assert (point["score"] is None) == (point["values"]["fault"] == "raise")
        assert ("fails on purpose" in point["reason"]) == (point["score"] is None)
    assert tuned["best"]["values"] == {"fault": ""}
    assert tuned["set"] == ["toynet.fault="]


def test_a_search_in_which_everything_fails_is_recorded_and_ends_with_1(
    here: Callable[..., Any], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCSR_BENCH_CACHE", str(cache))
    failing = '[tuning]\nfolds = 3\ntrials = 1\n[tuning.space]\nfault = { choices = ["raise", "nan"] }\n'
    where = plugins(tmp_path / "plugins", extra=failing)
    only(where)
    usual = (
        "--method",
        "toynet",
        "--dataset",
        "toy",
        "--scale",
        2,
        "--preset",
        "smoke",
        "--jobs",
        1,
        "--plugins",
        where,
    )
    done = here("tune", *usual, "--to", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.endswith("no point has a score: in each a trial failed\n")
    assert "best:" not in done.stdout
    tuned = files.read_json(tmp_path / "out" / TUNED)
    assert (tuned["best"], tuned["set"]) == (None, [])
    assert tuned["points"][0]["reason"]
    assert tuned["points"][0]["reason"] in done.stdout


def test_what_cannot_be_searched_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = plugins(tmp_path / "plugins")
    out = tmp_path / "out"

    def refused(sentence: str, **changes: Any) -> None:
        with pytest.raises(UserError, match=sentence):
            search(out, where, **changes)
        assert not out.exists()

    refused("--folds 2: 3 or more", folds=2)
    refused("--trials 0: 1 or more", trials=0)
    refused(r"--folds 7: between 3 and the number of patients \(6\)", folds=7)
    refused("--set toynet.learning_rate: is what tune searches", settings={"toynet": {"learning_rate": 1}})
    refused("allowed are auto, cpu, cuda", device="gpu")
    with pytest.raises(UserError, match="--scale 2,4: tune takes one"):
        tune(SearchSpec(data=data_of(where, [2, 4]), method="toynet", out=out, preset="smoke"))
    with pytest.raises(UserError, match=r"its card has no \[tuning\], so there is nothing to tune"):
        tune(SearchSpec(data=data_of(where), method="zerofill", out=out, preset="smoke"))
    out.mkdir()
    (out / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="is not the folder of a search"):
        search(out, where)
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "optuna":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r'pip install "mcsr-bench\[tune\]"'):
        search(out, where)


def test_a_space_with_an_impossible_value_is_refused_before_training(tmp_path: Path) -> None:
    bad = SPACE.replace("choices = [1, 2]", "choices = [0, 2]")
    with pytest.raises(UserError, match="batch_size"):
        search(tmp_path / "out", plugins(tmp_path / "plugins", extra=bad))
    assert not (tmp_path / "out").exists()


def test_a_range_of_numbers_for_a_setting_of_whole_ones_is_refused_before_training(tmp_path: Path) -> None:
    bad = SPACE.replace("choices = [1, 2]", "low = 1, high = 8")
    with pytest.raises(UserError, match=r"the card of toynet lets tune try batch_size = 5\.9.*valid integer"):
        search(tmp_path / "out", plugins(tmp_path / "plugins", extra=bad))
    assert not (tmp_path / "out").exists()


def test_what_the_command_prints_can_be_pasted_whatever_the_values(
    here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"word": "two words; $(rm) 'x'", "rate": 1.2345678901234567e-05}
    found = {
        **dict.fromkeys(("method", "dataset", "scale", "preset", "protocol", "folds", "patients", "trials", "seed"), 1),
        "space": values,
        "marks": ["slices were left out"],
        "points": [{"number": 0, "values": values, "score": 1.0, "reason": ""}],
        "best": {"number": 0, "values": values, "score": 1.0},
        "set": [f"m.{name}={value}" for name, value in values.items()],
    }
    monkeypatch.setattr(tuning, "tune", lambda *_: found)
    *_, mark, last = here("tune", "--method", "m").stdout.splitlines()
    assert mark == "1: slices were left out"
    words = shlex.split(last.partition(" dB: ")[2])
    read = settings(words[1::2])["m"]
    assert words[::2] == ["--set", "--set"]
    assert (read["word"], float(read["rate"])) == tuple(values.values())


def test_the_command_prints_the_points_and_how_to_use_the_best(
    here: Callable[..., Any], done: tuple[Path, dict[str, Any], set[str]], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCSR_BENCH_CACHE", str(cache))
    folder, tuned, _ = done
    only(folder / "plugins")
    arguments = ("--method", "toynet", "--dataset", "toy", "--scale", 2, "--preset", "smoke", "--jobs", 2)
    called = here("tune", *arguments, "--plugins", folder / "plugins", "--to", folder / "out")
    assert called.returncode == 0, called.stderr
    best = tuned["best"]
    rate, size = best["values"]["learning_rate"], best["values"]["batch_size"]
    last = f"best: point {best['number']:03d}, {best['score']:.3f} dB: "
    assert (
        called.stdout.splitlines()[-1] == last + f"--set toynet.learning_rate={rate!r} --set toynet.batch_size={size}"
    )
    assert called.stdout.count("\n") >= 5
    assert "6 of 6 trials are there from an earlier run" in called.stderr


def test_later_points_are_better_for_what_earlier_ones_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scored(_: object, number: int, values: dict[str, Any], __: Listener) -> dict[str, Any]:
        off = abs(math.log10(values["learning_rate"]) + 2)  # best at 1e-2
        return {"number": number, "values": values, "folds": [], "score": 30 - off, "reason": ""}

    monkeypatch.setattr(tuning, "_try", scored)
    found = search(tmp_path / "out", plugins(tmp_path / "plugins"), trials=40)
    off = [30 - point["score"] for point in found["points"]]
    assert np.mean(off[-10:]) < 0.75 * np.mean(off[:10])  # the first ten are drawn blindly; a search told nothing: 1.2
    assert min(off) < 0.02
    assert found["best"]["score"] == 30 - min(off)
