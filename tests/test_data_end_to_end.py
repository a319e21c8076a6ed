"""From files to a table: fastMRI's layout and real NIfTI volumes, by the commands that people type."""

import json
from pathlib import Path

import pytest

REAL = Path(__file__).parents[2] / "shared" / "data" / "open_ms" / "mni"


def record(out, *parts):
    return json.loads((out.joinpath(*parts) / "trial.json").read_text())


def test_fastmri_from_raw_kspace_to_the_table(here, fastmri_tree, tmp_path):
    root = fastmri_tree(n_train=5, n_test=2, slices=2)
    checked = here("prepare", "--dataset", "fastmri", "--data-root", root, "--jobs", 1, "--check", "--json")
    assert checked.returncode == 0, checked.stderr
    assert {f["code"] for f in json.loads(checked.stdout)["findings"]} == {"absent-pairs"}
    out = here(
        *("run", "--methods", "sanet,minet", "--dataset", "fastmri", "--scale", 4, "--preset", "quick"),
        *("--data-root", root, "--out", tmp_path / "r", "--jobs", 1),
        *(
            f"--set={name}.{key}={value}"
            for name in ("sanet", "minet")
            for key, value in (("budget", 6), ("budget_unit", "steps"), ("width", 8))
        ),
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
    report = here("report", tmp_path / "r", "--to", tmp_path / "report", "--formats", "md")
    assert report.returncode == 0, report.stderr


@pytest.mark.parametrize(("scale", "code"), [(2, 2), (4, 0)])
def test_hr_of_half_empty_kspace_is_refused_where_it_would_be_its_own_lr(here, fastmri_tree, tmp_path, scale, code):
    root = fastmri_tree(n_train=3, n_test=1, slices=1, acquired=32)  # of 64 columns: 0.5 is less than 1.25 / 2
    options = ("--dataset", "fastmri", "--scale", scale, "--data-root", root, "--jobs", 1)
    checked = here("prepare", *options, "--check", "--json")
    found = [f for f in json.loads(checked.stdout)["findings"] if f["code"] == "zero-filled"]
    assert checked.returncode == code
    assert {f["severity"] for f in found if "FS-PD" in f["message"]} == {"error" if code else "warning"}
    assert all("64 x 32" in f["message"] or "128 x 32" in f["message"] for f in found)
    out = here("run", "--methods", "zerofill", "--preset", "quick", *options, "--out", tmp_path / "r")
    assert out.returncode == code
    assert "zero-filled" in (out.stderr if code else out.stdout)
    assert (tmp_path / "r").exists() == (not code)


def test_magnitudes_in_complex_disguise_move_to_the_magnitude_track(here, fastmri_files, fastmri_tree, tmp_path):
    root = fastmri_tree(n_train=3, n_test=1, slices=1)
    for path in root.rglob("*.h5"):

        def flatten(file):
            images = fastmri_files.to_image(file["kspace"][()])
            file["kspace"][...] = fastmri_files.to_kspace(abs(images))

        fastmri_files.edit(path, flatten)
    out = here(
        *("run", "--methods", "zerofill", "--preset", "quick", "--dataset", "fastmri", "--scale", 2, "--jobs", 1),
        *("--data-root", root, "--out", tmp_path / "r"),
    )
    assert out.returncode == 0, out.stderr
    assert "magnitude track" in out.stdout
    assert "findings 'fake-complex' in 8 files" in out.stdout
    assert record(tmp_path / "r", "fastmri", "x2", "zerofill", "seed0")["data"]["track"] == "magnitude"


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
