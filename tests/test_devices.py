"""Several processes train one network as one does; training slices on the device and compiled networks change nothing either."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

import mcsr_bench as mb
from mcsr_bench.engines.base import Job, Needs
from mcsr_bench.engines.beside import Beside
from mcsr_bench.engines.processes import SLOT, Processes
from mcsr_bench.errors import UserError
from mcsr_bench.experiment import parts, ranks, trial
from mcsr_bench.experiment.planned import TrialSpec
from mcsr_bench.results.bundle import Bundle
from mcsr_bench.system import devices
from mcsr_bench.system.computing import Computing
from mcsr_bench.training import Group, Loop, loop
from mcsr_bench.weights.tensors import load_tensors

TOYS = Path(__file__).parent / "toys"


def run(out: Path, name: str = "edsr", settings: dict[str, Any] | None = None, **changes: Any) -> Bundle:
    """Ten steps on slices whose number the batch does not divide, so that some batches have one slice."""
    of_method = {"budget": 10, "budget_unit": "steps", "batch_size": 2, "validations": 2} | (settings or {})
    of_data = {"patients": 7, "slices": 3, "size": 64}
    results = mb.run(
        name,
        "toy",
        2,
        preset="smoke" if name != "toynet" else "quick",
        settings={name: of_method, "toy": of_data},
        plugins=TOYS,
        jobs=1,
        out=out,
        **changes,
    )
    [bundle] = results.bundles
    assert bundle.record.status == "done", bundle.record.reason
    return bundle


def weights(bundle: Bundle) -> dict[str, Tensor]:
    return load_tensors(bundle.weights)[0]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Bundle, Bundle]]]:
    """By method: trained by one process, and by two."""
    folder = tmp_path_factory.mktemp("devices")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCSR_BENCH_CACHE", str(folder / "cache"))
        yield {
            name: (run(folder / f"{name}1", name), run(folder / f"{name}2", name, devices=2))
            for name in ("edsr", "minet")
        }


@pytest.mark.parametrize("name", ["edsr", "minet"])
def test_two_processes_train_as_one(pairs: dict[str, tuple[Bundle, Bundle]], name: str) -> None:
    """At the same global batch. Tolerance: means over two halves round otherwise, and Adam divides by what is small."""
    alone, shared = pairs[name]
    assert (alone.record.key, alone.record.devices, shared.record.devices) == (shared.record.key, 1, 2)
    start = mb.load_method(name, 2, "smoke").state()
    for key, value in weights(alone).items():
        moved = float((value - start[key]).abs().max())
        assert float((value - weights(shared)[key]).abs().max()) < 1e-4 + 0.02 * moved, key
    logs = [pd.read_csv(bundle.training_log) for bundle in (alone, shared)]
    pd.testing.assert_frame_equal(*(log[:1] for log in logs), rtol=1e-5)  # the mean over both halves
    pd.testing.assert_frame_equal(*logs, rtol=1e-3)
    [verdict] = mb.verify(shared.folder.parents[3], plugins=TOYS)
    assert verdict.outcome == "verified"


def test_a_shared_training_that_was_interrupted_goes_on(
    pairs: dict[str, tuple[Bundle, Bundle]], tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: a sum of two does not depend on their order."""
    save = Loop._save

    def saved_then_broken(self: Loop, *args: Any) -> None:
        save(self, *args)
        raise RuntimeError("interrupted")

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_save", saved_then_broken)
        with pytest.raises(AssertionError, match="interrupted"):
            run(tmp_path / "run", devices=2)
    resumed = run(tmp_path / "run", devices=2)
    assert resumed.weights.read_bytes() == pairs["edsr"][1].weights.read_bytes()


