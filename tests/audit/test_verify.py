"""`verify`: what was not written is named, and what was scored follows from what was predicted."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import pandas as pd
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import mcsr_bench as mb
from mcsr_bench.data.store import open_store
from mcsr_bench.experiment.asking import experiment_spec
from mcsr_bench.experiment.run import run_experiment
from mcsr_bench.plugin.registry import scoped_plugins
from mcsr_bench.results.bundle import BundleFiles
from mcsr_bench.results.identity import trial_key
from mcsr_bench.system import files, frames
from mcsr_bench.system.progress import Listener

TOYS = Path(__file__).parents[1] / "toys"
SEVERAL = ("zerofill", "toynet")
SMALL = {"toy": {"patients": 6}}


@dataclass(frozen=True)
class Made:
    """A run that nobody may change."""

    root: Path

    def copy(self, to: Path, *methods: str) -> Path:
        """The run's folder with some of its bundles, copied."""
        others = shutil.ignore_patterns("report", *(name for name in SEVERAL if name not in methods))
        return Path(shutil.copytree(self.root / "r", to / "r", ignore=others))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCSR_BENCH_CACHE", str(root / "cache"))
        ran(SEVERAL, root / "r")
        yield Made(root)


@pytest.fixture
def run(made: Made, tmp_path: Path) -> Path:
    """With the bundle of toynet alone."""
    return made.copy(tmp_path, "toynet")


@pytest.fixture
def plain(made: Made, tmp_path: Path) -> Path:
    """With the bundle of zerofill alone: no weights carry its key."""
    return made.copy(tmp_path, "zerofill")


@pytest.fixture
def both(made: Made, tmp_path: Path) -> Path:
    return made.copy(tmp_path, *SEVERAL)


def place(run: Path, method: str = "toynet") -> BundleFiles:
    [folder] = run.glob(f"toy*/x2/{method}/seed0")
    return BundleFiles(folder)


def ran(methods: str | Sequence[str], out: Path, **changes: Any) -> None:
    """`mb.run` at preset smoke without the report, which takes longer than all else."""
    standard: dict[str, Any] = {"settings": SMALL, "plugins": TOYS, "dataset": "toy"}
    spec = experiment_spec(methods, scale=2, preset="smoke", out=out, jobs=1, **standard | changes)
    with scoped_plugins(spec.data.plugins):
        run_experiment(spec)


def verified(run: Path, **changes: Any) -> dict[str, tuple[str, str]]:
    """Outcome and reasons by method."""
    found = mb.verify(run, plugins=TOYS, jobs=1, **changes)
    return {v.folder.parent.name: (v.outcome, "; ".join(v.reasons)) for v in found}


def failed(run: Path, method: str = "toynet") -> str:
    """Why a method's bundle fails, and no other one does."""
    found = verified(run)
    assert {name for name, (outcome, _) in found.items() if outcome != "verified"} == {method}
    assert found[method][0] == "failed"
    return found[method][1]


def flip(path: Path, where: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * where)] ^= 1
    path.write_bytes(data)


def forge(place: BundleFiles, change: Callable[[dict[str, Any]], object] = lambda record: None) -> None:
    """Change a record, and let it hold the hashes and the key of what is there: a forger who knows the files."""
    values = files.read_json(place.trial)
    change(values)
    values["files"] = {name: files.file_digest(place.folder / name) for name in values["files"]}
    files.write_json(place.trial, values)
    record = place.read_record()
    assert record is not None
    code = (record.code, record.data.code)
    values["key"] = trial_key(record, code=code, revision=record.card["revision"], batches=1)
    files.write_json(place.trial, values)


def rescore(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame | None]) -> None:
    table = pd.read_csv(path)
    made = change(table)
    frames.write_csv(path, table if made is None else made)


def test_a_run_as_it_was_written_is_verified(both):
    said = "scores agree within 1e-06, on the same prepared data"
    assert verified(both) == {"toynet": ("verified", said), "zerofill": ("verified", said)}


def test_generated_data_are_made_again_where_there_are_none(run, own_cache):
    assert not own_cache.exists()
    assert {outcome for outcome, _ in verified(run).values()} == {"verified"}
    assert any(own_cache.rglob("*.npy"))


