"""Registration, on an analytic phantom: ellipsoids, brighter or darker by contrast, evaluated where a grid has voxels."""

import json
import sys
from dataclasses import asdict

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from mcsr_bench.data.registration import edge_shift, mutual_information, register
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.case import Grid

pytest.importorskip("SimpleITK", reason='registration needs pip install "mcsr-bench[register]"')

# centre and half axes in mm (RAS+), then the intensity added in T2 and in T1
ELLIPSOIDS = (
    ((0, 0, 0), (34, 40, 30), 30, 90),
    ((0, 0, 0), (29, 35, 26), 30, -40),
    ((-9, 4, 3), (6, 14, 9), 80, -30),
    ((10, 2, -4), (7, 9, 12), 60, -25),
    ((4, -20, 6), (9, 5, 7), -35, 40),
    ((-12, -14, -8), (5, 6, 5), 45, 25),
    ((14, 16, 8), (4, 7, 6), -30, 30),
)


def phantom(points, contrast):
    """Intensity at positions (..., 3) in mm, edges a millimetre wide."""
    out = np.zeros(points.shape[:-1])
    for centre, axes, *values in ELLIPSOIDS:
        depth = (1 - np.linalg.norm((points - centre) / axes, axis=-1)) * min(axes)
        out += values[contrast] / (1 + np.exp(-np.clip(depth / 0.5, -50, 50)))
    return out