def test_other_processes_end_with_the_trial(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends that: they notice the end of their input, here while they wait for the first to join."""
    specs: list[TrialSpec] = []
    monkeypatch.setattr(trial, "group_of", lambda spec, method: specs.append(spec) or ranks.group_of(spec, method))
    run(tmp_path / "run")
    spec = specs[0].model_copy(update={"computing": Computing(precision="32", devices=2)})
    other = Beside(ranks.share_of(spec, 1, str(tmp_path)))
    other.leave()
    assert other.wait(timeout=120) == 1


def test_a_process_whose_other_has_failed_does_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    codes: list[int] = []
    monkeypatch.setattr(ranks, "_NOTICING", 0.01)
    monkeypatch.setattr(ranks.os, "_exit", lambda code: codes.append(code) or ended.set())
    other: Any = SimpleNamespace(failed=True)
    ranks._watch([other], ended)
    assert codes == [1]


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        (
            "edsr",
            {"devices": 3},
            "--devices 3: edsr.batch_size is 2, which 3 devices cannot share equally; --set edsr.batch_size=3 can",
        ),
        (
            "toynet",
            {"devices": 2},
            "--devices 2: method 'toynet' has batch normalisation, which torch shares among GPUs alone; leave --devices out",
        ),
        ("edsr", {"devices": 0}, "--devices 0: a number of devices is 1 or larger"),
        ("edsr", {"resident": "maybe"}, "--resident maybe: allowed are auto, yes, no"),
    ],
)
def test_what_cannot_be_had(tmp_path: Path, own_cache: Path, name: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        run(tmp_path / "run", name, **options)
    assert str(caught.value) == sentence
    assert not (tmp_path / "run").exists()


def test_a_class_in_place_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"mine": SimpleNamespace(given=object)}
    monkeypatch.setattr(ranks, "methods", lambda: SimpleNamespace(plugins=lambda: given))
    spec: Any = SimpleNamespace(computing=Computing(devices=2), method="mine", variant="", scale=2)
    with pytest.raises(UserError) as caught:
        ranks.check_devices([spec])
    assert str(caught.value) == "--devices 2: other processes cannot load method 'mine', which was given as a class"


def test_more_gpus_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcsr_bench.system.computing.gpu_count", lambda: 1)
    with pytest.raises(UserError, match=r"--devices 2: torch sees 1 CUDA device\(s\) on this machine"):
        Computing(devices=2).on("cuda")
    assert Computing().on("cuda") == Computing(precision="tf32")


def test_gpus_of_a_trial_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four GPUs, two per trial: two trials side by side, the first on 0 and 1, the second on 2 and 3."""
    for module in (devices, ranks):
        monkeypatch.setattr(module, "gpu_count", lambda: 4)
    monkeypatch.setattr("mcsr_bench.engines.processes.default_jobs", lambda kind: {"cuda": 4, "cpu": 9}[kind])
    assert Processes().side_by_side(Needs(gpus=2)) == 2
    assert Processes().side_by_side(Needs(cores=2)) == 4
    found = []
    for slot in ("0", "1"):
        monkeypatch.setenv(SLOT, slot)
        first = trial._device_here(SimpleNamespace(device="cuda", computing=Computing(devices=2)))  # type: ignore[arg-type]
        found.append([first, ranks._device_of_rank(first, 1)])
    assert found == [["cuda:0", "cuda:1"], ["cuda:2", "cuda:3"]]
    assert ranks._device_of_rank("cpu", 1) == "cpu"


def test_batch_normalisation_sees_all_gpus(own_cache: Path) -> None:
    method = mb.load_method("toynet", 2, "quick", plugins=TOYS)
    assert isinstance(method, mb.TorchMethod)
    names = list(method.state())
    parts.synchronise_batch_norm(method)
    assert [type(m).__name__ for m in method.network.modules() if "BatchNorm" in type(m).__name__] == ["SyncBatchNorm"]
    assert list(method.state()) == names


@pytest.mark.parametrize(("how", "free", "kept"), [("auto", 200, True), ("auto", 199, False), ("yes", 100, True)])
def test_a_gpu_holds_what_fits(monkeypatch: pytest.MonkeyPatch, how: str, free: int, kept: bool) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 1000))
    places: list[str] = []
    sampler: Any = SimpleNamespace(n_train_bytes=100, keep_on=places.append)
    assert parts.place_slices(sampler, how, "cuda:1") == (100 if kept else 0)
    assert places == (["cuda:1"] if kept else [])


def test_what_does_not_fit_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (5e9, 8e9))
    sampler: Any = SimpleNamespace(n_train_bytes=6e9)
    with pytest.raises(UserError) as caught:
        parts.place_slices(sampler, "yes", "cuda:0")
    assert str(caught.value) == (
        "--resident yes: the training slices take 6.0 GB, and of the GPU 5.0 GB are free; auto or no reads them from the store"
    )


def test_a_job_beside_that_fails(capfd: pytest.CaptureFixture[str]) -> None:
    other = Beside(Job(ranks.train_share, {"trial": {}, "rank": 1, "folder": ""}))
    assert other.wait(timeout=120) == 1
    assert other.failed
    assert "validation errors for TrialSpec" in capfd.readouterr().err


def test_a_group_of_one_leaves_everything() -> None:
    numbers = {"loss": torch.tensor(2.0)}
    assert Group().averaged(numbers) == numbers
    assert Group().first


def test_resident_slices_change_nothing(tmp_path: Path, own_cache: Path) -> None:
    files, resident = run(tmp_path / "files", resident="no"), run(tmp_path / "resident", resident="yes")
    assert files.weights.read_bytes() == resident.weights.read_bytes()
    pixels = 9 * 64 * 64  # of three training patients
    assert files.record.profile["resident_bytes"] == 0
    assert resident.record.profile["resident_bytes"] == 8 * (2 * pixels + 2 * pixels // 4)


def test_compiled_networks_are_for_steps_alone(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What torch makes of a network is called in training, not in validation or prediction, and trains to the same weights."""
    called: list[bool] = []

    def compiler(graph: Any, _: Any) -> Any:
        def compiled(*inputs: Any) -> Any:
            called.append(torch.is_grad_enabled())
            return graph.forward(*inputs)

        return compiled

    monkeypatch.setattr(loop, "COMPILER", compiler)
    plain, compiled = run(tmp_path / "plain"), run(tmp_path / "compiled", compile=True)
    assert set(called) == {True}
    assert (plain.record.compiled, compiled.record.compiled, plain.record.key) == (False, True, compiled.record.key)
    assert compiled.record.profile["compile_seconds"] > 0
    assert "compile_seconds" not in plain.record.profile
    for key, value in weights(plain).items():
        torch.testing.assert_close(weights(compiled)[key], value, rtol=1e-5, atol=1e-6)