@pytest.mark.parametrize("name", ["predictions", "weights", "training_log", "volumes", "slices"])
@pytest.mark.parametrize("where", [0, 0.7])
def test_a_flipped_byte_is_named(run, name, where):
    path = getattr(place(run), name)
    flip(path, where)
    assert failed(run).startswith(f"{path}: is damaged or another file's (SHA-256 ")


def test_a_missing_file_is_named(both):
    place(both).predictions.unlink()
    assert failed(both) == f"{place(both).predictions}: is missing, and trial.json says that it was written"


@pytest.mark.parametrize("part", ["hr_folder", "lr_folder"])
def test_a_flipped_byte_of_the_store_is_named(made, run, tmp_path, monkeypatch, part):
    monkeypatch.setenv("MCSR_BENCH_CACHE", str(shutil.copytree(made.root / "cache", tmp_path / "cache")))
    store = open_store(place(run).read_record().data.store)
    volume = next(iter(store.volumes.values()))
    path = getattr(volume, part) / "target" / f"{volume.position:05d}.npy"
    flip(path)
    for outcome, reason in verified(run).values():
        assert outcome == "failed"
        assert f"{path} are damaged" in reason


@pytest.mark.parametrize("metric", ["psnr@volume-max", "ssim@roi", "psnr@high/zerofill"])
def test_one_score_changed_by_hand_fails_even_with_a_forged_hash(run, metric):
    here = place(run)
    table = pd.read_csv(here.volumes)
    before, volume = table.loc[1, metric], table.loc[1, "volume_id"]
    table.loc[1, metric] *= 1.00001
    frames.write_csv(here.volumes, table)
    assert failed(run).startswith(f"{here.volumes}: is damaged")
    forge(here)
    said = failed(run)
    assert said.startswith(f"{here.volumes}: {metric} of volume {volume} (target) is {table.loc[1, metric]:.10g}")
    assert said.endswith(f"and the predictions give {before:.10g}")


def test_a_slices_score_too(run):
    rescore(place(run).slices, lambda table: table.__setitem__("hfen", table["hfen"] * 0.9))
    forge(place(run))
    said = failed(run)
    assert "slices.csv: hfen of slice 0 of volume " in said
    assert said.endswith(f"(and {len(pd.read_csv(place(run).slices)) - 1} more)")


def test_text_in_place_of_a_score_fails(run):
    rescore(place(run).volumes, lambda table: table.assign(hfen="good"))
    forge(place(run))
    assert failed(run) == f"{place(run).volumes}: hfen holds something other than numbers"


def test_predictions_of_another_image_fail(run):
    with h5py.File(place(run).predictions, "r+") as file:
        images = next(iter(file.values()))["target"]
        images[...] = images[...] * 0.99
    forge(place(run))
    assert "psnr@volume-max of volume" in failed(run)


def test_a_prediction_of_another_shape_fails(run):
    with h5py.File(place(run).predictions, "r+") as file:
        group = next(iter(file.values()))
        small = group["target"][:, :-2]
        del group["target"]
        group["target"] = small
    forge(place(run))
    assert "predictions.h5: cannot be scored: prediction (2, 30, 32) and reference (2, 32, 32)" in failed(run)


def test_a_hard_patient_cannot_be_left_out(run):
    here = place(run)
    worst = pd.read_csv(here.volumes).sort_values("psnr@volume-max")["volume_id"].iloc[0]
    for path in (here.volumes, here.slices):
        rescore(path, lambda table: table[table["volume_id"] != worst])
    forge(here)
    assert (
        failed(run)
        == f"{here.volumes}: lacks volume {worst} (target); {here.slices}: lacks slice 0 of volume {worst} (target)"
    )
    with h5py.File(here.predictions, "r+") as file:
        del file[worst]
    forge(here)
    assert failed(run) == f"{here.predictions}: lacks volume {worst}, and the split tests 2 volumes"


def test_scores_under_another_patients_name_fail(run):
    for path in (place(run).volumes, place(run).slices):
        rescore(path, lambda table: table.assign(patient_id="p99"))
    forge(place(run))
    assert "patient_id of volume" in failed(run)
    assert "is p99, and the data say p0" in failed(run)


