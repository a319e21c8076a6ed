"""A wrong auxiliary: every perturbation by hand, and the loss per method against its own clean score and zero-filling."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage, stats

import mcsr_bench as mb
from mcsr_bench.audit import stress
from mcsr_bench.audit.stress import COLUMNS, foreign_auxiliary, perturbations, rotated, stress_run
from mcsr_bench.data.store import open_store
from mcsr_bench.engines.processes import Processes
from mcsr_bench.plugin.registry import add_plugins
from mcsr_bench.results.stress_table import stress_table

TOYS = Path(__file__).parent / "toys"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("stress")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCSR_BENCH_CACHE", str(root / "cache"))
        settings = {"toy": {"patients": 18}, "toynet": {"budget": 200}}
        mb.run(
            ["zerofill", "toynet"], "toy", 2, preset="quick", plugins=TOYS, out=root / "r", jobs=2, settings=settings
        )
        table, failed = stress_run(root / "r", Processes(1), plugins=[TOYS])
        yield root / "r", table, failed


def bundle(run):
    [folder] = run.glob("toy*/x2/toynet*/seed0")
    return folder


def test_every_perturbation_is_what_it_says(run_folder):
    results = mb.load_results(run_folder[0])
    record = next(r for r in results.records if r.method == "toynet")
    store = open_store(record.data.store)
    test = list(results.volumes["volume_id"].unique())
    volume = store.volumes[test[0]]
    auxiliary = np.asarray(volume.auxiliary)
    foreign = foreign_auxiliary(store, test[0], test)
    found = dict(perturbations(volume, foreign))
    assert list(found) == [
        *("clean", "zero", "another patient", "shifted 1 px", "shifted 2 px", "shifted 4 px", "rotated 2 deg", "noise")
    ]
    assert np.array_equal(found["clean"], auxiliary)
    assert not found["zero"].any()
    assert any(np.array_equal(foreign, np.asarray(store.volumes[v].auxiliary)) for v in test[1:])
    assert not np.array_equal(foreign, auxiliary)
    for pixels in (1, 2, 4):
        np.testing.assert_array_equal(found[f"shifted {pixels} px"][:, :, pixels:], auxiliary[:, :, :-pixels])
    noise = found["noise"] - auxiliary
    assert noise.real.std() == pytest.approx(0.1 * np.percentile(np.abs(auxiliary), 99), rel=0.05)
    assert abs(np.corrcoef(noise.real.ravel(), noise.imag.ravel())[0, 1]) < 0.1
    again = dict(perturbations(volume, foreign))
    assert all(np.array_equal(found[name], again[name]) for name in found)


def test_rotation_turns_about_the_centre_sample_and_keeps_the_phase():
    y, x = np.mgrid[:33, :40].astype(float)
    blob = np.exp(-((y - 16) ** 2 + (x - 30) ** 2) / 8) * np.exp(0.7j)
    turned = rotated(blob[None].astype(np.complex64), 90.0)[0]
    # Ten columns right of the centre (16, 20), turned a quarter counter-clockwise as displayed: ten rows above it.
    assert np.unravel_index(np.abs(turned).argmax(), turned.shape) == (6, 20)
    assert np.angle(turned[6, 20]) == pytest.approx(0.7, abs=1e-3)
    small = rotated(blob[None].astype(np.complex64), 2.0)[0]
    centre = ndimage.center_of_mass(np.abs(small))
    angle = np.degrees(np.arctan2(16 - centre[0], centre[1] - 20))
    assert angle == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (
            lambda batch: batch.auxiliary.abs() / batch.auxiliary.abs().amax((1, 2), keepdim=True),
            "toynet predicted NaN or Inf",
        ),
        (
            lambda batch: batch.auxiliary.abs()[:, None],
            r"toynet predicted \(1, 1, 32, 32\) for the target, not \(1, 32, 32\)",
        ),
    ],
)
def test_what_no_method_may_predict_is_an_error_under_stress_too(run_folder, monkeypatch, output, sentence):
    """The first one only where the auxiliary is zero: 0 / 0."""
    folder = bundle(run_folder[0])
    before = (folder / "stress.csv").read_bytes()
    method = mb.load_method("toynet", 2, "quick")
    monkeypatch.setattr(method, "predict", output)
    monkeypatch.setattr(stress, "method_of", lambda *_, **__: method)
    monkeypatch.setattr(stress, "load_weights", lambda *_: None)
    with pytest.raises(ValueError, match=sentence):
        stress.stress_trial(folder)
    assert (folder / "stress.csv").read_bytes() == before


def test_the_clean_scores_are_those_of_the_trial(run_folder):
    folder = bundle(run_folder[0])
    table = pd.read_csv(folder / "stress.csv")
    assert list(table.columns) == list(COLUMNS)
    scores = pd.read_csv(folder / "volumes.csv").set_index("volume_id")["psnr@volume-max"]
    zero = pd.read_csv(folder.parents[1] / "zerofill" / "seed0" / "volumes.csv").set_index("volume_id")[
        "psnr@volume-max"
    ]
    clean = table[table["perturbation"] == "clean"].set_index("volume_id")
    np.testing.assert_allclose(clean["psnr"], scores[clean.index], atol=1e-5)
    np.testing.assert_allclose(clean["zerofill_psnr"], zero[clean.index], atol=1e-4)
    np.testing.assert_allclose(table["loss_db"], table["clean_psnr"] - table["psnr"], atol=1e-9)
    np.testing.assert_allclose(table["below_zerofill_db"], table["zerofill_psnr"] - table["psnr"], atol=1e-9)


def test_another_patients_auxiliary_costs_and_the_table_says_how_much(run_folder):
    run, table, failed = run_folder
    assert failed == []
    data = pd.read_csv(bundle(run) / "stress.csv")
    by_patient = data.pivot_table(index="patient_id", columns="perturbation", values="psnr")
    lost = (by_patient["clean"] - by_patient["another patient"]).mean()
    assert lost > 0
    [row] = table.rows
    cells = dict(zip(table.columns, (cell.text for cell in row), strict=True))
    assert float(cells["another patient"].rstrip(" ‡")) == pytest.approx(lost, abs=0.006)
    below = data[data["perturbation"] == "zero"]["below_zerofill_db"].mean() > 0
    assert cells["zero"].endswith("‡") == below
    p = stats.ttest_rel(by_patient["clean"], by_patient["another patient"]).pvalue
    shown = cells["p (95 % interval of the loss), another patient"]
    d = by_patient["clean"] - by_patient["another patient"]
    low, high = stats.t.interval(0.95, len(d) - 1, loc=d.mean(), scale=stats.sem(d))
    assert shown == ("<0.001" if p < 0.001 else f"{p:.3f}") + f" ({low:+.2f} to {high:+.2f})"


def test_stress_is_no_part_of_a_trial_and_single_contrast_methods_are_left_alone(run_folder):
    run, _, _ = run_folder
    assert "stress.csv" not in mb.load_results(run).records[0].files
    assert not list(run.glob("toy*/x2/zerofill/seed0/stress.csv"))
    assert stress_table([b for b in mb.load_results(run).bundles if b.record.method == "zerofill"]) is None


def test_mistakes_get_a_sentence(here, run_folder, tmp_path):
    add_plugins(TOYS)
    out = here("stress", tmp_path)
    assert out.returncode == 2
    assert "holds no trial" in out.stderr
    out = here("stress", run_folder[0], "--plugins", TOYS)  # another cache: the prepared data are not there
    assert out.returncode == 2
    assert "run the experiment again" in out.stderr
