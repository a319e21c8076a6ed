"""A bundle on a user's own pair of files: what is predicted, and a sentence for what cannot be."""

from __future__ import annotations

from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import torch
import user_pairs as pairs

import mcsr_bench as mb
from mcsr_bench import kspace
from mcsr_bench.data.store import open_store
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.predicting.files import PredictionOutcome, predict_files, read_bundle
from mcsr_bench.protocol import get_protocol
from mcsr_bench.weights.loading import load_method
from mcsr_bench.weights.tensors import read_info

TOYS = Path(__file__).parent / "toys"


# --- HDF5


def test_hdf5_image_and_kspace_agree(tmp_path: Path) -> None:
    """The k-space of LR size is the centre of the orthonormal k-space of the HR image, as it is acquired."""
    phase = np.exp(1j * np.linspace(0, 1, 20)[None, :, None])
    high = (pairs.band_limited(2, (10, 12), 2) * phase).astype(np.complex64)
    k = kspace.to_kspace(torch.from_numpy(high))
    acquired = kspace.crop_centre(k, (10, 12)).numpy()
    by_image = pairs.hdf5(tmp_path / "image.h5", image=pairs.degraded(high, 2))
    by_kspace = pairs.hdf5(tmp_path / "kspace.h5", kspace=acquired)
    auxiliary = pairs.hdf5(tmp_path / "auxiliary.h5", kspace=k.numpy())
    folder = pairs.trial(tmp_path)
    for target in (by_image, by_kspace):
        predict_files(folder, target, auxiliary, tmp_path / "sr.hdf5")
        with h5py.File(tmp_path / "sr.hdf5") as file:
            found = file["image"][...]
        assert found.dtype == np.complex64
        expected = kspace.zero_fill(torch.from_numpy(pairs.degraded(high, 2)), (20, 24)).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_real_hdf5(tmp_path: Path) -> None:
    """Magnitudes of any number type; a single-contrast method needs no auxiliary."""
    target = pairs.hdf5(tmp_path / "t.h5", image=np.full((2, 8, 8), 3, np.int16))
    outcome = predict_files(pairs.trial(tmp_path, "bicubic"), target, None, tmp_path / "sr.h5")
    with h5py.File(tmp_path / "sr.h5") as file:
        np.testing.assert_allclose(np.abs(file["image"][...]), 3, rtol=1e-5)
    assert outcome.shape == (16, 16)


# --- the same numbers as in a trial


@pytest.mark.parametrize("protocol", ["mcsr-1", "sanet-2021"])
@pytest.mark.parametrize("scale", [2, 4])
def test_predicts_what_a_trial_of_these_weights_would(protocol: str, scale: int, tmp_path: Path) -> None:
    """Degraded by the protocol (which may leave LR brighter) and predicted directly; and from files of true amplitude."""
    folder, method = pairs.bundle(tmp_path, "sanet", scale, protocol)
    target, auxiliary = pairs.band_limited(2, (8, 8), scale) * 40, pairs.band_limited(2, (8, 8), scale, seed=1) * 7
    chosen = get_protocol(protocol)
    expected = []
    for t, a in zip(torch.from_numpy(target), torch.from_numpy(auxiliary), strict=True):
        batch = Batch.of(
            chosen.degrade(t[None], scale), a[None], chosen.degrade(a[None], scale), scale=scale, protocol=chosen
        )
        expected.append(method.predict(batch.without_target()))
    low = pairs.hdf5(tmp_path / "t.h5", image=pairs.degraded(target, scale))
    outcome = predict_files(folder, low, pairs.hdf5(tmp_path / "a.h5", image=auxiliary), tmp_path / "sr.h5")
    with h5py.File(tmp_path / "sr.h5") as file:
        np.testing.assert_allclose(file["image"][...], torch.cat(expected).numpy(), rtol=1e-4, atol=1e-3)
    assert outcome.info.protocol == protocol