def test_weights_of_another_trial_are_named(run):
    path = place(run).weights
    with safe_open(path, framework="numpy") as handle:
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        info = json.loads(handle.metadata()["mcsr-bench"])
    save_file(tensors, path, metadata={"mcsr-bench": json.dumps(info | {"key": "0" * 16})})
    forge(place(run))
    assert failed(run) == f"{path}: holds the weights of another trial"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r.update(seed=0, scale=2, settings={**r["settings"], "width": 64}), "has the key"),
        (lambda r: r["data"].update(split_hash="0" * 12), "has the key"),
        (lambda r: r.update(card={}), "has no card of toynet with its revision"),
        (lambda r: r["card"].pop("revision"), "has no card of toynet with its revision"),
        (lambda r: r["files"].pop("predictions.h5"), "has no hash of predictions.h5"),
        (lambda r: r["files"].pop("weights.safetensors"), "has no hash of weights.safetensors"),
        (lambda r: r["files"].update({"../../zerofill/seed0/volumes.csv": "0"}), "which is not a file of a trial"),
        (lambda r: r.update(status="failed", reason="it broke"), "is not finished (failed: it broke)"),
        (lambda r: r.update(host=3), "not a readable trial record"),
        (lambda r: r["settings"].update(width="NOT A NUMBER"), "NaN is not a finite number"),
    ],
)
def test_a_record_changed_by_hand_fails(run, change, said):
    values = files.read_json(place(run).trial)
    change(values)
    text = json.dumps(values).replace('"NOT A NUMBER"', "NaN")
    place(run).trial.write_text(text)
    assert said in failed(run)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r["data"].update(fingerprint="f" * 64), f"fingerprint of the data: the record says {'f' * 64}"),
        (lambda r: r["data"].update(split_hash="0" * 12), "split of the data: the record says 000000000000"),
        (lambda r: r["data"].update(code="0"), "code of the data: the record says 0"),
        (lambda r: r["data"].update(patients={"train": 400, "validation": 2, "test": 2}), "patients of the data"),
        (lambda r: r["data"].update(real=True), "real of the data: the record says True"),
        (lambda r: r["data"].update(revisions={"dataset": 9}), "revisions of the data"),
        (lambda r: r["data"].update(preparation={"store_dtype": "int3"}), "--store-dtype int3: allowed are"),
        (lambda r: r.update(protocol_hash="0" * 12), "protocol mcsr-1 is d488504d0776 in this version"),
        (lambda r: r.update(metrics={}), "names no metric by a revision that this version computes"),
        (lambda r: r["dataset_settings"].update(patients=-1, colour="red"), "toy"),
        (lambda r: r["dataset_settings"].update(size=-1), "of the data: the record says"),
    ],
)
def test_a_forged_record_fails_where_the_data_are_others(plain, change, said):
    """The forger also wrote the key that belongs to the changed record, and gave the weights that key."""
    here = place(plain, "zerofill")
    forge(here, change)
    with h5py.File(here.predictions, "r+") as file:
        file.attrs["key"] = files.read_json(here.trial)["key"]
    forge(here)
    assert said in failed(plain, "zerofill")


def test_a_bundle_in_another_trials_place_fails(both):
    folder = place(both).folder
    shutil.rmtree(folder)
    shutil.copytree(place(both, "zerofill").folder, folder)
    assert "is the record of another trial (toy (patients=6) x2 zerofill" in failed(both)


def test_a_metric_of_another_revision_is_not_compared_and_it_is_said(run):
    rescore(place(run).volumes, lambda table: table.__setitem__("hfen", 0.1))
    forge(place(run), lambda record: record["metrics"].update(hfen=7))
    outcome, reason = verified(run)["toynet"]
    assert (outcome, reason.partition("; ")[2]) == ("verified", "of another revision, and not compared: hfen")


