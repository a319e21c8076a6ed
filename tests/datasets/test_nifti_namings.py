"""Whose volume a file is, by the names that public data sets and BIDS give: two people are never one, one is never two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nifti_files import dataset, refused, save

from mcsr_bench.protocol import MCSR_1

pytestmark = pytest.mark.usefixtures("own_cache")

BRATS = ("t1", "t1ce", "t2", "flair", "seg")
NAMES = {
    "IXI": ("IXI-{1}/IXI{0:03d}-Guys-0{0:03d}-{1}.nii.gz", ("T1", "T2", "PD"), "IXI001", "IXI001-Guys-0001"),
    "BraTS 2020": (
        "BraTS20_Training_{0:03d}/BraTS20_Training_{0:03d}_{1}.nii",
        BRATS,
        "BraTS20_Training_001",
        "BraTS20_Training_001",
    ),
    "BraTS 2019": (
        "HGG/BraTS19_CBICA_AA{0}_1/BraTS19_CBICA_AA{0}_1_{1}.nii.gz",
        BRATS,
        "BraTS19_CBICA_AA1",
        "BraTS19_CBICA_AA1-1",
    ),
    "BraTS 2021": ("BraTS2021_{0:05d}/BraTS2021_{0:05d}_{1}.nii.gz", BRATS, "BraTS2021_00001", "BraTS2021_00001"),
    "BraTS since 2023": (
        "BraTS-GLI-{0:05d}-000/BraTS-GLI-{0:05d}-000-{1}.nii.gz",
        ("t1n", "t1c", "t2w", "t2f", "seg"),
        "BraTS-GLI-00001",
        "BraTS-GLI-00001-000",
    ),
    "BraTS-GoAT": (
        "BraTS-GoAT-{0:05d}/BraTS-GoAT-{0:05d}-{1}.nii.gz",
        ("t1n", "t1c", "t2w", "t2f", "seg"),
        "BraTS-GoAT-00001",
        "BraTS-GoAT-00001",
    ),
    "BraTS 2017": (
        "Brats17_2013_1{0}_1/Brats17_2013_1{0}_1_{1}.nii.gz",
        BRATS,
        "Brats17_2013_11",
        "Brats17_2013_11-1",
    ),
    "BIDS": ("sub-{0}/anat/sub-{0}_{1}.nii.gz", ("T1w", "ce-gad_T1w", "T2w", "FLAIR"), "sub-1", "sub-1"),
}


@pytest.mark.parametrize("naming", NAMES)
def test_names_of_public_data_are_known(tmp_path: Path, naming: str) -> None:
    pattern, words, patient, volume = NAMES[naming]
    for i in range(3):
        for k, word in enumerate(words):
            save(tmp_path / pattern.format(i, word), seed=10 * i + k)
    data = dataset(tmp_path)
    case = data.cases()[1]
    assert (case.patient_id, case.volume_id) == (patient, volume)
    t1, t2, third = (words[i] for i in ((0, 1, 2) if naming == "IXI" else (0, 2, 3)))
    assert [Path(f).name for f in case.files] == [Path(pattern.format(1, w)).name for w in (t2, t1)]
    assert [f.code for f in data.findings] == ["naming"]
    other = dataset(tmp_path, auxiliary="pd" if naming == "IXI" else "flair")
    assert other.cases()[1].files[1] == str(tmp_path / pattern.format(1, third))


def test_two_projects_of_brats_number_two_people_alike(tmp_path: Path) -> None:
    """GLI-00000 and MET-00000, of one visit number and of another, and two visits of GLI-00001."""
    for name in ("GLI-00000-000", "MET-00000-000", "MET-00000-001", "GLI-00001-000", "GLI-00001-001"):
        for word in ("t1n", "t2w"):
            save(tmp_path / f"BraTS-{name}" / f"BraTS-{name}-{word}.nii.gz")
    cases = dataset(tmp_path).cases()
    assert {c.patient_id for c in cases} == {"BraTS-GLI-00000", "BraTS-GLI-00001", "BraTS-MET-00000"}
    assert len({c.volume_id for c in cases}) == 5


def test_training_and_validation_of_brats_2020_are_other_people(tmp_path: Path) -> None:
    for part in ("Training", "Validation"):
        for word in ("t1", "t2"):
            save(tmp_path / f"BraTS20_{part}_001" / f"BraTS20_{part}_001_{word}.nii")
    assert len({c.patient_id for c in dataset(tmp_path).cases()}) == 2


def bids(root: Path, sub: str, ses: str = "", rest: str = "", words: tuple[str, ...] = ("T1w", "T2w")) -> None:
    """The volumes of a visit in the folders of BIDS."""
    name = "_".join(part for part in (sub, ses, rest) if part)
    for word in words:
        save(root / sub / ses / "anat" / f"{name}_{word}.nii.gz")


def test_bids_needs_no_pattern_and_keeps_sessions_together(tmp_path: Path) -> None:
    for i in range(1, 6):
        for ses in ("ses-01", "ses-02"):
            bids(tmp_path, f"sub-{i:02d}", ses)
    save(tmp_path / "derivatives" / "smooth" / "sub-01" / "ses-01" / "anat" / "sub-01_ses-01_T2w.nii.gz")
    save(tmp_path / "sub-01" / "ses-01" / "anat" / "sub-01_ses-01_part-phase_T2w.nii.gz")
    save(tmp_path / "sub-01" / "ses-01" / "func" / "sub-01_ses-01_task-rest_bold.nii.gz")
    data = dataset(tmp_path)
    cases = data.cases()
    assert sorted({c.patient_id for c in cases}) == [f"sub-{i:02d}" for i in range(1, 6)]
    assert [c.volume_id for c in cases][:2] == ["sub-01-ses-01", "sub-01-ses-02"]
    assert cases[0].files == tuple(
        str(tmp_path / f"sub-01/ses-01/anat/sub-01_ses-01_{word}.nii.gz") for word in ("T2w", "T1w")
    )
    data.split(cases, MCSR_1).check(cases)
    assert [f.code for f in data.findings] == ["naming"]


@pytest.mark.parametrize("contrasts", [("T2w", "T1w"), ("flair", "t1c")])
def test_contrasts_of_bids_by_its_own_words(tmp_path: Path, contrasts: tuple[str, str]) -> None:
    bids(tmp_path, "sub-1", words=("T1w", "ce-gadolinium_T1w", "T2w", "FLAIR"))
    [case] = dataset(tmp_path, target=contrasts[0], auxiliary=contrasts[1]).cases()
    words = ("T2w", "T1w") if contrasts[0] == "T2w" else ("FLAIR", "ce-gadolinium_T1w")
    assert [Path(f).name for f in case.files] == [f"sub-1_{word}.nii.gz" for word in words]


def test_of_several_runs_the_first_is_used_and_the_rest_told(tmp_path: Path) -> None:
    for run in ("run-1", "run-2"):
        bids(tmp_path, "sub-1", rest=run)
    data = dataset(tmp_path)
    [case] = data.cases()
    assert [Path(f).name for f in case.files] == ["sub-1_run-1_T2w.nii.gz", "sub-1_run-1_T1w.nii.gz"]
    told = [f.message for f in data.findings if f.code == "several-volumes"]
    assert ["sub-1_run-2_T2w" in told[0], "sub-1_run-2_T1w" in told[1]] == [True, True]


def test_sub_01_of_two_sites_are_two_people(tmp_path: Path) -> None:
    for site in ("site A", "site-A", "b"):
        for i in (1, 2):
            bids(tmp_path / site, f"sub-0{i}")
    data = dataset(tmp_path)
    cases = data.cases()
    assert len({c.patient_id for c in cases}) == len({c.volume_id for c in cases}) == 6
    assert {c.patient_id for c in cases} >= {"b-sub-01", "site-A-sub-01"}
    [found] = [f for f in data.findings if f.code == "patients-alike"]
    assert found.marks
    assert "2 names of patients occur in several folders, such as sub-01 in b and in site A" in found.message


def test_a_data_set_in_a_folder_of_its_own_keeps_its_names(tmp_path: Path) -> None:
    for i in (1, 2):
        bids(tmp_path / "rawdata", f"sub-0{i}")
    assert [c.patient_id for c in dataset(tmp_path).cases()] == ["sub-01", "sub-02"]


def test_the_table_of_participants_is_compared(tmp_path: Path) -> None:
    for i in (1, 2, 4):
        bids(tmp_path, f"sub-0{i}")
    (tmp_path / "participants.tsv").write_text("participant_id\tage\nsub-01\t30\nsub-02\t40\nsub-03\t50\n")
    data = dataset(tmp_path)
    data.cases()
    told = [f.message for f in data.findings if f.code == "participants"]
    assert told == [
        "1 of 3 participants have no pair of volumes and are left out, e.g. sub-03",
        "1 patients with a pair of volumes are not in it, e.g. sub-04; they are used",
    ]
    (tmp_path / "participants.tsv").write_bytes(b"\xff\xfe\x00participant_id")
    again = dataset(tmp_path)
    again.cases()
    assert "cannot be read" in next(f.message for f in again.findings if f.code == "participants")


def test_pairs_of_hdr_and_img_are_named(tmp_path: Path) -> None:
    for contrast in ("T1", "T2"):
        for suffix in (".hdr", ".img"):
            (tmp_path / f"p0_{contrast}{suffix}").write_bytes(b"")
    refused(
        dataset(tmp_path), "no NIfTI file, but pairs of .hdr and .img such as p0_T1.hdr", "convert these to .nii.gz"
    )
    for contrast in ("T1", "T2"):
        save(tmp_path / f"p1_{contrast}.nii.gz")
    data = dataset(tmp_path)
    assert [c.patient_id for c in data.cases()] == ["p1"]
    assert "2 pairs of .hdr and .img are left out" in next(f.message for f in data.findings if f.code == "unread")


@pytest.mark.parametrize(("pattern", "told"), [("BraTS-*-{patient}-{visit}-", 1), ("{patient}_{visit}*_", 0)])
def test_a_wildcard_that_hides_who_it_is_is_told(tmp_path: Path, pattern: str, told: int) -> None:
    for name in ("BraTS-GLI-00000-000-", "BraTS-MET-00000-001-") if told else ("a_1x_", "a_2y_"):
        for word in ("t1n", "t2w"):
            save(tmp_path / f"{name}{word}.nii.gz")
    settings: dict[str, Any] = {"target_pattern": f"{pattern}t2w.nii.gz", "auxiliary_pattern": f"{pattern}t1n.nii.gz"}
    data = dataset(tmp_path, **settings)
    assert len({c.patient_id for c in data.cases()}) == 1
    found = [f for f in data.findings if f.code == "patients-alike"]
    assert len(found) == 2 * told
    for finding in found:
        assert finding.marks
        assert "files of BraTS-GLI-00000 and BraTS-MET-00000 are one patient, 00000" in finding.message


def test_what_is_only_alike_is_not_taken_for_ixi(tmp_path: Path) -> None:
    """Or all of them would be the patient "sub"."""
    for i in range(3):
        for contrast in ("T1", "T2"):
            save(tmp_path / f"sub-{i}-{contrast}.nii.gz")
    refused(dataset(tmp_path), "no two files", "sub-0-T1.nii.gz")