def test_the_folder_of_a_trial_predicts_what_the_trial_did(tmp_path: Path, own_cache: Path) -> None:
    """Every test volume as files, and the stored predictions; the weights' header says what the record says."""
    out = tmp_path / "run"
    results = mb.run(
        ("zerofill", "toynet"), "toy", 2, plugins=TOYS, out=out, jobs=2, preset="smoke", protocol="sanet-2021"
    )
    for folder, record in zip(results.trials["folder"], results.records, strict=True):
        assert record.status == "done"
        store = open_store(record.data.store)
        with h5py.File(Path(folder) / "predictions.h5") as stored:
            for number, (name, group) in enumerate(stored.items()):
                volume = store.volumes[name]
                low = np.asarray(volume.target_lr) / 2  # sanet-2021 leaves it twice as bright
                target = pairs.hdf5(tmp_path / f"t{number}.h5", image=low)
                auxiliary = pairs.hdf5(tmp_path / f"a{number}.h5", image=np.asarray(volume.auxiliary))
                mb.predict(folder, target, tmp_path / "sr.h5", auxiliary, device="cpu", plugins=TOYS)
                with h5py.File(tmp_path / "sr.h5") as file:
                    np.testing.assert_allclose(file["image"][...], group["target"][...], rtol=1e-5, atol=1e-5)
        if record.method == "toynet":
            info = read_info(Path(folder) / "weights.safetensors")
            assert info is not None
            assert info == read_bundle(Path(folder))
            assert (info.settings, info.preset, info.key) == (record.settings, "smoke", record.key)


def test_auxiliary_is_used_where_the_method_does(tmp_path: Path) -> None:
    target = pairs.hdf5(tmp_path / "t.h5", image=pairs.degraded(pairs.band_limited(1, (8, 8), 2), 2))
    auxiliaries = [pairs.hdf5(tmp_path / f"{seed}.h5", image=pairs.band_limited(1, (8, 8), 2, seed)) for seed in (1, 2)]
    for method, differs in (("sanet", True), ("edsr", False)):
        folder, _ = pairs.bundle(tmp_path / method, method)
        found = []
        for auxiliary in auxiliaries:
            outcome = predict_files(folder, target, auxiliary, tmp_path / "sr.h5")
            with h5py.File(tmp_path / "sr.h5") as file:
                found.append(file["image"][...])
        assert differs is not np.array_equal(*found)
        assert any("does not use the auxiliary" in note for note in outcome.notes) is not differs


def test_joint_super_resolution_takes_two_lr_volumes(tmp_path: Path) -> None:
    folder, method = pairs.bundle(tmp_path, "sanet", joint=True)
    target, auxiliary = (pairs.degraded(pairs.band_limited(1, (8, 6), 2, seed), 2) for seed in (0, 1))
    files = pairs.hdf5(tmp_path / "t.h5", image=target), pairs.hdf5(tmp_path / "a.h5", image=auxiliary)
    outcome = predict_files(folder, *files, tmp_path / "sr.h5")
    images = torch.from_numpy(target), torch.full((1, 16, 12), torch.nan + 0j), torch.from_numpy(auxiliary)
    batch = Batch.of(*images, scale=2, protocol=get_protocol("mcsr-1"), joint=True)
    prediction = method.predict(batch)
    assert isinstance(prediction, dict)
    with h5py.File(tmp_path / "sr.h5") as file:
        np.testing.assert_allclose(file["image"][...], prediction["target"].numpy(), rtol=1e-5, atol=1e-5)
    assert any("the target was written" in note for note in outcome.notes)