def test_other_rounding_of_the_prepared_data_is_allowed_to_a_thousandth_of_a_decibel(run):
    def elsewhere(record: dict[str, Any]) -> None:
        record["data"]["store_hash"] = "of another machine"

    for shift, outcome in ((0.0009, "verified"), (0.0011, "failed")):
        rescore(place(run).volumes, lambda t, shift=shift: t.__setitem__("psnr@robust", t["psnr@robust"] + shift))
        forge(place(run), elsewhere)
        assert verified(run)["toynet"][0] == outcome
        rescore(place(run).volumes, lambda t, shift=shift: t.__setitem__("psnr@robust", t["psnr@robust"] - shift))


def test_without_the_plugin_of_the_data_only_the_files_are_compared(both):
    found = mb.verify(both, jobs=1)
    assert {v.outcome for v in found} == {"scores only"}
    assert found[0].reasons == ("data set 'toy' is not known here; --plugins PATH gives the folder of its plugin",)
    flip(place(both).predictions)
    assert [v.outcome for v in mb.verify(both, jobs=1)] == ["failed", "scores only"]


def test_no_plugin_that_the_run_names_is_loaded(run, tmp_path):
    for kind in ("toy", "toynet"):
        shutil.copytree(TOYS / kind, tmp_path / "theirs" / kind)
        (tmp_path / "theirs" / kind / "__init__.py").write_text("raise SystemExit('loaded')")
    asked = files.read_json(run / "experiment.json")
    asked["data"]["plugins"] = [str(tmp_path / "theirs")]
    files.write_json(run / "experiment.json", asked)
    assert {v.outcome for v in mb.verify(run, jobs=1)} == {"scores only"}


def test_real_data_need_their_files(fastmri_tree, own_cache, tmp_path):
    data = fastmri_tree(n_train=4, n_test=2)
    ran("zerofill", tmp_path / "r", dataset="fastmri", data_root=data, settings={}, plugins=())
    [found] = mb.verify(tmp_path / "r", jobs=1)
    assert (found.outcome, found.reasons) == ("scores only", ("the data are real: --data-root DIR gives their files",))
    [found] = mb.verify(tmp_path / "r", data_root=data, jobs=1, listener=Listener())
    assert (found.outcome, found.reasons) == ("verified", ("scores agree within 1e-06, on the same prepared data",))
    name = sorted(data.rglob("*.h5"))[0]
    with h5py.File(name, "r+") as file:
        file["kspace"][0] *= 1.5
    [found] = mb.verify(tmp_path / "r", data_root=data, jobs=1, listener=Listener())
    assert found.outcome == "failed"
    assert "fingerprint of the data: the record says" in found.reasons[0]


def test_a_split_from_a_file_is_the_one_beside_the_results(made, tmp_path):
    [path] = (made.root / "r").glob("toy*/split.json")
    own = files.read_json(path)
    own["train"], own["test"] = [*own["train"], own["test"][0]], own["test"][1:]
    del own["hash"]
    mine = tmp_path / "mine.json"
    files.write_json(mine, own)
    ran("zerofill", tmp_path / "r", split=mine)
    assert verified(tmp_path / "r")["zerofill"][0] == "verified"
    next(tmp_path.glob("r/toy*/split.json")).unlink()
    assert verified(tmp_path / "r")["zerofill"][0] == "failed"


def test_the_command_says_it_per_bundle_and_by_its_exit_code(both, here, monkeypatch, made):
    def call(*more: object) -> Any:
        monkeypatch.setenv("MCSR_BENCH_CACHE", str(made.root / "cache"))
        return here("verify", both, "--plugins", TOYS, "--jobs", 1, *more)

    good = call()
    assert good.returncode == 0
    assert "x2 toynet seed 0" in good.stdout
    assert good.stdout.count("verified") == 2
    assert good.stderr.endswith("2 bundles: 2 verified\n")
    flip(place(both).weights)
    bad = call("--json")
    assert bad.returncode == 1
    assert [v["outcome"] for v in json.loads(bad.stdout)] == ["failed", "verified"]
    assert str(place(both).weights) in json.loads(bad.stdout)[0]["reasons"][0]


def test_whatever_a_data_set_raises_is_its_bundles_verdict_alone(run, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a mistake of the plugin's")

    monkeypatch.setattr("mcsr_bench.audit.verify.targets", broken)
    assert failed(run) == "the data cannot be made again: ZeroDivisionError: a mistake of the plugin's"
