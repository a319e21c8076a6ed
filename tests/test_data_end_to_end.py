"""From files to a table: fastMRI's layout and real NIfTI volumes, by the commands that people type."""

import json
from pathlib import Path

import pytest

REAL = Path(__file__).parents[2] / "shared" / "data" / "open_ms" / "mni"


def record(out, *parts):
    return json.loads((out.joinpath(*parts) / "trial.json").read_text())


def test_fastmri_from_raw_kspace_to_the_table(here, fastmri_tree, tmp_path):
    root = fastmri_tree(n_train=5, n_test=2, slices=2)
    out = here(
        *("run", "--methods", "sanet,minet", "--dataset", "fastmri", "--scale", 4, "--preset", "quick"),
        *("--data-root", root, "--out", tmp_path / "r", "--jobs", 1),
        *(f"--set={name}.{key}={value}" for name in ("sanet", "minet") for key, value in (("budget", 6), ("width", 8))),
        *(f"--set={name}.validations=1" for name in ("sanet", "minet")),
    )
    assert out.returncode == 0, out.stderr
    assert "FS-PD" in out.stdout
    assert "too few patients" in out.stdout
    assert "30.4±0.83 / 0.622±0.04" not in out.stdout  # a changed setting is not the paper's method
    [folder] = (tmp_path / "r" / "fastmri" / "x4").glob("sanet@*")
    data = record(folder, "seed0")["data"]
    assert data["patients"] == {"train": 4, "validation": 1, "test": 2}
    assert data["real"]


def test_real_nifti_volumes_split_by_slice_only_when_told(here, tmp_path):
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is not there")
    command = (
        *("run", "--methods", "zerofill,bicubic", "--dataset", "nifti", "--scale", 4, "--preset", "quick"),
        *("--data-root", REAL, "--jobs", 1, "--out", tmp_path / "r"),
    )
    refused = here(*command)
    assert refused.returncode == 2
    assert "nifti.split=slice" in refused.stderr
    assert not (tmp_path / "r").exists()
    out = here(*command, "--set", "nifti.split=slice")
    assert out.returncode == 0, out.stderr
    assert "not patient-disjoint" in out.stdout
    assert "magnitude track" in out.stdout
