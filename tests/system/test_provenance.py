"""What numbers were computed with is asked for once per process, whatever the number of trials."""

import importlib.metadata
import subprocess
from types import SimpleNamespace

import pytest

from mcsr_bench.errors import UserError
from mcsr_bench.system import devices, provenance


@pytest.fixture
def git_calls(monkeypatch):
    """The commands that git_revision starts, from a process that has not asked yet."""
    calls = []

    def run(command, **_):
        calls.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="abc\n" if "rev-parse" in command else " M x\n")

    monkeypatch.setattr(provenance.subprocess, "run", run)
    provenance.git_revision.cache_clear()
    yield calls
    provenance.git_revision.cache_clear()


def test_the_commit_is_asked_for_once_per_process(git_calls, tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(provenance, "_CHECKOUT", tmp_path)
    assert [provenance.git_revision() for _ in range(100)] == ["abc+"] * 100
    assert len(git_calls) == 2


def test_outside_a_checkout_there_is_no_commit_and_no_process(git_calls, tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "_CHECKOUT", tmp_path)
    assert provenance.git_revision() == ""
    assert git_calls == []


def test_the_checkout_is_the_folder_above_the_package():
    assert (provenance._CHECKOUT / "mcsr_bench" / "system" / "provenance.py").is_file()


def test_versions_are_those_of_the_installed_packages_and_a_copy():
    found = provenance.versions()
    assert found["numpy"] == importlib.metadata.version("numpy")
    found["numpy"] = "changed"
    assert provenance.versions()["numpy"] == importlib.metadata.version("numpy")


def test_devices(monkeypatch):
    monkeypatch.setattr(devices, "gpu_count", lambda: 0)
    assert devices.chosen_device("auto") == "cpu"
    with pytest.raises(UserError, match="--device cuda: torch sees no CUDA device"):
        devices.chosen_device("cuda")
    with pytest.raises(UserError, match="--device tpu: allowed are auto, cpu, cuda"):
        devices.chosen_device("tpu")
    assert devices.device_of("cpu", 3) == "cpu"
    monkeypatch.setattr(devices, "gpu_count", lambda: 2)
    assert devices.chosen_device("auto") == "cuda"
    assert devices.default_jobs("cuda") == 2
    assert [devices.device_of("cuda", slot) for slot in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert devices.device_of("cuda:1", 0) == "cuda:1"


def test_the_paths_of_a_large_grid_start_no_process(monkeypatch, tmp_path):
    from mcsr_bench.experiment.planned import TrialSpec
    from mcsr_bench.results.run_folder import RunFolder

    def refused(*_, **__):
        raise AssertionError("a process for a path")

    monkeypatch.setattr(subprocess, "Popen", refused)
    provenance.git_revision.cache_clear()
    usual = {"out": tmp_path, "method": "sanet", "variant": "a", "settings": {}, "dataset_settings": {}, "scale": 4}
    asked = TrialSpec.model_construct(
        **usual,
        dataset_variant="",
        seed=0,
        data=SimpleNamespace(name="knee"),
        preset="quick",
        protocol="mcsr-1",
        split={},
    )
    for seed in range(1000):
        spec = asked.model_copy(update={"seed": seed})
        assert spec.place == RunFolder(tmp_path).trial("knee", 4, "sanet@a", seed)
    assert spec.place.folder == tmp_path / "knee" / "x4" / "sanet@a" / "seed999"
