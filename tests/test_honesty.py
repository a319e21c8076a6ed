"""What a table must be able to rely on: nobody is trained or chosen on a test patient, and seeds are what they say.

A method that writes down what it is given runs in real trials; whose image it was is told by the pixels, not by the label.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import mcsr_bench as mb
from mcsr_bench.data.prepare import prepare
from mcsr_bench.data.sampler import Sampler
from mcsr_bench.plugin.registry import add_plugins
from mcsr_bench.protocol import MCSR_1

TOYS = Path(__file__).parent / "toys"
PATIENTS = {f"p{i:02d}" for i in range(10)}
MINE = {"train": {"p00", "p03", "p04", "p08"}, "validation": {"p01", "p06"}, "test": {"p02", "p05", "p07"}}
"""A split of one's own, which leaves p09 out."""

CARD = """
kind = "method"
name = "watcher"
title = "Writes down what it is given (for tests)"
class = "Watcher"
authors = "nobody"
venue = "tests"
year = 2026
contrasts = "multi"
track = "magnitude"

[presets.quick]
loss = "l1"
optimizer = "adam"
learning_rate = 1e-3
schedule = "constant"
budget = 30
budget_unit = "steps"
batch_size = 2
patch = 0
augment = "none"
validations = 3

[tuning]
folds = 3
trials = 1

[tuning.space]
learning_rate = { low = 1e-4, high = 1e-2, log = true }
"""

CODE = """
import hashlib, json
from pathlib import Path

import torch
from torch import nn

from mcsr_bench import TorchMethod


def note(**what):
    with Path(__file__).with_name("seen.jsonl").open("a") as file:
        file.write(json.dumps(what) + "\\n")


def given(batch):
    pixels = [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in batch.auxiliary]
    return {"labels": list(batch.patient_id), "pixels": pixels}


class Watcher(TorchMethod):
    def build_network(self):
        return nn.Linear(2, 2)

    def train(self, data, run):
        note(what="begin", weights=self.network.weight.tolist())
        super().train(data, run)

    def forward(self, batch):
        return self.network.weight.sum()

    def loss(self, output, batch):
        note(what="train", drawn=torch.rand(1).item(), **given(batch))
        return output.square()

    def prediction(self, output, batch):
        if batch.patient_id:  # not where its cost is counted
            note(what="predict", **given(batch))
        return batch.auxiliary.abs()
"""


def digest_of(image: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def owners() -> dict[str, str]:
    """Of every auxiliary slice of the toy dataset, by its pixels, whose it is."""
    dataset = mb.load_dataset("toy")
    return {digest_of(auxiliary): case.patient_id for case in dataset.cases() for _, auxiliary in dataset.read(case)}


@dataclass
class Seen:
    """What one trial gave its method."""

    weights: list[list[float]]
    """At the beginning of training."""
    batches: list[list[str]]
    """The pixels of every training step."""
    drawn: list[float]
    """A random number of torch's in every training step."""
    train: set[str]
    """Patients by their pixels, as in the two below."""
    validation: set[str]
    """Predicted while training went on."""
    later: set[str]
    """Predicted after the last step: validation and test."""


def trials(log: Path) -> list[Seen]:
    """What was written down since the last time, trial by trial."""
    whose = owners()
    parts: list[list[dict[str, Any]]] = []
    for line in log.read_text().splitlines():
        event = json.loads(line)
        if event["what"] == "begin":
            parts.append([event])
            continue
        assert [whose[pixels] for pixels in event["pixels"]] == event["labels"]
        parts[-1].append(event)
    log.unlink()
    return [one_trial(events, whose) for events in parts]


def one_trial(events: list[dict[str, Any]], whose: dict[str, str]) -> Seen:
    when = [k for k, event in enumerate(events) if event["what"] == "train"]
    first, last = (
        when[0],
        when[-1],
    )  # what is predicted before the first step is the first batch, whose form is looked at
    steps = [events[k] for k in when]
    predicted = [(k, event) for k, event in enumerate(events) if event["what"] == "predict"]
    return Seen(
        weights=events[0]["weights"],
        batches=[event["pixels"] for event in steps],
        drawn=[event["drawn"] for event in steps],
        train={whose[p] for event in [*events[1:first], *steps] for p in event["pixels"]},
        validation={whose[p] for k, event in predicted if first < k < last for p in event["pixels"]},
        later={whose[p] for k, event in predicted if k > last for p in event["pixels"]},
    )


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., tuple[mb.Results, list[Seen]]]]:
    """``watched(seeds=[0], ...)``: results of the watcher on the toy dataset, and what it saw in each trial."""
    root = tmp_path_factory.mktemp("honesty")
    plugin = root / "plugins" / "watcher"
    plugin.mkdir(parents=True)
    (plugin / "card.toml").write_text(CARD)
    (plugin / "__init__.py").write_text(CODE)

    def run(**asked: Any) -> tuple[mb.Results, list[Seen]]:
        out = root / str(len(list(root.iterdir())))
        asked = {"preset": "smoke", "settings": {"watcher": {"validations": 2}}, "jobs": 1, **asked}
        results = mb.run(["watcher"], "toy", 2, plugins=[TOYS, plugin.parent], out=out, **asked)
        assert set(results.trials["status"]) == {"done"}, list(results.trials["reason"])
        return results, trials(plugin / "seen.jsonl")

    run.plugins = plugin.parent  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCSR_BENCH_CACHE", str(root / "cache"))
        add_plugins(TOYS)
        yield run


