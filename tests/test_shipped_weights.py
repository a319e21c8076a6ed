"""Weights that come with a method: made of a trial, rounded, used in place of training, and refused where they do not fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ship
import torch
import user_pairs as pairs

import mcsr_bench as mb
from mcsr_bench.errors import UserError
from mcsr_bench.experiment.planned import TrialSpec
from mcsr_bench.results.bundle import Bundle, BundleFiles
from mcsr_bench.results.predictions import stored_predictions
from mcsr_bench.system import files
from mcsr_bench.weights.shipped import halved
from mcsr_bench.weights.tensors import load_tensors

TOYNET = Path(__file__).parent / "toys" / "toynet"
DATA = {"brain-sim": {"subjects": 10, "size": 32}}
ASKED: dict[str, Any] = {"scale": 2, "settings": DATA, "jobs": 1}


@dataclass(frozen=True)
class Made:
    """A method with shipped weights, and the trial that they are of."""

    plugins: Path
    trained: Bundle
    before: dict[str, torch.Tensor]
    """The weights as trained."""
    root: Path

    def run(self, out: str, **changes: Any) -> mb.RunResults:
        return mb.run(
            **{"methods": ["zerofill", "toynet"], "plugins": self.plugins, "out": self.root / out, **ASKED} | changes
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("shipped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCSR_BENCH_CACHE", str(root / "cache"))
        folder = root / "plugins" / "toynet"
        shutil.copytree(TOYNET, folder, ignore=shutil.ignore_patterns("__pycache__"))
        card = (folder / "card.toml").read_text().replace("[presets.quick]", "[presets.small]")
        (folder / "card.toml").write_text(card)
        made = Made(root / "plugins", None, {}, root)  # type: ignore[arg-type]
        place = BundleFiles(made.run("trained", preset="small").folders[0])
        [trained] = [b for b in mb.load_results(place.folder).bundles if b.record.method == "toynet"]
        before, _ = load_tensors(trained.weights)
        ship.round_weights(trained)
        made.run("trained", preset="small")  # scores the rounded weights
        with mb.plugin.registry.scoped_plugins(made.plugins):
            ship.ship(trained)
        made.run("shipped", pretrained=True)
    record = trained.read_record()
    assert record is not None
    return Made(root / "plugins", Bundle(trained.folder, record), before, root)


@pytest.fixture
def cache(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCSR_BENCH_CACHE", str(made.root / "cache"))


def shipped(made: Made) -> Bundle:
    [found] = [b for b in mb.load_results(made.root / "shipped").bundles if b.record.method == "toynet"]
    return found


# --- what is made, and what it does


def test_the_trial_keeps_the_rounded_weights(made: Made) -> None:
    now, info = load_tensors(made.trained.weights)
    assert {name: tensor.dtype for name, tensor in now.items() if tensor.is_floating_point()} == {
        name: torch.float16 for name, tensor in made.before.items() if tensor.is_floating_point()
    }
    for name, tensor in now.items():
        np.testing.assert_array_equal(tensor.numpy(), made.before[name].numpy().astype(tensor.numpy().dtype))
    assert (
        info["origin"]["command"]
        == "mcsr-bench run --methods toynet --dataset brain-sim --scale 2 --preset small --seeds 0"
    )
    assert made.trained.record.status == "done"


def test_a_trial_with_them_is_one_of_its_own(made: Made) -> None:
    bundle = shipped(made)
    record = bundle.record
    assert (bundle.folder.parent.name, record.seed, record.preset) == ("toynet@shipped", 0, "small")
    assert record.shipped == record.files["weights.safetensors"] == files.file_digest(made.trained.weights)
    assert record.key != made.trained.record.key
    assert not bundle.training_log.exists()
    assert "train" not in record.seconds
    assert record.notes == ["its weights came with it: seed 0 of preset small, trained on brain-sim"]


def test_it_predicts_what_the_rounded_weights_predict(made: Made, cache: None) -> None:
    """By a network that got float32 weights rounded here by numpy; the trial that they are of has the same scores."""
    method = mb.load_method("toynet", 2, "small", plugins=made.plugins)
    method.load_state(
        {
            name: torch.from_numpy(tensor.numpy().astype(np.float16).astype(np.float32))
            if tensor.is_floating_point()
            else tensor
            for name, tensor in made.before.items()
        }
    )
    same = mb.load_method("toynet", 2, pretrained=True, plugins=made.plugins)
    for name, tensor in method.state().items():
        assert torch.equal(same.state()[name], tensor), name
    bundle = shipped(made)
    with stored_predictions(bundle) as ours, stored_predictions(made.trained) as theirs:
        for volume in ours:
            np.testing.assert_array_equal(ours.read(volume)["target"], theirs.read(volume)["target"])
    assert bundle.volumes.read_text() == made.trained.volumes.read_text()


def test_the_weights_are_in_the_key(made: Made) -> None:
    bundle = shipped(made)
    same = {name for name in TrialSpec.model_fields if hasattr(bundle.record, name)}
    values = {name: getattr(bundle.record, name) for name in same}
    with mb.plugin.registry.scoped_plugins(made.plugins):
        keys = {
            TrialSpec(**values | {"out": made.root, "split": {}, "shipped": digest}).key
            for digest in (bundle.record.shipped, "0" * 64, "")
        }
    assert len(keys) == 3
    assert bundle.record.key in keys
    assert made.trained.record.key not in keys


def test_verify_knows_them_by_their_hash(made: Made, cache: None, tmp_path: Path) -> None:
    [own] = [v for v in mb.verify(made.root / "shipped", plugins=made.plugins) if "toynet" in v.trial]
    assert own.outcome == "verified"
    run = tmp_path / "run"
    shutil.copytree(made.root / "shipped", run)
    [bundle] = [b for b in mb.load_results(run).bundles if b.record.method == "toynet"]
    shutil.copy(made.trained.weights, bundle.weights)
    with bundle.weights.open("r+b") as file:  # other weights, of which the record has the right hash
        file.seek(-1, 2)
        file.write(b"\x01")
    bundle.record.files[bundle.weights.name] = files.file_digest(bundle.weights)
    bundle.write()
    [other] = [v for v in mb.verify(run, plugins=made.plugins) if "toynet" in v.trial]
    assert (other.outcome, other.reasons) == ("failed", (f"{bundle.weights}: holds the weights of another trial",))


def test_stress_and_predict_use_such_a_bundle(made: Made, cache: None, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(made.root / "shipped", run)
    table, wrong = mb.stress(run, plugins=made.plugins, jobs=1)
    assert not wrong
    assert "toynet (shipped)" in str(table)
    target = pairs.hdf5(tmp_path / "t.h5", image=pairs.degraded(pairs.band_limited(2, (8, 8), 2), 2))
    auxiliary = pairs.hdf5(tmp_path / "a.h5", image=pairs.band_limited(2, (8, 8), 2, seed=1))
    mb.predict(shipped(made).folder, target, tmp_path / "bundle.h5", auxiliary, plugins=made.plugins)
    found = mb.predict(None, target, tmp_path / "own.h5", auxiliary, method="toynet", scale=2, plugins=made.plugins)
    assert (tmp_path / "own.h5").read_bytes() == (tmp_path / "bundle.h5").read_bytes()
    assert "weights of brain-sim" in found.lines()[0]
    mb.predict(None, target, tmp_path / "bicubic.h5", method="bicubic", scale=2)


def test_rounding_says_what_float16_cannot_hold() -> None:
    with pytest.raises(ValueError, match="b has values beyond float16"):
        halved({"a": torch.ones(2), "b": torch.tensor([1e6])})
    assert halved({"n": torch.tensor([70000])})["n"].dtype == torch.int64


# --- what cannot be had


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"preset": "quick"}, "--preset quick: the weights of --pretrained are of preset small"),
        ({"seeds": [0, 1]}, "--seeds 1: the weights of --pretrained are of seed 0"),
        ({"settings": {**DATA, "toynet": {"width": 8}}}, r"--set toynet.width=8: the weights .* \(width=4\)"),
        ({"scale": 4}, "--pretrained: method 'toynet' has no weights of its own at 4x, only at 2x"),
        ({"suite": "table1"}, "--suite table1: trains with settings of its own"),
        ({"protocol": "sanet-2021"}, "--protocol sanet-2021: the weights of --pretrained were trained under mcsr-1"),
    ],
)
def test_what_the_weights_are_not_of(made: Made, cache: None, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        made.run("refused", pretrained=True, **changes)


def test_another_split_may_test_whom_they_were_trained_on(made: Made, cache: None) -> None:

    [manifest] = (made.root / "shipped").rglob("split.json")
    split = json.loads(manifest.read_text())
    del split["hash"]
    split["train"], split["test"] = split["test"], split["train"]
    (made.root / "other.json").write_text(json.dumps(split))
    with pytest.raises(UserError, match="trained on brain-sim with its own split; with another one they may have seen"):
        made.run("other", pretrained=True, split=made.root / "other.json")


def test_they_are_not_mixed_with_trained_ones(made: Made, cache: None) -> None:
    with pytest.raises(
        UserError, match="holds results of weights trained by a run, this run has weights that came with the methods"
    ):
        made.run("trained", pretrained=True)


def test_a_damaged_file_is_named(made: Made, cache: None, tmp_path: Path) -> None:
    shutil.copytree(made.plugins, tmp_path / "plugins")
    path = tmp_path / "plugins" / "toynet" / "weights" / "x2.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UserError, match=r"x2\.safetensors: is damaged or another file's \(SHA-256 "):
        mb.load_method("toynet", 2, pretrained=True, plugins=tmp_path / "plugins")
    path.unlink()
    with pytest.raises(UserError, match=r"x2\.safetensors: is missing, and the card says that the method has weights"):
        mb.load_method("toynet", 2, pretrained=True, plugins=tmp_path / "plugins")


def test_predict_takes_one_of_both(made: Made, here: Callable[..., Any]) -> None:
    for given in ((), ("--method", "bicubic"), ("--from", "x", "--method", "bicubic", "--scale", 2)):
        done = here("predict", *given, "--target", "t.h5", "--to", "sr.h5")
        assert (done.returncode, done.stderr.splitlines()[-1]) == (
            2,
            "mcsr-bench: give either --from, or --method and --scale for the weights that come with a method",
        )
