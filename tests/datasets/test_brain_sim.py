"""The brain-sim plugin: physics, random fields, determinism and the adapter, checked against independent computations."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mcsr_bench.datasets.brain_sim import BrainSim, BrainSimSettings, template
from mcsr_bench.datasets.brain_sim.fields import random_field
from mcsr_bench.datasets.brain_sim.physics import (
    SEQUENCES,
    TISSUES,
    acquire,
    receiver_noise,
    signals,
    spin_echo,
    vary,
)
from mcsr_bench.datasets.brain_sim.picture import draw
from mcsr_bench.datasets.brain_sim.simulate import BRAIN, generate_subject
from mcsr_bench.errors import UserError
from mcsr_bench.kspace import truncate
from mcsr_bench.plugin.cards import DatasetCard
from mcsr_bench.plugin.dataset import Dataset
from mcsr_bench.plugin.loading import checked
from mcsr_bench.plugin.registry import datasets
from mcsr_bench.protocol import MCSR_1, SANET_2021

Images = NDArray[np.complex64]
Array = NDArray[Any]


def dataset(**settings: Any) -> BrainSim:
    return BrainSim("brain-sim", BrainSimSettings(**settings))


def spectrum(image: Array) -> Array:
    """Centred orthonormal FFT over the last two axes, numpy in double precision."""
    shifted = np.fft.ifftshift(image.astype(np.complex128), axes=(-2, -1))
    return np.fft.fftshift(np.fft.fft2(shifted, norm="ortho"), axes=(-2, -1))


def centre(size: int, kept: int) -> slice:
    return slice(size // 2 - kept // 2, size // 2 - kept // 2 + kept)


# --- physics -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tissue", "sequence", "by_hand"),
    [
        ("white", "T2w", 0.186159),
        ("grey", "T2w", 0.281567),
        ("csf", "T2w", 0.574042),
        ("fat", "T1w", 0.706025),
        ("csf", "T1w", 0.006792),
        ("white", "T1w", 0.237822),
        ("grey", "T1w", 0.144281),
        ("white", "PDw", 0.500578),
        ("csf", "FLAIR", 0.012354),
        ("white", "FLAIR", 0.135873),
    ],
)
def test_the_spin_echo_signal_is_the_one_worked_out_by_hand(tissue: str, sequence: str, by_hand: float) -> None:
    assert spin_echo(TISSUES[tissue], SEQUENCES[sequence]) == pytest.approx(by_hand, abs=1e-6)


def test_fat_is_saturated_where_the_sequence_says_so() -> None:
    assert signals(TISSUES, SEQUENCES["T1w"])["fat"] == pytest.approx(0.0353013, abs=1e-6)
    assert signals(TISSUES, SEQUENCES["T2w"])["fat"] == pytest.approx(0.4005427, abs=1e-6)
    assert signals(TISSUES, SEQUENCES["T1w"])["grey"] == spin_echo(TISSUES["grey"], SEQUENCES["T1w"])


def test_tissue_values_vary_by_five_per_cent_at_most_and_by_subject() -> None:
    values = np.array([vary(TISSUES["grey"], np.random.default_rng(i)) for i in range(200)]) / TISSUES["grey"]
    assert np.abs(values - 1).max() <= 0.05
    assert np.abs(values - 1).max(axis=0) == pytest.approx([0.05] * 3, abs=0.003)
    assert len(np.unique(values)) == values.size


@pytest.mark.parametrize(("fine", "size"), [(64, 32), (96, 32), (99, 33), (66, 33)])
def test_acquisition_keeps_the_centre_of_k_space_and_the_amplitude(fine: int, size: int) -> None:
    rng = np.random.default_rng(3)
    image = (rng.standard_normal((fine, fine)) + 1j * rng.standard_normal((fine, fine))).astype(np.complex64)
    low = acquire(image, size)
    expected = spectrum(image)[centre(fine, size), centre(fine, size)] * size / fine
    np.testing.assert_allclose(spectrum(low), expected, atol=2e-6)
    np.testing.assert_allclose(low, truncate(torch.from_numpy(image), (size, size)).numpy(), atol=2e-6)
    np.testing.assert_allclose(acquire(np.full((fine, fine), 2 - 1j, np.complex64), size), 2 - 1j, atol=1e-5)


def test_noise_is_white_complex_and_as_strong_as_asked() -> None:
    noise = np.stack([receiver_noise(np.random.default_rng(i), 64, 0.25) for i in range(40)])
    assert np.sqrt(np.mean(np.abs(noise) ** 2)) == pytest.approx(0.25, rel=0.01)
    assert noise.real.std() == pytest.approx(noise.imag.std(), rel=0.02)
    power = np.mean(np.abs(spectrum(noise)) ** 2, axis=0)
    assert power[16:48, 16:48].mean() == pytest.approx(power[:16].mean(), rel=0.05)


# --- random fields -------------------------------------------------------------------------------------------------------


def test_a_field_has_unit_variance_and_the_same_values_on_a_grid_as_at_points() -> None:
    bounds = ((0.0, 90.0), (-50.0, 40.0), (-40.0, 50.0))
    field = random_field(np.random.default_rng(0), 3.0, bounds)
    axes = [np.linspace(low, high, n) for (low, high), n in zip(bounds, (41, 43, 47), strict=True)]
    values = field.on_grid(*axes)
    assert values.std() == pytest.approx(1, abs=0.04)
    assert abs(values.mean()) < 0.05
    points = [p.astype(np.float32) for p in np.meshgrid(*axes, indexing="ij")]
    inside = (slice(1, -1),) * 3  # at() mirrors at the very border
    np.testing.assert_allclose(field.at(*points)[inside], values[inside], atol=1e-4)


def test_a_band_pass_field_has_no_large_structures() -> None:
    bounds = ((0.0, 100.0),) * 3
    axes = [np.arange(0.0, 100.0, 2.0)] * 3
    blocks = {}
    for band_pass in (False, True):
        values = random_field(np.random.default_rng(1), 4.0, bounds, band_pass=band_pass).on_grid(*axes)
        assert values.std() == pytest.approx(1, abs=0.12)
        blocks[band_pass] = values.reshape(5, 10, 5, 10, 5, 10).mean(axis=(1, 3, 5)).std()
    assert blocks[True] < 0.5 * blocks[False]


# --- determinism ---------------------------------------------------------------------------------------------------------


def checksum(images: dict[str, Images]) -> dict[str, str]:
    return {contrast: hashlib.sha256(image.tobytes()).hexdigest() for contrast, image in images.items()}


def test_a_subject_depends_on_seed_and_number_alone() -> None:
    def make(subject: int, seed: int = 0) -> dict[str, str]:
        return checksum(generate_subject(subject, seed=seed, size=32, slices=2))

    first = make(1)
    others = [make(2), make(1, seed=1), make(0)]
    assert make(1) == first
    assert all(o[contrast] != first[contrast] for o in others for contrast in first)


def test_a_contrast_does_not_depend_on_the_others_nor_on_the_number_of_slices_asked_before() -> None:
    both = checksum(generate_subject(1, size=32, slices=2))
    assert checksum(generate_subject(1, size=32, slices=2, contrasts=("FLAIR", "T2w")))["T2w"] == both["T2w"]
    assert checksum(generate_subject(1, size=32, slices=2, contrasts=("T1w", "PDw")))["T1w"] == both["T1w"]


def test_bytes_do_not_depend_on_threads_or_string_hashes() -> None:
    code = (
        "import hashlib; from mcsr_bench.datasets.brain_sim.simulate import generate_subject\n"
        "print({c: hashlib.sha256(i.tobytes()).hexdigest() for c, i in generate_subject(1, size=32, slices=1).items()})"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    output = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert output.stdout.strip() == str(checksum(generate_subject(1, size=32, slices=1)))


@pytest.mark.parametrize("size", [16, 32, 48, 64, 75])
def test_small_and_odd_sizes_work(size: int) -> None:
    images = generate_subject(0, size=size, slices=1)
    brain = images.pop(BRAIN)
    assert (brain.shape, brain.dtype) == ((1, size, size), np.bool_)
    for image in images.values():
        assert image.shape == (1, size, size)
        assert image.dtype == np.complex64
        assert np.isfinite(image).all()


# --- the adapter ---------------------------------------------------------------------------------------------------------


def test_the_registry_finds_it_and_the_card_agrees_with_the_code() -> None:
    card = datasets().card("brain-sim")
    assert isinstance(card, DatasetCard)
    assert datasets().load("brain-sim") is BrainSim
    assert card.real is False
    assert card.track == BrainSim.track
    assert set(card.contrasts) == set(SEQUENCES)
    assert issubclass(BrainSim, Dataset)
    text = (Path(template.__file__).parent / "card.toml").read_text(encoding="utf-8")
    assert "real data" not in text


def test_cases_and_read_agree_whatever_the_order() -> None:
    data = dataset(subjects=4, size=32, slices=2)
    cases = data.cases()
    assert [c.volume_id for c in cases] == [f"subject-000{i}" for i in range(4)]
    assert len({c.patient_id for c in cases}) == 4
    assert data.contrasts == ("T2w", "T1w")
    backwards = {c.volume_id: list(data.read(c)) for c in reversed(cases[:3])}
    for number, case in enumerate(cases[:3]):
        slices = backwards[case.volume_id]
        expected = generate_subject(number, size=32, slices=2, displacements={"T1w": data.displacement(case)})
        assert len(slices) == case.n_slices == 2
        for i, (target, auxiliary) in enumerate(slices):
            assert target.shape == auxiliary.shape == case.shape == (32, 32)
            assert target.dtype == auxiliary.dtype == np.complex64
            assert (target == expected["T2w"][i]).all()
            assert (auxiliary == expected["T1w"][i]).all()


def test_target_auxiliary_and_misalignment_are_settings() -> None:
    data = dataset(subjects=3, size=32, slices=1, target="FLAIR", auxiliary="T2w", misalignment_mm=9)
    cases = data.cases()
    data.cases()
    assert data.contrasts == ("FLAIR", "T2w")
    target, auxiliary = next(iter(data.read(cases[0])))
    plain = generate_subject(0, size=32, slices=1, contrasts=("FLAIR", "T2w"))
    assert (target == plain["FLAIR"][0]).all()
    assert (auxiliary != plain["T2w"][0]).any()
    assert [(f.code, f.marks) for f in data.findings] == [("misaligned", True)]
    assert "9 mm" in data.findings[0].message


@pytest.mark.parametrize(("subjects", "sizes"), [(60, (42, 6, 12)), (20, (14, 2, 4)), (3, (1, 1, 1))])
def test_the_split_is_by_subject_70_10_20(subjects: int, sizes: tuple[int, int, int]) -> None:
    data = dataset(subjects=subjects)
    cases = data.cases()
    split = data.split(cases, MCSR_1)
    split.check(cases)
    parts = (split.train, split.validation, split.test)
    assert tuple(map(len, parts)) == sizes
    assert sorted(v for part in parts for v in part) == [c.volume_id for c in cases]
    assert data.split(list(reversed(cases)), MCSR_1).test == tuple(reversed(split.test))
    assert split.patient_disjoint


def test_a_protocol_that_validates_on_the_test_data_is_obeyed_and_said() -> None:
    data = dataset(subjects=10)
    split = data.split(data.cases(), SANET_2021)
    split.check(data.cases())
    assert split.validation == split.test
    assert not set(split.train) & set(split.test)
    assert not split.patient_disjoint


def test_the_fingerprint_changes_with_everything_that_changes_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"subjects": 61},
        {"slices": 5},
        {"size": 64},
        {"seed": 1},
        {"target": "PDw"},
        {"auxiliary": "PDw"},
        {"misalignment_mm": 1},
        {"misalignment_deg": 1},
        {"motion_mm": 0},
        {"motion_deg": 0},
    ]
    prints = [dataset(**change).fingerprint() for change in changes]
    assert {key for change in changes for key in change} == set(BrainSimSettings.model_fields)
    assert len(set(prints)) == len(changes)
    assert dataset().fingerprint() == prints[0]
    monkeypatch.setattr("mcsr_bench.datasets.brain_sim.RECIPE", -1)
    assert dataset().fingerprint() != prints[0]


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("subjects", 2, r"brain-sim\.subjects=2: subjects must lie in 3\.\.10000"),
        ("size", 8, r"brain-sim\.size=8: size must lie in 16\.\.1024"),
        ("slices", 0, r"slices must lie in 1\.\.64"),
        ("seed", -1, r"seed must lie in 0\.\."),
        ("target", "T3w", r"brain-sim\.target=T3w: .*'T2w', 'T1w', 'PDw' or 'FLAIR'"),
        ("misalignment_mm", -1, r"misalignment_mm must lie in 0"),
        ("motion_mm", 6, r"brain-sim\.motion_mm=6: motion_mm must lie in 0"),
        ("motion_deg", -1, r"motion_deg must lie in 0"),
        ("sise", 64, r"'sise'; did you mean 'size'"),
    ],
)
def test_wrong_settings_are_refused_in_a_sentence(key: str, value: object, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        checked(BrainSimSettings, {key: value}, "brain-sim")


def test_the_target_cannot_be_its_own_auxiliary() -> None:
    with pytest.raises(UserError, match=r"brain-sim\.auxiliary=T2w: .* another contrast"):
        dataset(auxiliary="T2w").cases()


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    draw(tmp_path / "brain-sim.png", size=32, subjects=2)
    assert (tmp_path / "brain-sim.png").read_bytes().startswith(b"\x89PNG")
