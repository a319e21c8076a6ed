"""Protocol ``sanet-2021`` on fastMRI files against the published pipeline, number for number.

The pipeline is written down again here in numpy float64, from its description alone: nothing of mcsr_bench or torch is used on
the expected side. Sizes are 64 and 32 or 16 pixels instead of 320 and 160 or 80.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pandas import Series
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mcsr_bench import evaluate, run
from mcsr_bench.data.prepare import prepare
from mcsr_bench.data.sampler import Sampler
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.loading import load_dataset
from mcsr_bench.protocol import SANET_2021

Array = NDArray[np.float64]
Image = NDArray[np.complex128]
SIZE = 64
AXES = (-2, -1)


# --- the published pipeline ------------------------------------------------------------------------------------------


def fft2c(image: Image) -> Image:
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, axes=AXES), norm="ortho"), axes=AXES)


def ifft2c(kspace: Image) -> Image:
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=AXES), norm="ortho"), axes=AXES)


def centre_crop(x: Image, n: int) -> Image:
    top, left = (x.shape[-2] - n) // 2, (x.shape[-1] - n) // 2
    return x[..., top : top + n, left : left + n]


@dataclass
class Published:
    """One contrast of a volume: physical magnitudes (S, ., .), statistics (S, 1, 1), what a network would see."""

    image: Image
    lr: Array
    hr: Array
    mean: Array
    std: Array

    @classmethod
    def of(cls, path: Path, slices: int, scale: int) -> Published:
        with h5py.File(path) as file:
            kspace = file["kspace"][:slices].astype(np.complex128)
            target = file["reconstruction_esc"][:slices].astype(np.float64)
        image = centre_crop(ifft2c(kspace), SIZE)
        lr = np.abs(ifft2c(centre_crop(fft2c(image), SIZE // scale)))
        return cls(image, lr, target, lr.mean(AXES, keepdims=True), lr.std(AXES, ddof=1, keepdims=True))

    def normalised(self, magnitude: Array) -> Array:
        return np.clip((magnitude - self.mean) / (self.std + 1e-11), -6, 6)

    @property
    def reference(self) -> Array:
        """What is scored against: the clamped target, denormalised."""
        return self.normalised(self.hr) * self.std + self.mean

    def zero_filled(self, scale: int) -> Array:
        """k-space of the image outside the LR window set to zero."""
        kspace, n = fft2c(self.image), SIZE // scale
        kept = np.zeros_like(kspace)
        first = (SIZE - n) // 2
        window = (..., slice(first, first + n), slice(first, first + n))
        kept[window] = kspace[window]
        return np.abs(ifft2c(kept))

    def bicubic(self, scale: int) -> Array:
        """Keys' cubic convolution (a = -0.75) of the LR magnitude over s, at HR samples: centre sample on centre sample."""
        n = SIZE // scale
        weights = np.zeros((SIZE, n))
        for j in range(SIZE):
            at = (j - SIZE // 2) / scale + n // 2
            for i in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
                weights[j, min(max(i, 0), n - 1)] += keys(abs(at - i), -0.75)
        return np.einsum("ji,sik,lk->sjl", weights, self.lr / scale, weights)

    def of_output(self, output: Array) -> Array:
        """A network's output as it is scored: denormalised, and nothing more."""
        return output * self.std + self.mean


def keys(d: float, a: float) -> float:
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(fastmri_tree: Callable[..., Path], fastmri_files: ModuleType, own_cache: Path) -> Path:
    """3 train and 2 test pairs; odd widths, PD with a slice more, in every slice a vessel that the clamp cuts at scale 2.

    The first slice of every file is as faint as the ends of a volume are: the published code takes all slices.

    At scale 4 the LR image, whose statistics are used, is so much brighter that nothing reaches 6 standard deviations.
    """
    root = fastmri_tree(3, 2, slices=2, shape=(130, 75))
    for part in ("train", "val"):
        for pd, _ in fastmri_files.published(part)[: 3 if part == "train" else 2]:
            path = fastmri_files.file_of(root, pd)
            with h5py.File(path) as file:
                patient = file.attrs["patient_id"]
            seed = int(patient[-3:])
            fastmri_files.write_volume(path, contrast="PD", patient_id=patient, seed=seed, slices=3, shape=(128, 72))
    for path in sorted(root.rglob("*.h5")):
        with h5py.File(path, "r+") as file:
            image = ifft2c(file["kspace"][()].astype(np.complex128))
            middle = (image.shape[-2] // 2 + 5, image.shape[-1] // 2 - 9)
            image[:, middle[0] : middle[0] + 2, middle[1] : middle[1] + 2] = 6 * np.abs(image).max()
            image[0] *= 0.02
            kspace = fft2c(image).astype(np.complex64)
            file["kspace"][...] = kspace
            file["reconstruction_esc"][...] = np.abs(centre_crop(ifft2c(kspace.astype(np.complex128)), SIZE))
    return root


def volumes_of(root: Path, fastmri_files: ModuleType, part: str, scale: int) -> dict[str, tuple[Published, Published]]:
    """(FS-PD, PD) by the name of the FS-PD file, slices paired by index, of the pairs that are there."""
    out: dict[str, tuple[Published, Published]] = {}
    for pd, fspd in fastmri_files.published(part)[: 3 if part == "train" else 2]:
        paths = [fastmri_files.file_of(root, name) for name in (fspd, pd)]
        counts = []
        for path in paths:
            with h5py.File(path) as file:
                counts.append(len(file["kspace"]))
        assert counts == [2, 3]
        target, auxiliary = (Published.of(path, min(counts), scale) for path in paths)
        out[fspd] = (target, auxiliary)
    return out


def close(got: torch.Tensor, expected: Array, tolerance: float = 2e-5) -> None:
    """Equal up to float32: normalised values are within +-6."""
    np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=tolerance)


# --- the tests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 4])
def test_what_a_network_sees_is_what_the_published_loader_gives(
    tree: Path, fastmri_files: ModuleType, scale: int
) -> None:
    [prepared] = prepare(load_dataset("fastmri", tree), SANET_2021, [scale])
    sampler = Sampler(prepared.store, prepared.split, SANET_2021, seed=0)
    expected = volumes_of(tree, fastmri_files, "val", scale)
    seen = 0
    for batch in sampler.validation():
        target, auxiliary = expected[batch.volume_id[0]]
        i = batch.slice_index[0]
        one = slice(i, i + 1)
        close(batch.target_lr_magnitude, target.normalised(target.lr)[one])
        close(batch.target_magnitude, target.normalised(target.hr)[one])
        close(batch.auxiliary_lr_magnitude, auxiliary.normalised(auxiliary.lr)[one])
        close(batch.auxiliary_magnitude, auxiliary.normalised(auxiliary.hr)[one])
        assert (batch.target_magnitude.max() == 6) == (scale == 2)  # the clamp is at work, in the reference too
        np.testing.assert_allclose(batch.target_lr.abs().numpy(), target.lr[one], rtol=0, atol=1e-5 * target.lr.max())
        back = batch.denormalize_target(batch.target_magnitude).numpy()
        np.testing.assert_allclose(back, target.reference[one], rtol=0, atol=2e-5 * target.hr.max())
        seen += 1
    assert seen == 2 * 2
    test = [v.volume_id for v in sampler.test_volumes()]
    assert test == list(expected)  # validation is the test part, and both are the published val list
    assert sampler.n_train_slices == 3 * 2


def test_the_lr_image_is_as_many_times_brighter_as_the_scale(tree: Path, fastmri_files: ModuleType) -> None:
    """A property of the published pipeline, on the expected side alone: were it lost there, the tests here would prove less."""
    for scale in (2, 4):
        for target, _ in volumes_of(tree, fastmri_files, "val", scale).values():
            low = target.zero_filled(scale)[:, ::scale, ::scale]  # centre sample on centre sample
            np.testing.assert_allclose(target.lr, scale * low, atol=1e-9 * target.lr.max())


def test_training_slices_are_the_published_ones_too(tree: Path, fastmri_files: ModuleType) -> None:
    [prepared] = prepare(load_dataset("fastmri", tree), SANET_2021, [2])
    sampler = Sampler(prepared.store, prepared.split, SANET_2021, seed=3)
    expected = volumes_of(tree, fastmri_files, "train", 2)
    seen = set()
    for step in range(sampler.steps_per_epoch(2)):
        batch = sampler.batch(step, batch_size=2, patch=0, augment="none")
        for k, (name, i) in enumerate(zip(batch.volume_id, batch.slice_index, strict=True)):
            target, auxiliary = expected[name]
            close(batch.target_lr_magnitude[k], target.normalised(target.lr)[i])
            close(batch.target_magnitude[k], target.normalised(target.hr)[i])
            close(batch.auxiliary_magnitude[k], auxiliary.normalised(auxiliary.hr)[i])
            seen.add((name, i))
    assert seen == {(name, i) for name in expected for i in (0, 1)}


@pytest.mark.filterwarnings(
    "ignore:.*(only a part of the published lists|do not have the same voxels|findings 'hot-voxel')"
)
def test_scores_are_those_of_the_published_evaluation(tree: Path, fastmri_files: ModuleType, tmp_path: Path) -> None:
    """Predictions uncut; PSNR and NMSE over the volume, SSIM per slice, all with the maximum of the clamped target volume."""
    results = run(
        methods=["zerofill", "bicubic"],
        dataset="fastmri",
        scale=[2, 4],
        data_root=tree,
        protocol="sanet-2021",
        preset="quick",
        out=tmp_path / "run",
        jobs=1,
    )
    table = results.volumes.set_index(["scale", "method", "volume_id"])
    assert len(table) == 2 * 2 * 2
    for scale in (2, 4):
        for name, (target, _) in volumes_of(tree, fastmri_files, "val", scale).items():
            reference = target.reference
            assert (reference.max() < 0.95 * target.hr.max()) == (scale == 2)
            assert target.bicubic(scale).min() < 0
            for method, prediction in (("zerofill", target.zero_filled(scale)), ("bicubic", target.bicubic(scale))):
                row = table.loc[(scale, method, name)]
                assert row["contrast"] == "FS-PD"
                scored_as(row, prediction, reference)


@pytest.mark.filterwarnings(
    "ignore:.*(only a part of the published lists|do not have the same voxels|findings 'hot-voxel')"
)
def test_outputs_of_a_network_are_scored_as_they_come_back(tree: Path, fastmri_files: ModuleType) -> None:
    """An output about zero, as of a network that has learned little: half of it is below zero in the dark of the image."""
    y, x = np.mgrid[:SIZE, :SIZE]
    output = np.sin(y / 3) + np.cos(x / 4) - 0.5

    def network(batch: Batch) -> torch.Tensor:
        return batch.denormalize_target(torch.from_numpy(output).expand(len(batch), -1, -1))

    table = evaluate(network, "fastmri", 2, data_root=tree, protocol="sanet-2021").set_index("volume_id")
    for name, (target, _) in volumes_of(tree, fastmri_files, "val", 2).items():
        prediction = target.of_output(np.broadcast_to(output, target.hr.shape))
        assert (prediction < 0).mean() > 0.2
        scored_as(table.loc[name], prediction, target.reference)


def scored_as(row: Series, prediction: Array, reference: Array) -> None:
    peak = reference.max()
    ssim = [structural_similarity(a, b, data_range=peak) for a, b in zip(reference, prediction, strict=True)]
    nmse = np.linalg.norm(reference - prediction) ** 2 / np.linalg.norm(reference) ** 2
    psnr = peak_signal_noise_ratio(reference, prediction, data_range=peak)
    assert row["psnr@volume-max"] == pytest.approx(psnr, abs=1e-3)
    assert row["ssim@volume-max"] == pytest.approx(np.mean(ssim), abs=1e-5)
    assert row["nmse@volume"] == pytest.approx(nmse, rel=1e-4)