def rotation(x, y, z):
    """Right-handed turns about the axes, degrees."""
    a, b, c = np.deg2rad([x, y, z])
    rx = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
    ry = [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
    rz = [[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]
    return np.array(rz) @ ry @ rx


def grid(shape, voxel, turn=(0, 0, 0), axes=((0, 0, 1), (0, -1, 0), (-1, 0, 0)), off=(0, 0, 0)):
    """Centred on ``off``; axes: the world direction of slices, rows and columns before the turn."""
    affine = np.eye(4)
    affine[:3, :3] = rotation(*turn) @ np.array(axes).T * np.array(voxel)
    affine[:3, 3] = np.array(off) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, tuple(map(tuple, affine.tolist())))


def positions(g):
    """Of all voxels, (S, H, W, 3) in mm."""
    index = np.stack(np.meshgrid(*map(np.arange, g.shape), indexing="ij"), -1)
    return index @ g.matrix[:3, :3].T + g.matrix[:3, 3]


def motion(turn=(0, 0, 0), shift=(0, 0, 0)):
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = rotation(*turn), shift
    return out


def volume(g, contrast, moved=None):
    """The phantom on a grid; moved: where its content went."""
    back = np.linalg.inv(np.eye(4) if moved is None else moved)
    return phantom(positions(g) @ back[:3, :3].T + back[:3, 3], contrast).astype(np.complex64)


TARGET = grid((20, 44, 40), (3.2, 2, 2))
SAGITTAL = grid((36, 44, 40), (2, 2.2, 1.8), (4, -6, 3), ((1, 0, 0), (0, 0, -1), (0, -1, 0)))


@pytest.mark.parametrize(
    ("there", "turn", "shift"),
    [
        (TARGET, (0, 0, 5), (3, -2, 0)),
        (SAGITTAL, (3, -4, 2), (2.5, 3, -4)),
        (grid((24, 40, 44), (2.6, 2.1, 1.9), (-5, 3, 8), ((0, 0, -1), (0, 1, 0), (1, 0, 0))), (-2, 2, -6), (-4, 1, 3)),
    ],
    ids=["same grid", "sagittal", "flipped and oblique"],
)
def test_a_known_motion_is_found(there, turn, shift):
    known = motion(turn, shift)
    target = volume(TARGET, 0)
    out, found = register(target, TARGET, volume(there, 1, known), there)
    angle = np.degrees(np.arccos((np.trace(known[:3, :3]) - 1) / 2))
    assert abs(found.rotation_deg - angle) < 0.3
    body = positions(TARGET)[target.real > 0.1 * target.real.max()]
    moved = body @ known[:3, :3].T + known[:3, 3] - body
    np.testing.assert_allclose(found.translation_mm, moved.mean(axis=0), atol=0.3)
    assert abs(found.displacement_mm - np.linalg.norm(moved, axis=1).mean()) < 0.3
    down, along = TARGET.matrix[:3, 1] / 4, TARGET.matrix[:3, 2] / 4  # 2 mm edges: unit vector / edge
    np.testing.assert_allclose(found.shift_px, [np.median(moved @ down), np.median(moved @ along)], atol=0.15)
    assert found.resampled
    assert found.residual_px < 0.15
    assert found.mutual_information_after > found.mutual_information_before + 0.1
    # what the auxiliary would be had nothing moved, within the target's body
    ideal, inner = volume(TARGET, 1), target.real > 55
    assert np.abs(out - ideal)[inner].mean() < 0.03 * np.abs(ideal).max()


@pytest.mark.parametrize("there", [grid((9, 20, 24), (2.1, 1.9, 1.7), (6, 4, -9), off=(1.3, 0.4, -2)), SAGITTAL])
def test_resampling_is_that_of_float64_index_maths(monkeypatch, there):
    from mcsr_bench.data import registration

    monkeypatch.setattr(registration, "estimate", lambda *_: {})  # the headers alone
    here = grid((8, 17, 19), (2.4, 2.2, 2.3), (3, 0, 12), off=(2, -1, 1))
    rng = np.random.default_rng(0)
    auxiliary = (rng.standard_normal(there.shape) + 1j * rng.standard_normal(there.shape)).astype(np.complex64)
    target = volume(here, 0)
    out, found = register(target, here, auxiliary, there)
    assert (found.translation_mm, found.rotation_deg, found.resampled) == ((0, 0, 0), 0, True)
    index = np.moveaxis((positions(here) - there.matrix[:3, 3]) @ np.linalg.inv(there.matrix[:3, :3]).T, -1, 0)
    inside = np.all([(i > -0.5) & (i < n - 0.5) for i, n in zip(index, there.shape, strict=True)], axis=0)
    assert inside.mean() > 0.1
    for part in ("real", "imag"):
        values = getattr(auxiliary, part).astype(np.float64)
        expected = map_coordinates(values, index, order=3, mode="mirror") * inside
        np.testing.assert_allclose(getattr(out, part), expected, atol=2e-4)
    magnitude, _ = register(target, here, np.abs(auxiliary).astype(np.complex64), there)
    assert not magnitude.imag.any()
    assert magnitude.real.min() >= 0


def test_a_thick_slice_is_a_mean_over_its_thickness(monkeypatch):
    from mcsr_bench.data import registration

    monkeypatch.setattr(registration, "estimate", lambda *_: {})
    thin = grid((40, 16, 16), (1, 3, 3))
    thick = grid((10, 16, 16), (4, 3, 3))
    values = np.random.default_rng(1).uniform(1, 2, thin.shape).astype(np.complex64)
    out, _ = register(volume(thick, 0), thick, values, thin)
    np.testing.assert_allclose(out.real, values.real.reshape(10, 4, 16, 16).mean(axis=1), rtol=1e-5)


def test_what_is_aligned_comes_back_bit_by_bit():
    target, auxiliary = volume(TARGET, 0), volume(TARGET, 1)
    out, found = register(target, TARGET, auxiliary, TARGET)
    assert not found.resampled
    np.testing.assert_array_equal(out, auxiliary)
    assert found.mutual_information_before == found.mutual_information_after
    _, same = register(target, TARGET, auxiliary, TARGET)
    assert same == found
    json.dumps(asdict(found))


def test_the_same_twice_and_the_target_untouched():
    target, auxiliary = volume(TARGET, 0), volume(SAGITTAL, 1, motion((0, 2, 0), (1, 2, 1)))
    kept = target.copy(), auxiliary.copy()
    one, found = register(target, TARGET, auxiliary, SAGITTAL)
    two, again = register(target, TARGET, auxiliary, SAGITTAL)
    np.testing.assert_array_equal(one, two)
    assert found == again
    np.testing.assert_array_equal(target, kept[0])
    np.testing.assert_array_equal(auxiliary, kept[1])


def test_phase_is_kept():
    there = grid((20, 48, 48), (3.2, 1.8, 1.8))

    def phase(g):
        return np.exp(1j * (0.03 * positions(g) @ [1, 0.5, 0.2] + 0.4))

    auxiliary = (volume(there, 1, motion((0, 0, 0), (2, 0, 0))) * phase(there)).astype(np.complex64)
    out, _ = register(volume(TARGET, 0), TARGET, auxiliary, there)
    inner = volume(TARGET, 0).real > 55
    # content from 2 mm to the right has the phase that it had there
    expected = np.exp(1j * (0.03 * (positions(TARGET) + np.array([2, 0, 0])) @ [1, 0.5, 0.2] + 0.4))
    assert np.abs(np.angle(out[inner] / expected[inner])).max() < 0.05


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("other", [1, 3, 12])
def test_few_slices_move_within_their_plane(n, other):
    here, there = grid((n, 44, 40), (3, 2, 2)), grid((other, 46, 42), (3, 1.9, 1.9))
    if (n - other) % 2:
        there = grid((other, 46, 42), (3, 1.9, 1.9), off=(0, 0, 1.5))
    out, found = register(volume(here, 0), here, volume(there, 1, motion((0, 0, 3), (3, -2, 0))), there)
    assert out.shape == here.shape
    assert abs(found.rotation_deg - 3) < (0.5 if n > 1 else 0.8)  # a slice has 800 pixels of 2 mm
    np.testing.assert_allclose(found.shift_px, (1, -1.5), atol=0.2)  # rows run backwards, columns to the left
    assert abs(found.translation_mm[2]) < 0.05


def test_volumes_that_do_not_overlap_start_from_their_centres():
    there = grid((20, 46, 42), (3.2, 2, 2), off=(0, 0, 200))
    auxiliary = volume(there, 1, motion(shift=(1, 2, 201)))
    _, found = register(volume(TARGET, 0), TARGET, auxiliary, there)
    np.testing.assert_allclose(found.translation_mm, (1, 2, 201), atol=0.4)


@pytest.mark.parametrize(("off", "warned"), [((0, 0, 10), False), ((0, 0, 40), True)])
def test_an_auxiliary_that_covers_little_of_the_target_is_warned_of(off, warned):
    there = grid((20, 44, 40), (3.2, 2, 2), off=off)
    _, found = register(volume(TARGET, 0), TARGET, volume(there, 1), there)
    assert found.warning.startswith("the auxiliary covers ") == warned
    if warned:
        body = positions(TARGET)[volume(TARGET, 0).real > 10]
        share = (np.abs(body[:, 2] - 40) < 32).mean()
        assert abs(int(found.warning.split()[3].strip("%")) - 100 * share) < 3


def test_affine_starts_from_the_rigid_result_and_warns_of_thick_slices():
    stretched = np.diag([1.04, 0.97, 1, 1]) @ motion((0, 0, 2), (2, 1, 0))
    target, there = volume(TARGET, 0), grid((40, 50, 48), (1.7, 1.8, 1.8))
    out, found = register(target, TARGET, volume(there, 1, stretched), there, "affine")
    rigid, _ = register(target, TARGET, volume(there, 1, stretched), there, "rigid")
    ideal, inner = volume(TARGET, 1), target.real > 55
    assert np.abs(out - ideal)[inner].mean() < 0.8 * np.abs(rigid - ideal)[inner].mean()
    assert (found.mode, found.warning) == ("affine", "")
    thick = grid((8, 44, 40), (8, 2, 2))
    _, found = register(volume(thick, 0), thick, volume(there, 1, stretched), there, "affine")
    assert "4 times as long as wide" in found.warning or "no closer" in found.warning


def test_what_cannot_be_registered_says_why():
    target = volume(TARGET, 0)
    holes = target.copy()
    holes[3, 4, 5] = np.nan
    with pytest.raises(UserError, match="the auxiliary holds NaN"):
        register(target, TARGET, holes, TARGET)
    with pytest.raises(UserError, match="the auxiliary is zero everywhere"):
        register(target, TARGET, np.zeros_like(target), TARGET)


def test_a_failure_of_the_library_is_a_clause(monkeypatch):
    import SimpleITK

    def fail(*_):
        raise RuntimeError(
            "Exception thrown in SimpleITK Execute:\nitk::ERROR: All samples map outside moving image buffer. The images do not "
            "sufficiently overlap."
        )

    monkeypatch.setattr(SimpleITK.ImageRegistrationMethod, "Execute", fail)
    with pytest.raises(
        UserError, match=r"^target and auxiliary cannot be registered \(All samples map outside [a-z ]*\)$"
    ):
        register(volume(TARGET, 0), TARGET, volume(SAGITTAL, 1), SAGITTAL)


def test_without_simpleitk_the_install_line_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(UserError, match=r'pip install "mcsr-bench\[register\]"'):
        register(volume(TARGET, 0), TARGET, volume(TARGET, 1), TARGET)


def test_mutual_information_of_known_distributions():
    a = np.repeat([1.0, 2.0], 500)
    assert mutual_information(a, a) == pytest.approx(np.log(2))
    assert mutual_information(a, np.tile([1.0, 2.0], 500)) == pytest.approx(0, abs=1e-12)
    b = np.concatenate([np.repeat([1.0, 2.0], [450, 50]), np.repeat([1.0, 2.0], [50, 450])])
    assert mutual_information(a, b) == pytest.approx(np.log(2) + 0.9 * np.log(0.9) + 0.1 * np.log(0.1))


@pytest.mark.parametrize("shift", [(0, 0), (0.6, -0.4), (-2.3, 1.7)])
def test_edge_shift_reads_between_pixels(shift):
    g = grid((6, 64, 60), (4, 1.5, 1.5))
    along = -(g.matrix[:3, 1] * shift[0] + g.matrix[:3, 2] * shift[1])
    moved = volume(g, 1, motion(shift=-along)).real
    np.testing.assert_allclose(edge_shift(volume(g, 0).real, moved), shift, atol=0.12)