def test_progress_and_lines(tmp_path: Path) -> None:
    target, auxiliary, _ = pairs.nifti_pair(tmp_path)
    seen: list[tuple[int, int]] = []
    outcome = predict_files(
        pairs.trial(tmp_path),
        target,
        auxiliary,
        tmp_path / "sr.nii",
        report=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert isinstance(outcome, PredictionOutcome)
    assert outcome.lines()[0].endswith("zerofill at 2x (protocol mcsr-1)")


def test_a_pair_on_different_grids_is_remarked(tmp_path: Path) -> None:
    target, auxiliary, _ = pairs.nifti_pair(tmp_path)
    image = nibabel.load(auxiliary)
    moved = image.affine.copy()
    moved[:3, 3] += (0, 3, 4)
    pairs.save(auxiliary, np.asarray(image.dataobj), moved)
    assert "up to 5 mm off" in predict_files(pairs.trial(tmp_path), target, auxiliary, tmp_path / "sr.nii").notes[0]


# --- what cannot be


def refused(tmp_path: Path, folder: Path, target: Path, auxiliary: Path | None, to: str) -> str:
    with pytest.raises(UserError) as raised:
        predict_files(folder, target, auxiliary, tmp_path / to)
    assert r"\n" not in str(raised.value)  # how UserError shows a line break
    assert not list(tmp_path.glob("sr*"))
    return str(raised.value)


def test_sizes_that_do_not_belong_together(tmp_path: Path) -> None:
    folder = pairs.trial(tmp_path)
    target = pairs.hdf5(tmp_path / "t.h5", image=np.ones((2, 8, 8)))
    wrong = pairs.hdf5(tmp_path / "a.h5", image=np.ones((2, 16, 24)))
    assert "are 16 x 24; those of" in refused(tmp_path, folder, target, wrong, "sr.h5")
    wrong = pairs.hdf5(tmp_path / "a.h5", image=np.ones((2, 8, 8)))
    assert "are to be 2 times as large (16 x 16)" in refused(tmp_path, folder, target, wrong, "sr.h5")
    wrong = pairs.hdf5(tmp_path / "a.h5", image=np.ones((3, 16, 16)))
    assert "has 3 slices, and" in refused(tmp_path, folder, target, wrong, "sr.h5")
    low = pairs.save(tmp_path / "t.nii", np.ones((8, 8, 2)), np.eye(4))
    wrong = pairs.save(tmp_path / "a.nii", np.ones((16, 8, 2)), np.eye(4))
    assert "2 times as large" in refused(tmp_path, folder, low, wrong, "sr.nii")


def test_files_of_other_kinds(tmp_path: Path) -> None:
    folder, (target, auxiliary, _) = pairs.trial(tmp_path), pairs.nifti_pair(tmp_path)
    image = pairs.hdf5(tmp_path / "a.h5", image=np.ones((2, 8, 8)))
    assert "files of one kind" in refused(tmp_path, folder, target, image, "sr.nii")
    assert "has the format of the target" in refused(tmp_path, folder, target, auxiliary, "sr.h5")
    assert "a volume is a NIfTI file" in refused(tmp_path, folder, target, auxiliary, "sr.png")
    assert "over a file that is read" in refused(tmp_path, folder, target, auxiliary, target.name)
    assert "no such file" in refused(tmp_path, folder, tmp_path / "x.nii", auxiliary, "sr.nii")


@pytest.mark.parametrize("content", [b"", b"hello", bytes(range(256)) * 4])
@pytest.mark.parametrize("name", ["bad.nii", "bad.nii.gz", "bad.h5"])
def test_damaged_files(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    suffix = name.removeprefix("bad")
    assert "damaged or not" in refused(tmp_path, pairs.trial(tmp_path), tmp_path / name, None, f"sr{suffix}")


def test_hdf5_without_what_is_needed(tmp_path: Path) -> None:
    folder = pairs.trial(tmp_path)
    for datasets, words in (
        ({"volume": np.ones((2, 8, 8))}, "neither a dataset 'image' nor 'kspace' (it has: volume)"),
        ({"image": np.ones((8, 8))}, "'image' has the shape 8 x 8"),
        ({"kspace": np.ones((2, 4, 8, 8), np.complex64)}, "'kspace' has the shape 2 x 4 x 8 x 8"),
        ({"kspace": np.ones((2, 8, 8))}, "'kspace' holds values of type float64"),
        ({"image": np.full((2, 8, 8), np.inf + 0j)}, "holds NaN or Inf"),
    ):
        target = pairs.hdf5(tmp_path / "t.h5", **datasets)
        assert words in refused(tmp_path, folder, target, None, "sr.h5")


def test_bundles_that_are_none(tmp_path: Path) -> None:
    target = pairs.hdf5(tmp_path / "t.h5", image=np.ones((2, 8, 8)))
    auxiliary = pairs.hdf5(tmp_path / "a.h5", image=np.ones((2, 16, 16)))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no such folder" in refused(tmp_path, tmp_path / "x", target, auxiliary, "sr.h5")
    assert "holds no trial and no imported weights" in refused(tmp_path, empty, target, auxiliary, "sr.h5")
    (empty / "weights.safetensors").write_bytes(b"nothing")
    assert "cannot be read as safetensors" in refused(tmp_path, empty, target, auxiliary, "sr.h5")
    running = pairs.trial(tmp_path, seed=1, status="running")
    assert "its status is 'running'" in refused(tmp_path, running, target, auxiliary, "sr.h5")
    settings = load_method("sanet", 2, "quick").settings.model_dump(mode="json")
    lost = pairs.trial(tmp_path, "sanet", preset="quick", settings=settings)
    assert "has no weights.safetensors" in refused(tmp_path, lost, target, auxiliary, "sr.h5")
    folder, _ = pairs.bundle(tmp_path, "sanet")
    assert "--auxiliary is missing" in refused(tmp_path, folder, target, None, "sr.h5")


def test_the_header_of_a_trial_says_as_much_as_its_record(tmp_path: Path) -> None:
    """An interpolation has the record alone, imported weights the header alone."""
    assert read_bundle(pairs.trial(tmp_path)).method == "zerofill"
    folder, method = pairs.bundle(tmp_path, "edsr", 4)
    info = read_bundle(folder)
    assert (info.method, info.scale, info.settings["width"]) == ("edsr", 4, method.settings.width)
