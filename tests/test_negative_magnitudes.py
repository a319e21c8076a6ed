"""Values below zero, predicted as magnitudes: the protocol says whether they are cut, and everything that scores follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
import user_pairs as pairs
from numpy.typing import NDArray
from torch import Tensor

import mcsr_bench as mb
from mcsr_bench.audit.stress import stress_trial
from mcsr_bench.conformance.synthetic import SyntheticData, smooth_batch
from mcsr_bench.data.store import Store, open_store
from mcsr_bench.experiment.rescoring import complete
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.cards import MethodCard
from mcsr_bench.plugin.method import Method
from mcsr_bench.plugin.predicted import predict_volume
from mcsr_bench.plugin.registry import scoped_plugins
from mcsr_bench.predicting.files import predict_files
from mcsr_bench.protocol import MCSR_1, SANET_2021, Protocol
from mcsr_bench.reports.paper.figures import comparison as figure
from mcsr_bench.reports.paper.figures.comparison import comparison
from mcsr_bench.reports.paper.sheets import sheets
from mcsr_bench.results.bundle import Bundle, BundleFiles
from mcsr_bench.system import files, frames
from mcsr_bench.training import validation_psnr

TOYS = Path(__file__).parent / "toys"
PROTOCOLS = [(MCSR_1, True), (SANET_2021, False)]
"""Each with whether it cuts."""


class Waves(Method):
    """Predicts a wave about zero: of each contrast as a magnitude, or as complex images."""

    def __init__(self, *, kind: type = float) -> None:
        values = {"name": "waves", "title": "waves", "class": "Waves", "authors": "", "venue": "", "year": 2026}
        extra = {"contrasts": "multi", "track": "complex", "scales": (2,), "trains": False}
        super().__init__(MethodCard.model_validate(values | extra), 2, None)
        self.kind = kind

    def predict(self, batch: Batch) -> Any:
        target = wave(batch)
        return {"target": target if self.kind is float else target + 0j, "auxiliary": target - 0.5}


def wave(batch: Batch) -> Tensor:
    y, x = torch.meshgrid(*(torch.arange(n) for n in batch.hr_shape), indexing="ij")
    return (torch.sin(y / 3) + torch.cos(x / 4)).expand(len(batch), -1, -1)


@pytest.mark.parametrize(("protocol", "cut"), PROTOCOLS)
def test_what_is_predicted_is_as_the_protocol_scores_it(protocol: Protocol, cut: bool) -> None:
    given = smooth_batch(2, (8, 6), 2)
    batch = Batch.of(given.target_lr, given.auxiliary, given.auxiliary_lr, scale=2, protocol=protocol)
    y, x = np.mgrid[:16, :12]
    expected = np.sin(y / 3) + np.cos(x / 4)
    found = predict_volume(Waves(), [batch])
    for image, wanted in ((found["target"], expected), (found["auxiliary"], expected - 0.5)):
        np.testing.assert_allclose(image[1], np.maximum(wanted, 0) if cut else wanted, atol=1e-6)
        assert (wanted < -0.5).any()
    phase = predict_volume(Waves(kind=complex), [batch])["target"]  # a complex number below zero is none of this
    np.testing.assert_allclose(phase[1], expected, atol=1e-6)


@pytest.mark.parametrize(("protocol", "cut"), PROTOCOLS)
@pytest.mark.parametrize("name", ["bicubic", "bspline"])
def test_interpolation_overshoots_where_it_is_not_cut(name: str, protocol: Protocol, cut: bool) -> None:
    low = torch.zeros(1, 8, 8, dtype=torch.complex64)
    low[0, 4, 4] = 1
    high = torch.zeros(1, 16, 16, dtype=torch.complex64)
    found = mb.load_method(name, 2).predict(Batch.of(low, high, low, scale=2, protocol=protocol))
    assert isinstance(found, Tensor)
    assert bool((found < 0).any()) != cut


@pytest.mark.parametrize(("protocol", "cut"), PROTOCOLS)
def test_normalised_outputs_come_back_as_the_protocol_scores_them(protocol: Protocol, cut: bool) -> None:
    given = smooth_batch(2, (8, 6), 2)
    batch = Batch.of(given.target_lr, given.auxiliary, given.auxiliary_lr, scale=2, protocol=protocol)
    output = 3 * wave(batch)
    source = given.auxiliary if protocol is MCSR_1 else given.auxiliary_lr
    for found, of in (
        (batch.denormalize_target(output), given.target_lr),
        (batch.denormalize_auxiliary(output), source),
    ):
        magnitude = np.abs(of.numpy().astype(np.complex128))
        mean, std = magnitude.mean((1, 2), keepdims=True), magnitude.std((1, 2), ddof=1, keepdims=True)
        expected = output.numpy() * std + mean
        assert (expected < 0).any()
        np.testing.assert_allclose(found.numpy(), np.maximum(expected, 0) if cut else expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("protocol", "cut"), PROTOCOLS)
def test_training_is_validated_by_what_is_scored(protocol: Protocol, cut: bool) -> None:
    given = smooth_batch(3, (8, 6), 2, training=True)
    batch = Batch.of(
        given.target_lr, given.auxiliary, given.auxiliary_lr, scale=2, protocol=protocol, target=given.target
    )

    class Data(SyntheticData):
        def validation(self, batch_size: int = 1) -> Iterator[Batch]:
            yield from (batch[[i]] for i in range(3))

    truth = np.abs(given.target.numpy().astype(np.complex128))  # type: ignore[union-attr]
    if protocol is SANET_2021:
        truth = clamped(truth, np.abs(given.target_lr.numpy().astype(np.complex128)))
    predicted = wave(batch).numpy().astype(np.float64)
    predicted = np.maximum(predicted, 0) if cut else predicted
    expected = 10 * np.log10(truth.max() ** 2 / ((predicted - truth) ** 2).mean())
    assert validation_psnr(Waves(), Data(2, 8), "cpu") == pytest.approx(expected, abs=1e-4)


# --- a whole run by sanet-2021


def psnr(prediction: NDArray[Any], store: Store, volume_id: str) -> float:
    """As published: of what is predicted, uncut."""
    truth = reference(store, volume_id)
    return float(10 * np.log10(truth.max() ** 2 / ((prediction.astype(np.float64) - truth) ** 2).mean()))


def reference(store: Store, volume_id: str, limit: float = 6) -> NDArray[np.float64]:
    volume = store.volumes[volume_id]
    return clamped(*(np.abs(np.asarray(x, np.complex128)) for x in (volume.target, volume.target_lr)), limit)


def clamped(target: NDArray[np.float64], low: NDArray[np.float64], limit: float = 6) -> NDArray[np.float64]:
    """Magnitudes (S, H, W) clamped to some standard deviations of their bright LR images (S, h, w)."""
    mean, std = low.mean((1, 2), keepdims=True), low.std((1, 2), ddof=1, keepdims=True)
    return np.asarray(np.clip((target - mean) / std, -limit, limit) * std + mean)


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[BundleFiles, Store]]]:
    """Trials of bicubic and of a network, by method."""
    root = tmp_path_factory.mktemp("negative")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCSR_BENCH_CACHE", str(root / "cache"))
        results = mb.run(
            ["bicubic", "toynet"],
            "toy",
            2,
            preset="smoke",
            protocol="sanet-2021",
            plugins=TOYS,
            out=root / "run",
            jobs=1,
        )
        yield {b.record.method: (BundleFiles(b.folder), open_store(b.record.data.store)) for b in results.bundles}


@pytest.mark.parametrize("method", ["bicubic", "toynet"])
def test_predictions_are_stored_and_scored_uncut(method: str, trials: dict[str, tuple[BundleFiles, Store]]) -> None:
    place, store = trials[method]
    scores = pd.read_csv(place.volumes).set_index("volume_id")["psnr@volume-max"]
    with h5py.File(place.predictions) as file:
        for volume_id, score in scores.items():
            prediction = file[volume_id]["target"][...]
            assert prediction.min() < 0
            assert score == pytest.approx(psnr(prediction, store, volume_id), abs=1e-4)
            assert abs(score - psnr(np.maximum(prediction, 0), store, volume_id)) > 1e-3


def test_stress_scores_what_the_trial_did(trials: dict[str, tuple[BundleFiles, Store]]) -> None:
    place, _ = trials["toynet"]
    scores = pd.read_csv(place.volumes).set_index("volume_id")["psnr@volume-max"]
    with scoped_plugins(TOYS):
        stressed = stress_trial(place.folder)
    clean = stressed[stressed["perturbation"] == "clean"].set_index("volume_id")["psnr"]
    np.testing.assert_allclose(clean.sort_index(), scores.sort_index(), atol=1e-4)


def test_scores_that_came_later_are_of_the_same_predictions(trials: dict[str, tuple[BundleFiles, Store]]) -> None:
    place, _ = trials["toynet"]
    before, record = place.volumes.read_bytes(), place.read_record()
    assert record is not None
    frames.write_csv(place.volumes, pd.read_csv(place.volumes).drop(columns="psnr@volume-max"))
    del record.metrics["psnr@volume-max"]
    record.files[place.volumes.name] = files.file_digest(place.volumes)
    assert complete(Bundle(place.folder, record)) == ""
    assert place.volumes.read_bytes() == before


def test_the_images_of_a_report_are_those_that_are_scored(trials: dict[str, tuple[BundleFiles, Store]]) -> None:
    results = mb.load_results(trials["toynet"][0].folder.parents[3])
    [sheet] = sheets(results, ("bicubic",), ())
    shown = comparison(sheet, results, "toy")
    assert shown is not None
    for panel in shown.panels:
        assert panel.image.min() < 0
        error = ((panel.image - shown.truth) ** 2).mean()
        peaks = [reference(store, name).max() for _, store in trials.values() for name in store.volumes]
        assert any(panel.psnr == pytest.approx(10 * np.log10(peak**2 / error), abs=1e-4) for peak in peaks)


def test_the_reference_of_those_images_is_the_one_of_the_scores(
    trials: dict[str, tuple[BundleFiles, Store]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clamped as the protocol does it: to one standard deviation here, which these images reach."""
    monkeypatch.setattr(figure, "get_protocol", lambda _: SANET_2021.model_copy(update={"clamp": 1.0}))
    results = mb.load_results(trials["toynet"][0].folder.parents[3])
    [sheet] = sheets(results, ("bicubic",), ())
    shown = comparison(sheet, results, "toy")
    assert shown is not None
    store = trials["toynet"][1]
    volumes = [reference(store, name, limit=1) for name in store.volumes]
    assert any(np.allclose(shown.truth, image, rtol=1e-5) for volume in volumes for image in volume)


