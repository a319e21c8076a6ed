"""Magnitudes in complex disguise: what moves to the magnitude track is degraded as magnitudes. Against numpy in float64."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pair_files as files
import pytest
from numpy.typing import NDArray

from mcsr_bench.data import store as stores
from mcsr_bench.data.prepare import Prepared, prepare
from mcsr_bench.data.reading import read_case
from mcsr_bench.data.spec import Preparation
from mcsr_bench.plugin.loading import load_dataset
from mcsr_bench.protocol import MCSR_1

pytestmark = pytest.mark.usefixtures("own_cache")
N = 32


def slope(samples: float) -> NDArray[np.complex128]:
    """(N, N): a phase along the columns that shifts k-space by so many samples."""
    return np.exp(2j * np.pi * samples * (np.arange(N) - N // 2) / N)[None, :] * np.ones((N, 1))


def folder(root: Path, disguise: Callable[[int, str, Any], Any]) -> dict[str, dict[str, NDArray[np.complex128]]]:
    """Three patients; ``disguise`` makes the image of a contrast from the complex one. Returns what is in the files."""
    out = {}
    for i in range(3):
        path = root / f"P{i}.h5"
        images = files.write_patient(path, patient_id=f"p{i}", seed=i, shape=(N, N))
        out[f"P{i}"] = {name: disguise(i, name, image) for name, image in images.items()}
        for name, image in out[f"P{i}"].items():
            kspace = files.to_kspace(image).astype(np.complex64)
            files.edit(path, lambda f, n=name, k=kspace: files.put(f, f"{n}/kspace", k))
    return out


def truncated(image: NDArray[Any], scale: int) -> NDArray[np.complex128]:
    """The LR image of mcsr-1, by numpy: the centre of k-space, as bright as the image."""
    n, first = N // scale, N // 2 - N // scale // 2
    kspace = files.to_kspace(image)[..., first : first + n, first : first + n]
    return np.asarray(files.to_image(kspace)) / scale


def prepared(root: Path, scales: tuple[int, ...] = (2, 4), **preparation: Any) -> list[Prepared]:
    return prepare(load_dataset("mcsr-pair", root), MCSR_1, scales, preparation=Preparation(**preparation))


def compare(one: Prepared, images: dict[str, dict[str, Any]], use: Callable[[Any], Any], atol: float = 2e-6) -> None:
    for volume_id, volume in one.store.volumes.items():
        for name, high, low in (
            ("T2", volume.target, volume.target_lr),
            ("T1", volume.auxiliary, volume.auxiliary_lr),
        ):
            expected = use(images[volume_id][name])
            np.testing.assert_allclose(np.asarray(high), expected, atol=atol)
            np.testing.assert_allclose(np.asarray(low), truncated(expected, one.store.scale), atol=atol)


@pytest.mark.parametrize("samples", [0, 1, 11, N // 2])
def test_magnitudes_are_degraded_whatever_the_slope_of_the_phase(tmp_path: Path, samples: int) -> None:
    """One contrast of one patient is enough: all volumes of a set are on one track."""

    def disguise(i: int, name: str, image: Any) -> Any:
        return abs(image) * slope(samples) if (i, name) == (1, "T1") else image

    images = folder(tmp_path, disguise)
    for one in prepared(tmp_path):
        compare(one, images, abs)
        assert one.data.track == "magnitude"
        assert one.data.revisions["magnitudes"] == stores.MAGNITUDES


def test_a_phase_of_its_own_is_kept(tmp_path: Path) -> None:
    images = folder(tmp_path, lambda i, name, image: image)
    [one] = prepared(tmp_path, (2,))
    compare(one, images, lambda image: image)
    assert one.data.track == "complex"
    assert "magnitudes" not in one.data.revisions


def test_float16_pairs_hold_magnitudes_too(tmp_path: Path) -> None:
    images = folder(tmp_path, lambda i, name, image: abs(image) * slope(7))
    [one] = prepared(tmp_path, (2,), store_dtype="float16-pair")
    compare(one, images, abs, atol=2e-3)


@pytest.mark.parametrize("dtype", ["complex64", "float16-pair"])
def test_an_interruption_does_not_take_magnitudes_of_half_a_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    images = folder(tmp_path, lambda i, name, image: abs(image) * slope(7))
    usual, calls = stores.take_magnitudes, 0

    def killed(path: Path, dtype: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            np.save(path, np.zeros(3))  # what a kill left
            raise KeyboardInterrupt
        usual(path, dtype)

    monkeypatch.setattr(stores, "take_magnitudes", killed)
    with pytest.raises(KeyboardInterrupt):
        prepared(tmp_path, (2,), store_dtype=dtype)
    [one] = prepared(tmp_path, (2,), store_dtype=dtype)
    compare(one, images, abs, atol=2e-6 if dtype == "complex64" else 2e-3)


def test_an_auxiliary_in_disguise_is_registered_as_a_magnitude(tmp_path: Path) -> None:
    """Splines through a phase that turns by half a circle from pixel to pixel give nearly nothing."""
    pytest.importorskip("SimpleITK")
    here, there = files.affine((5, 6, 6)), files.affine((5, 6, 6), (0, -2.5, 0))
    moved: dict[float, Any] = {}
    for samples in (0, N // 2):
        root = tmp_path / str(samples)

        def both(file: Any, samples: float = samples) -> None:
            for name, affine in (("T2", here), ("T1", there)):
                image = abs(files.to_image(file[name]["kspace"][()])) * slope(samples)
                files.put(file, f"{name}/kspace", files.to_kspace(image).astype(np.complex64))
                file[name].attrs["affine"] = affine

        files.write_patient(root / "P0.h5", shape=(N, N), slices=4, fov=None, change=both)
        data = load_dataset("mcsr-pair", root)
        [case] = data.cases()
        slices, _ = read_case(data, case, "rigid")
        moved[samples] = np.stack([auxiliary for _, auxiliary in slices])
    np.testing.assert_allclose(moved[N // 2], moved[0], atol=1e-5)