@pytest.fixture(scope="module")
def two_seeds(watched: Callable[..., Any]) -> tuple[mb.Results, list[Seen]]:
    results, seen = watched(seeds=[0, 1])
    assert list(results.trials["seed"]) == [0, 1]
    return results, seen


@pytest.fixture(scope="module")
def seed_one_again(watched: Callable[..., Any]) -> Seen:
    [seen] = watched(seeds=[1])[1]
    return seen


@pytest.fixture(scope="module")
def from_file(watched: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[mb.Results, Seen]:
    """The results of `MINE`."""
    path = tmp_path_factory.mktemp("split") / "mine.json"
    parts = {name: sorted(part) for name, part in MINE.items()}
    path.write_text(json.dumps({"schema_version": 1, "dataset": "toy", "rule": "mine", **parts}))
    with pytest.warns(UserWarning, match="1 of 10 patients are not in the split's file"):
        results, [seen] = watched(seeds=[0], split=path)
    return results, seen


def who_is_tested(results: mb.Results) -> set[str]:
    return set(results.volumes["patient_id"])


def test_no_test_or_validation_patient_is_trained_on(two_seeds):
    results, seen = two_seeds
    for one in seen:
        assert one.train
        assert not one.train & (who_is_tested(results) | one.validation)
        assert one.train | one.validation | who_is_tested(results) == PATIENTS


def test_the_checkpoint_is_never_chosen_on_test_patients(two_seeds):
    results, seen = two_seeds
    for one in seen:
        assert one.validation
        assert not one.validation & who_is_tested(results)
        assert one.later == one.validation | who_is_tested(results)


def test_a_split_from_a_file_is_who_trains_validates_and_tests(from_file):
    results, seen = from_file
    assert {"train": seen.train, "validation": seen.validation, "test": who_is_tested(results)} == MINE
    assert seen.later == MINE["validation"] | MINE["test"]


def auxiliary_psnr(patients: set[str]) -> float:
    """The mean over these patients of the PSNR of the auxiliary, which is what the watcher predicts."""
    dataset = mb.load_dataset("toy")
    values = []
    for case in dataset.cases():
        if case.patient_id in patients:
            target, auxiliary = (
                np.abs(np.stack(x).astype(np.complex128)) for x in zip(*dataset.read(case), strict=True)
            )
            values.append(10 * np.log10(target.max() ** 2 / np.mean((auxiliary - target) ** 2)))
    return float(np.mean(values))


@pytest.mark.parametrize("split", ["two_seeds", "from_file"])
def test_the_logged_validation_score_is_that_of_the_validation_patients(split, request):
    results, seen = request.getfixturevalue(split)
    seen = seen[0] if split == "two_seeds" else seen
    used = PATIENTS if split == "two_seeds" else set().union(*MINE.values())
    validation = used - seen.train - who_is_tested(results)
    log = pd.read_csv(Path(results.trials["folder"][0]) / "training.csv")
    scores = log["validation_psnr"].dropna()
    assert len(scores) == 2
    assert scores.to_numpy() == pytest.approx(auxiliary_psnr(validation), abs=1e-4)
    assert abs(auxiliary_psnr(validation) - auxiliary_psnr(who_is_tested(results))) > 0.01


def test_no_fold_of_tune_trains_or_chooses_on_held_out_or_test_patients(watched, two_seeds, here, tmp_path):
    pytest.importorskip("optuna")
    never = who_is_tested(two_seeds[0])
    plugins = [option for path in (TOYS, watched.plugins) for option in ("--plugins", path)]
    out = here(
        *("tune", "--method", "watcher", "--dataset", "toy", "--scale", "2", "--preset", "smoke", "--jobs", "1"),
        *("--set", "watcher.validations=2", "--to", tmp_path / "tuned", *plugins),
    )
    assert out.returncode == 0, out.stderr
    folds = trials(watched.plugins / "watcher" / "seen.jsonl")
    assert len(folds) == 3
    everyone_held = set()
    for number, seen in enumerate(folds, 1):
        [held] = {frozenset(who_is_tested(mb.load_results(p))) for p in tmp_path.glob(f"tuned/points/000/fold{number}")}
        assert seen.train
        assert seen.validation
        assert not seen.train & (held | seen.validation)
        assert not seen.validation & held
        assert not never & (seen.train | seen.validation | seen.later | held)
        everyone_held |= held
    assert everyone_held == PATIENTS - never


def test_trials_begin_with_the_weights_of_their_seed(watched, two_seeds, seed_one_again):
    zero, one = two_seeds[1]
    assert zero.weights != one.weights
    assert seed_one_again.weights == one.weights
    add_plugins(watched.plugins)
    for seed, seen in ((0, zero), (1, one)):
        assert mb.load_method("watcher", 2, "smoke", seed=seed).network.weight.tolist() == seen.weights


def test_initial_weights_differ_between_seeds_and_are_equal_for_equal_seeds():
    add_plugins(TOYS)

    def weights(seed: int) -> torch.Tensor:
        return torch.cat(
            [p.detach().ravel() for p in mb.load_method("toynet", 2, "smoke", seed=seed).network.parameters()]
        )

    torch.manual_seed(5)
    zero, one = weights(0), weights(1)
    torch.manual_seed(6)
    assert torch.equal(zero, weights(0))
    assert torch.equal(one, weights(1))
    assert not torch.equal(zero, one)


def test_trials_of_different_seeds_see_different_batches_and_draw_different_numbers(two_seeds, seed_one_again):
    zero, one = two_seeds[1]
    assert zero.train == one.train
    assert zero.batches != one.batches
    assert one.batches == seed_one_again.batches
    assert len(set(zero.drawn + one.drawn)) == len(zero.drawn + one.drawn) == 20
    assert one.drawn == seed_one_again.drawn


def test_reflections_and_patches_differ_between_seeds_and_are_equal_for_equal_seeds(own_cache):
    """Of one training slice, so that the order cannot make the difference."""
    add_plugins(TOYS)
    [ready] = prepare(mb.load_dataset("toy", patients=3, slices=1), MCSR_1, [2])

    def drawn(seed: int, patch: int, augment: str) -> list[bytes]:
        sampler = Sampler(ready.store, ready.split, MCSR_1, seed)
        assert sampler.n_train_slices == 1
        batches = [sampler.batch(step, batch_size=1, patch=patch, augment=augment) for step in range(12)]
        return [batch.target.numpy().tobytes() for batch in batches]

    for patch, augment in ((4, "none"), (0, "mirror"), (0, "dihedral")):
        assert drawn(0, patch, augment) == drawn(0, patch, augment) != drawn(1, patch, augment)
        assert len(set(drawn(0, patch, augment))) > 2
    assert drawn(0, 0, "none") == drawn(1, 0, "none")