# --- functions, and a user's own files


@pytest.mark.parametrize(("protocol", "cut"), PROTOCOLS)
def test_functions_that_nobody_registered(protocol: Protocol, cut: bool, own_cache: Path) -> None:
    def scores(function: Callable[[Batch], Tensor]) -> pd.Series:
        table = mb.evaluate(function, "toy", 2, protocol=protocol.id, plugins=TOYS, settings={"patients": 6})
        return table["psnr@volume-max"]

    assert scores(wave).equals(scores(lambda batch: wave(batch).clamp_min(0))) == cut


@pytest.mark.parametrize(("protocol", "cut"), PROTOCOLS)
def test_files_hold_magnitudes_or_what_a_trial_would_score(protocol: Protocol, cut: bool, tmp_path: Path) -> None:
    bundle = pairs.trial(tmp_path, "bicubic", protocol=protocol.id)
    spike = np.zeros((2, 8, 8), np.float32)
    spike[:, 4, 4] = 1
    predict_files(bundle, pairs.hdf5(tmp_path / "t.h5", image=spike), None, tmp_path / "sr.h5")
    with h5py.File(tmp_path / "sr.h5") as file:
        scored = file["image"][...]
    assert (scored.min() < 0) != cut
    nibabel.save(nibabel.Nifti1Image(spike.transpose(1, 2, 0), np.eye(4)), tmp_path / "t.nii")  # type: ignore[no-untyped-call]
    predict_files(bundle, tmp_path / "t.nii", None, tmp_path / "sr.nii")
    image = np.asarray(nibabel.load(tmp_path / "sr.nii").dataobj)  # type: ignore[attr-defined]
    assert image.min() == 0
    assert np.count_nonzero(image) == np.count_nonzero(scored > 0)
    np.testing.assert_allclose(np.sort(image, None), np.sort(np.maximum(scored, 0), None), atol=1e-6)
