"""Phase, duplicates, pairs, broken volumes: planted and found."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest


def codes(found: list[Any]) -> list[str]:
    return [f.code for f in found]


# --- phase ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slope", [(0.0, 0.0), (1.0, 0.5), (3.0, -5.0), (20.0, -13.0), (-30.0, 24.0)])
@pytest.mark.parametrize("level", [0.0, 0.02, 0.1])
def test_a_magnitude_with_a_straight_phase_is_complex_by_name_only(
    lab: ModuleType, slope: tuple[float, float], level: float
) -> None:
    rng = np.random.default_rng(1)
    y, x = lab.grid((64, 48))
    straight = np.exp(1j * (0.7 + 2 * np.pi * (slope[0] * y / 64 + slope[1] * x / 48)))
    pairs = [
        tuple(im.real * straight + lab.noise(im.shape, level, rng) for im in p)
        for p in lab.volume((64, 48), level=0, phases=False)
    ]
    facts = lab.inspect(pairs)
    assert [facts["contrasts"][kind]["fake_complex"] for kind in ("target", "auxiliary")] == [True, True]
    found = facts["contrasts"]["target"]["phase"]["slope"]
    assert np.exp(2j * np.pi * np.array(found) / (64, 48)) == pytest.approx(
        np.exp(2j * np.pi * np.array(slope) / (64, 48)), abs=0.02
    )  # half a turn either way is one slope
    told = [(f.code, f.severity, f.marks) for f in lab.of(facts)]
    off = [("off-centre", "warning", False)] if max(map(abs, slope)) > 1.5 else []
    assert told == [("fake-complex", "warning", True), *off] * 2  # each that is true
    assert ("constant" in lab.of(facts)[0].message) == (slope == (0, 0))
    for finding in lab.of(facts)[1::2] if off else []:
        assert "of magnitudes, to which that does nothing" in finding.message
    assert codes(lab.of(lab.inspect(pairs, track="magnitude"))) == []


def test_real_images_with_negative_values_have_no_phase(lab: ModuleType) -> None:
    _, x = lab.grid((64, 64))
    sign = np.where(x > 3, -1.0, 1.0)
    pairs = [tuple(im.real * sign * 1j for im in p) for p in lab.volume((64, 64), level=0, phases=False)]
    assert codes(lab.of(lab.inspect(pairs))) == ["fake-complex"] * 2


@pytest.mark.parametrize("level", [0.02, 0.1])
def test_k_space_made_from_a_zero_filled_magnitude_is_seen_to_be_so(lab: ModuleType, level: float) -> None:
    kspace = [tuple(lab.keep(lab.to_kspace(im), 55, -2) for im in p) for p in lab.volume((96, 80), level=level)]
    pairs = [tuple(np.abs(lab.to_image(k)) for k in p) for p in kspace]
    facts = lab.inspect(pairs, raw=[tuple(lab.to_kspace(im)[None] for im in p) for p in pairs])
    assert lab.acquired(facts) == [pytest.approx(55, abs=3), 80]
    found = [(f.code, f.severity) for f in lab.of(facts, (2,)) if f.file.endswith("t2.h5")]
    assert found == [("zero-filled", "error"), ("fake-complex", "warning")]


@pytest.mark.parametrize("level", [0.0, 0.05])
def test_the_size_of_the_phase_is_measured(lab: ModuleType, level: float) -> None:
    shape = (64, 64)
    y, x = lab.grid(shape)
    rng = np.random.default_rng(2)
    image = lab.ellipses(shape, 5).real
    weight = np.where(image > 0.3, image, 0) ** 2
    bend = (x**2 + y * x) / 1000
    terms = np.stack([np.ones(shape), y, x], -1).reshape(-1, 3)
    left = np.linalg.lstsq(terms * np.sqrt(weight).reshape(-1, 1), (bend * np.sqrt(weight)).ravel(), rcond=None)[0]
    bend = bend - (terms @ left).reshape(shape)
    bend /= np.sqrt((weight * bend**2).sum() / weight.sum())
    for rms in (0.01, 0.05, 0.2):
        turned = image * np.exp(1j * (rms * bend + 0.3 + 0.02 * x)) + lab.noise(shape, level, rng)
        facts = lab.inspect([(turned, turned)])["contrasts"]["target"]
        # The map is smoothed over 2 pixels, which takes some of a bend.
        assert facts["phase"]["rms"] == pytest.approx(rms, rel=0.2, abs=0.006)
        assert facts["fake_complex"] == (rms < 0.02)


# --- duplicates ----------------------------------------------------------------------------------------------------------


def patients(lab: ModuleType, n: int = 3, **changes: list[Any]) -> list[dict[str, Any]]:
    """Facts of patients p0, p1, ..., their volumes replaced by ``changes``."""
    out = []
    for i in range(n):
        pairs = changes.get(f"p{i}") or lab.volume((40, 48), 4, seed=i)
        out.append(lab.inspect(pairs, lab.case(f"p{i}-v", n=4, shape=(40, 48))))
    return out


def test_a_slice_of_another_patient_is_found_under_another_scale(lab: ModuleType) -> None:
    own, other = lab.volume((40, 48), 4, seed=1), lab.volume((40, 48), 4, seed=0)
    own[2] = (own[2][0], 2 * other[3][1])
    found = lab.of(patients(lab, p1=own))
    assert codes(found) == ["duplicate-slices"]
    text = found[0].message
    assert found[0].marks
    assert all(word in text for word in ("1 of 4", "p0-v-t1.h5", "p1-v-t1.h5", "patients p0 and p1"))


def test_rounding_to_integers_does_not_hide_a_copy_and_another_noise_is_no_copy(lab: ModuleType) -> None:
    pairs = lab.volume((40, 48), 4, seed=0, level=0)
    stored = [tuple(np.round(np.abs(im) * 500) * np.exp(1j * np.angle(im)) for im in p) for p in pairs]
    assert {"4 of 4"} == {
        f.message[:6] for f in lab.of(patients(lab, p0=pairs, p1=stored)) if f.code == "duplicate-slices"
    }
    rng = np.random.default_rng(0)
    again = [tuple(im + lab.noise(im.shape, 0.02, rng) for im in p) for p in pairs]
    assert "duplicate-slices" not in codes(lab.of(patients(lab, p0=pairs, p1=again)))


def test_a_volume_twice_in_one_patient_counts_but_one_slice_and_the_same_file_do_not(lab: ModuleType) -> None:
    first, second = lab.volume((40, 48), 4, seed=0), lab.volume((40, 48), 4, seed=1)

    def facts(name: str, pairs: list[Any]) -> dict[str, Any]:
        out: dict[str, Any] = lab.inspect(pairs, lab.case(name, n=4, shape=(40, 48), patient="p"))
        return out

    found = lab.of([facts("a", first), facts("b", first)])
    assert codes(found) == ["duplicate-slices"] * 2
    assert "patient p twice" in found[0].message
    assert lab.of([facts("a", first), facts("b", [first[0], *second[1:]])]) == []
    assert lab.of([facts("a", first), facts("a", first)]) == []


def test_empty_slices_are_no_duplicates(lab: ModuleType) -> None:
    empty = np.zeros((40, 48))
    changed = {f"p{i}": [(empty, empty), *lab.volume((40, 48), 3, seed=i)] for i in range(3)}
    assert lab.of(patients(lab, **changed)) == []
    dot = empty.copy()
    dot[3, 4] = 1e-4
    changed = {f"p{i}": [(dot, dot), *lab.volume((40, 48), 3, seed=i)] for i in range(3)}
    assert lab.of(patients(lab, **changed)) == []


def test_long_volumes_are_thinned_alike(lab: ModuleType) -> None:
    images = [lab.volume((24, 24), 1, seed)[0] for seed in range(130)]
    a, b = images[:110], images[20:]
    found = lab.of([lab.inspect(v, lab.case(f"p{i}-v", n=110, shape=(24, 24))) for i, v in enumerate((a, b))])
    assert codes(found) == ["duplicate-slices"] * 2


# --- pairs ---------------------------------------------------------------------------------------------------------------


def test_target_and_auxiliary_of_one_image(lab: ModuleType) -> None:
    pairs = [(a, 3 * a) for a, _ in lab.volume((48, 48))]
    found = lab.of(lab.inspect(pairs))
    assert [(f.code, f.severity, f.marks, f.file) for f in found] == [
        ("contrast-mismatch", "warning", True, "p1-v1-t1.h5")
    ]
    assert "the same image" in found[0].message
    assert "p1-v1-t2.h5" in found[0].message


def test_foregrounds_that_lie_apart(lab: ModuleType) -> None:
    _, x = lab.grid((64, 64))
    pairs = [(a * (x < -2), b * (x > 2)) for a, b in lab.volume((64, 64), level=0)]
    found = lab.of(lab.inspect([(a + 1e-3, b + 1e-3) for a, b in pairs]))
    assert "contrast-mismatch" in codes(found)
    assert "overlap by 0.0" in next(f.message for f in found if f.code == "contrast-mismatch")


def test_auxiliaries_of_other_patients_are_found_and_their_owners_are_not(lab: ModuleType) -> None:
    data = [lab.volume((48, 48), 3, seed=10 + i) for i in range(9)]
    swapped = [list(pairs) for pairs in data]
    for i, j in ((2, 5), (5, 2)):
        swapped[i] = [(a, b) for (a, _), (_, b) in zip(data[i], data[j], strict=True)]
    for volumes, expected in ((data, set()), (swapped, {"p2-v-t1.h5", "p5-v-t1.h5"})):
        facts = [lab.inspect(v, lab.case(f"p{i}-v", shape=(48, 48))) for i, v in enumerate(volumes)]
        assert {f.file for f in lab.of(facts) if f.code == "contrast-mismatch"} == expected


@pytest.mark.parametrize(("shape", "tolerance"), [((32, 32), 0.8), ((64, 64), 0.3), ((81, 100), 0.3)])
@pytest.mark.parametrize("shift", [(2.0, 0.0), (0.0, -3.5), (-1.3, 2.6)])
def test_a_shift_is_measured(
    lab: ModuleType, shape: tuple[int, int], tolerance: float, shift: tuple[float, float]
) -> None:
    y, x = lab.grid(shape)
    ramp = np.exp(-2j * np.pi * (y * shift[0] / shape[0] + x * shift[1] / shape[1]))
    rng = np.random.default_rng(4)
    pairs = [
        (a, lab.to_image(lab.to_kspace(b) * ramp) + lab.noise(shape, 0.03, rng)) for a, b in lab.volume(shape, level=0)
    ]
    facts = lab.inspect(pairs)
    assert facts["pair"]["shift"] == pytest.approx(shift, abs=tolerance)
    found = lab.of(facts)
    assert [(f.code, f.file, f.marks) for f in found] == [("misregistered", "p1-v1-t1.h5", True)]


@pytest.mark.parametrize("shift", [(8, 0), (-12, 9), (3, -20)])
def test_the_larger_a_shift_the_louder(lab: ModuleType, shift: tuple[int, int]) -> None:
    rng = np.random.default_rng(6)
    pairs = [
        (a, np.roll(b, shift, (0, 1)) + lab.noise((81, 100), 0.03, rng)) for a, b in lab.volume((81, 100), level=0.03)
    ]
    facts = lab.inspect(pairs)
    assert facts["pair"]["shift"] == pytest.approx(shift, abs=0.3)
    assert codes(lab.of(facts)) == ["misregistered"]


def test_a_shift_that_takes_the_foregrounds_apart_is_told_beside_them(lab: ModuleType) -> None:
    """A narrow body, moved by more than half of its width: both are true."""
    _, x = lab.grid((64, 96))
    pairs = [
        (a * (abs(x) < 9) + 1e-3, np.roll(b * (abs(x) < 9) + 1e-3, 13, 1)) for a, b in lab.volume((64, 96), level=0.01)
    ]
    assert codes(lab.of(lab.inspect(pairs))) == ["contrast-mismatch", "misregistered"]


def test_half_a_pixel_is_let_pass_but_kept_in_the_facts(lab: ModuleType) -> None:
    y, _ = lab.grid((64, 64))
    ramp = np.exp(-2j * np.pi * y * 0.6 / 64)
    facts = lab.inspect([(a, lab.to_image(lab.to_kspace(b) * ramp)) for a, b in lab.volume((64, 64))])
    assert facts["pair"]["shift"] == pytest.approx([0.6, 0], abs=0.2)
    assert lab.of(facts) == []


@pytest.mark.filterwarnings("error")
def test_images_without_noise_or_texture_have_a_shift(lab: ModuleType) -> None:
    y, x = lab.grid((96, 96))
    inner = (np.abs(y - 3) < 12) & (np.abs(x) < 10)
    target = 1.0 * ((np.abs(y) < 36) & (np.abs(x) < 32)) - 0.4 * inner
    auxiliary = np.where(target > 0, 1.3 - target, 0)
    facts = lab.inspect([(target, np.roll(auxiliary, (2, -1), (0, 1)))], track="magnitude")
    assert facts["pair"]["shift"] == pytest.approx((2, -1), abs=0.1)


@pytest.mark.parametrize("level", [0.05, 0.15])
def test_smooth_images_have_no_shift(lab: ModuleType, level: float) -> None:
    r = np.hypot(*lab.grid((128, 128))) / 128
    blob = np.exp(-((r / 0.2) ** 2))
    for seed in range(3):
        rng = np.random.default_rng(seed)
        pair = [im + lab.noise(r.shape, level, rng) for im in (blob, (1 - blob) * (r < 0.4))]
        assert lab.inspect([tuple(pair)])["pair"]["shift"] is None


def test_noise_has_no_shift(lab: ModuleType) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        pairs = [(lab.noise((48, 48), 1, rng), lab.noise((48, 48), 1, rng))]
        assert lab.inspect(pairs)["pair"]["shift"] is None


# --- broken volumes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, complex(0, -np.inf)])
def test_values_that_are_not_finite_are_an_error_that_names_the_slice(lab: ModuleType, value: complex) -> None:
    pairs = lab.volume((48, 48), 5)
    pairs[3][1][5, 6] = value
    raw = [(lab.to_kspace(a)[None], lab.to_kspace(b)[None]) for a, b in lab.volume((48, 48), 5)]
    raw[1][0][0, 0, 0] = value
    found = lab.of(lab.inspect(pairs, raw=raw))
    assert [(f.severity, f.code, f.file) for f in found] == [("error", "nan", "p1-v1-t1.h5")]
    assert "slice 3" in found[0].message


def test_a_volume_of_zeros_is_an_error(lab: ModuleType) -> None:
    pairs = [(a, 0 * b) for a, b in lab.volume((48, 48))]
    found = lab.of(lab.inspect(pairs))
    assert [(f.severity, f.code, f.file) for f in found] == [("error", "zero", "p1-v1-t1.h5")]
    nothing = lab.inspect([(np.full((48, 48), np.nan), b) for _, b in pairs])
    assert codes(lab.of(nothing)) == ["nan", "zero"]
