"""`regress`: what moved is found and named, seed noise is not, and a run that measured nothing never passes."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_run import data_record, write_trial_of
from scipy import stats

import mcsr_bench as mb
from mcsr_bench.experiment.asking import experiment_spec
from mcsr_bench.results.bundle import BundleFiles
from mcsr_bench.results.naming import variant_of
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.system import files

SEEDS = tuple(range(10))
NOISE = np.array([0.04, -0.05, 0.06, 0.01, -0.07, 0.02, -0.03, 0.05, 0.00, -0.03])
"""Of the seeds, in dB; their mean is zero."""
LIMIT = stats.t.isf(0.01 / (2 * 3), 9) * NOISE.std(ddof=1) * np.sqrt(1 + 1 / 10)
"""With three comparisons and one new seed."""
MEANS = {"zerofill": 28.0, "edsr": 30.0, "sanet": 33.0}
SECONDS = {"zerofill": 0.5, "edsr": 10.0, "sanet": 40.0}
PROFILE = {"parameters": 58_305.0, "macs": 1e9}


def trial(out: Path, method: str, seed: int, psnr: float, **changes: Any) -> Path:
    """A finished trial whose mean over its four patients is ``psnr``."""
    seconds = {"train": SECONDS[method], "predict": SECONDS[method] / 10}
    standard: dict[str, Any] = {
        "preset": "quick",
        "seconds": seconds,
        "profile": {} if method == "zerofill" else PROFILE,
    }
    return write_trial_of(out, method, [psnr - 2, psnr - 1, psnr + 1, psnr + 2], seed=seed, **standard | changes)


def asked(out: Path, methods: Sequence[str] | str, seeds: Sequence[int], **changes: Any) -> None:
    spec = experiment_spec(methods, "brain-sim", 2, seeds=seeds, preset="quick", out=out, **changes)
    values = spec.asked()
    files.write_json(RunFolder(out).experiment, values | {"data": values["data"] | {"names": ["knee"]}})


def made(out: Path, *, seeds: Sequence[int] = (10,), methods: Sequence[str] = tuple(MEANS), **shifts: float) -> Path:
    """A run; shifts: by method, what is added to its scores in dB."""
    for method in methods:
        for seed in seeds:
            noise = 0 if method == "zerofill" else NOISE[seed] if seed < 10 else 0
            trial(out, method, seed, MEANS[method] + noise + shifts.get(method, 0))
    asked(out, methods, seeds)
    return out


@pytest.fixture(scope="module")
def against(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("reported")
    return mb.write_numbers(made(root / "r", seeds=SEEDS), root / "numbers.json")


def place(run: Path, method: str, seed: int = 10) -> BundleFiles:
    return BundleFiles(run / "knee" / "x2" / method / f"seed{seed}")


def rewrite(run: Path, method: str, **changes: Any) -> None:
    path = place(run, method).trial
    values = files.read_json(path)
    files.write_json(path, values | changes | {"data": values["data"] | changes.get("data", {})})


def test_the_file_holds_the_mean_over_patients_of_every_seed_and_what_it_rests_on(against):
    values = json.loads(against.read_text())
    assert (values["schema_version"], values["pace"]) == (1, "edsr")
    [edsr, sanet, zerofill] = values["numbers"]
    assert [n["trial"] for n in (edsr, sanet, zerofill)] == ["knee x2 edsr", "knee x2 sanet", "knee x2 zerofill"]
    assert [edsr["seeds"][str(seed)] for seed in SEEDS] == pytest.approx(30 + NOISE, abs=1e-10)
    assert (edsr["retrained"], zerofill["retrained"]) == (True, False)
    assert (sanet["times"], zerofill["times"]) == ({"train": 4.0, "predict": 4.0}, {"predict": 0.05})
    assert (sanet["parameters"], sanet["macs"], zerofill["parameters"]) == (58_305, 10**9, None)
    record = data_record()
    found = [edsr["basis"][key] for key in ("fingerprint", "split", "preset", "protocol")]
    assert found == [record.fingerprint, record.split_hash, "quick", "mcsr-1:d488504d0776"]
    assert (edsr["metric"], edsr["version"]) == ("psnr@volume-max:1", "0.0")


def test_seed_noise_does_not_fail(against, tmp_path):
    run = made(tmp_path / "r", edsr=-0.9 * LIMIT, sanet=0.9 * LIMIT, zerofill=-0.009)
    found = mb.regress(run, against)
    assert (found.outcome, found.moved, [s for s in found.said if s.level == "error"]) == ("unmoved", (), [])
    assert found.summary == "3 numbers compared (psnr@volume-max): 0 moved"
    edsr = found.compared[0]
    assert (edsr.allowed, edsr.reported, edsr.difference) == pytest.approx((LIMIT, 30, -0.9 * LIMIT))
    assert (edsr.seeds, edsr.reported_seeds) == (1, 10)


@pytest.mark.parametrize(
    ("shifts", "said"),
    [
        ({"edsr": -0.5}, f"knee x2 edsr: lost 0.500 dB ({LIMIT:.3f} dB are allowed)"),
        ({"sanet": 1.1 * LIMIT}, f"knee x2 sanet: gained {1.1 * LIMIT:.3f} dB ({LIMIT:.3f} dB are allowed)"),
        ({"zerofill": -0.011}, "knee x2 zerofill: lost 0.011 dB (0.010 dB are allowed)"),
    ],
)
def test_what_moved_is_named(against, tmp_path, shifts, said):
    found = mb.regress(made(tmp_path / "r", **shifts), against)
    assert found.outcome == "moved"
    assert [one.text for one in found.said if one.level == "error"] == [said]


def test_more_new_seeds_allow_less(against, tmp_path):
    run = made(tmp_path / "r", seeds=(10, 11, 12, 13), edsr=-0.9 * LIMIT)
    found = mb.regress(run, against)
    assert [one.trial for one in found.moved] == ["knee x2 edsr"]
    assert found.compared[0].allowed == pytest.approx(LIMIT * np.sqrt((1 / 4 + 1 / 10) / (1 + 1 / 10)))


@pytest.mark.parametrize("what", ["parameters", "macs"])
def test_sizes_have_to_be_equal(against, tmp_path, what):
    run = made(tmp_path / "r")
    rewrite(run, "sanet", profile=PROFILE | {what: PROFILE[what] + 1})
    found = mb.regress(run, against)
    [one] = found.moved
    now, then = f"{PROFILE[what] + 1:,.0f}", f"{PROFILE[what]:,.0f}"
    assert one.verdict == f"{'MACs' if what == 'macs' else what} {now} (reported: {then})"
    assert found.outcome == "moved"


def test_a_time_is_a_warning_and_without_the_method_of_the_pace_nothing(against, tmp_path):
    run = made(tmp_path / "r")
    rewrite(run, "sanet", seconds={"train": 81.0, "predict": 7.9})
    found = mb.regress(run, against)
    assert found.outcome == "unmoved"
    said = "knee x2 sanet: to train takes 8.1 times as long as edsr (reported: 4)"
    assert [(one.level, one.text) for one in found.said] == [("warning", said)]
    shutil.rmtree(place(run, "edsr").folder)
    asked(run, ("zerofill", "sanet"), (10,))
    found = mb.regress(run, against)
    assert (found.outcome, found.not_asked) == ("unmoved", ("knee x2 edsr",))
    assert [one.level for one in found.said] == ["notice"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"protocol_hash": "0"}, "another protocol (mcsr-1:0; reported: mcsr-1:d488504d0776)"),
        ({"preset": "small"}, "another preset (small; reported: quick)"),
        ({"data": {"fingerprint": "f"}}, "another fingerprint of the data (f; reported: "),
        ({"data": {"split_hash": "s"}}, "another split (s; reported: 0123456789ab)"),
        ({"data": {"preparation": {"register": "affine"}}}, "another preparation of the data"),
        ({"data": {"revisions": {"dataset": 9}}}, "another revision of the data's reading"),
        ({"card": {"name": "sanet", "trains": True, "revision": 7}}, "another revision of the method (7; reported: "),
        ({"code": "c0de"}, "another version of the method's code (c0de; reported: )"),
    ],
)
def test_what_rests_on_another_thing_is_not_compared_and_does_not_pass(against, tmp_path, changes, said):
    run = made(tmp_path / "r")
    rewrite(run, "sanet", **changes)
    found = mb.regress(run, against)
    assert (found.outcome, len(found.compared)) == ("incomplete", 2)
    [text] = found.not_comparable
    assert text.startswith(f"knee x2 sanet: has {said}")


def test_an_outdated_or_missing_score_does_not_pass(against, tmp_path):
    run = made(tmp_path / "r")
    rewrite(run, "sanet", metrics={})
    path = place(run, "edsr").volumes
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    path = place(run, "zerofill").volumes
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    found = mb.regress(run, against)
    assert (found.outcome, found.compared) == ("incomplete", ())
    assert sorted(found.missing) == [
        "knee x2 edsr: has scores of 3 of 4 test patients",
        "knee x2 sanet: has no finite psnr@volume-max by the present revision of the metric",
        "knee x2 zerofill: its tables hold no score",
    ]


@pytest.mark.parametrize("status", ["failed", "interrupted", "running"])
def test_a_crashed_run_does_not_pass(against, tmp_path, status):
    run = made(tmp_path / "r")
    rewrite(run, "sanet", status=status, reason="it broke")
    found = mb.regress(run, against)
    assert (found.outcome, len(found.compared)) == ("incomplete", 2)
    [text] = found.missing
    assert text.startswith(f"knee x2 sanet seed 10: {'failed' if status == 'failed' else 'interrupted'}: ")


def test_a_move_in_an_incomplete_run_is_a_move(against, tmp_path):
    run = made(tmp_path / "r", edsr=-1)
    rewrite(run, "sanet", status="failed", reason="it broke")
    assert mb.regress(run, against).outcome == "moved"


def test_a_trial_that_never_began_is_missed(against, tmp_path):
    run = made(tmp_path / "r", seeds=(10, 11))
    shutil.rmtree(place(run, "sanet", 11).folder)
    shutil.rmtree(place(run, "edsr").folder.parent)
    found = mb.regress(run, against)
    assert found.outcome == "incomplete"
    assert sorted(found.missing) == [
        "knee x2 edsr seed 10: was asked for, and is not there",
        "knee x2 edsr seed 11: was asked for, and is not there",
        "knee x2 sanet seed 11: was asked for, and is not there",
    ]


def test_what_was_not_asked_for_is_named_and_a_run_of_all_methods_has_all(against, tmp_path):
    run = made(tmp_path / "r", methods=("zerofill", "edsr"))
    found = mb.regress(run, against)
    assert (found.outcome, found.not_asked) == ("unmoved", ("knee x2 sanet",))
    assert [one.line for one in found.said] == ["not part of this run: knee x2 sanet"]
    asked(run, "all", (10,))
    found = mb.regress(run, against)
    assert (found.outcome, found.not_asked) == ("incomplete", ())
    assert "knee x2 sanet seed 10: was asked for, and is not there" in found.missing
    assert "knee x2 minet seed 10: was asked for, and is not there" in found.missing  # has no number, and was asked for


def test_a_variant_that_only_the_file_has_is_missed_in_a_run_of_all_methods(against, tmp_path):
    values = json.loads(against.read_text())
    values["numbers"].append(values["numbers"][2] | {"method": "zerofill@magnitude", "trial": "zerofill (magnitude)"})
    (tmp_path / "f.json").write_text(json.dumps(values))
    run = made(tmp_path / "r")
    found = mb.regress(run, tmp_path / "f.json")
    assert (found.outcome, found.not_asked) == ("unmoved", ("zerofill (magnitude)",))
    asked(run, "all", (10,))
    text = "knee x2 zerofill@magnitude seed 10: was asked for, and is not there"
    assert text in mb.regress(run, tmp_path / "f.json").missing


def test_a_suite_has_the_variants_that_were_reported_of_its_methods(against, tmp_path):
    values = json.loads(against.read_text())
    values["numbers"] = [values["numbers"][1] | {"method": f"sanet@Ab_{i}", "trial": f"sanet (Ab_{i})"} for i in (1, 2)]
    (tmp_path / "f.json").write_text(json.dumps(values))
    for suite in (None, "table3"):
        run = tmp_path / str(suite)
        trial(run, "sanet", 10, 33, variant="Ab_1")
        asked(run, "sanet", (10,), suite=suite)
        found = mb.regress(run, tmp_path / "f.json")
        missed = ("knee x2 sanet@Ab_2 seed 10: was asked for, and is not there",) if suite else ()
        assert (found.missing, found.not_asked) == (missed, () if suite else ("sanet (Ab_2)",))


def test_seeds_of_another_size_are_not_mixed(against, tmp_path):
    run = made(tmp_path / "r", seeds=(10, 11))
    rewrite(run, "sanet", profile=PROFILE | {"macs": 5})
    with pytest.raises(mb.UserError, match=r"seed11: has other macs than seed10; such results are never mixed"):
        mb.regress(run, against)


def test_other_settings_are_another_trial(against, tmp_path):
    run = made(tmp_path / "r", methods=("zerofill",))
    trial(run, "edsr", 10, 30, variant=variant_of({"width": 8}), changes={"width": 8})
    asked(run, ("zerofill", "edsr"), (10,), settings={"edsr": {"width": 8}})
    found = mb.regress(run, against)
    assert found.outcome == "incomplete"
    assert found.extra == (f"knee x2 edsr (width=8): {against} has no number of it",)
    assert found.missing == ("knee x2 edsr seed 10: was asked for, and is not there",)


def test_an_extra_trial_is_named_and_passes(against, tmp_path):
    run = made(tmp_path / "r")
    write_trial_of(run, "bicubic", [29.0] * 4, seed=10, preset="quick")
    found = mb.regress(run, against)
    assert (found.outcome, found.extra) == ("unmoved", (f"knee x2 bicubic: {against} has no number of it",))


def test_a_damaged_bundle_is_named_and_does_not_pass(against, tmp_path):
    run = made(tmp_path / "r")
    rewrite(run, "sanet", files={"volumes.csv": "0" * 64})
    place(run, "edsr").trial.write_text("{")
    found = mb.regress(run, against)
    assert (found.outcome, [one.trial for one in found.compared]) == ("incomplete", ["knee x2 zerofill"])
    assert (
        sum("volumes.csv: is damaged" in text or "not a readable trial record" in text for text in found.missing) == 2
    )
    place(run, "sanet").trial.write_text("{")
    place(run, "zerofill").trial.write_text("{")
    found = mb.regress(run, against)
    assert (found.outcome, found.compared) == ("incomplete", ())
    assert "not a readable trial record" in found.missing[0]


def test_nothing_in_common_does_not_pass(against, tmp_path):
    run = tmp_path / "r"
    write_trial_of(run, "bicubic", [29.0] * 4, seed=10, preset="quick")
    asked(run, ("bicubic",), (10,))
    found = mb.regress(run, against)
    assert (found.outcome, found.missing, len(found.not_asked)) == ("incomplete", (), 3)
    assert found.said[0].line == "nothing compared: the run and the file have no number in common that may be compared"


def test_a_contrast_that_is_not_scored_any_more_is_missed(against, tmp_path):
    values = json.loads(against.read_text())
    values["numbers"].append(values["numbers"][0] | {"contrast": "T1", "trial": "knee x2 edsr (T1)"})
    (tmp_path / "f.json").write_text(json.dumps(values))
    found = mb.regress(made(tmp_path / "r"), tmp_path / "f.json")
    assert (found.outcome, found.missing) == ("incomplete", ("knee x2 edsr (T1): the run has no score of T1",))


def test_shipped_weights_may_move_by_rounding_alone(tmp_path):
    for name, psnr in (("a", 30.0), ("b", 30.009), ("c", 30.011)):
        trial(tmp_path / name, "edsr", 0, psnr, variant="shipped", shipped="0" * 64)
        asked(tmp_path / name, ("edsr",), (0,))
    file = mb.write_numbers(tmp_path / "a", tmp_path / "f.json")
    assert [mb.regress(tmp_path / name, file).outcome for name in "abc"] == ["unmoved", "unmoved", "moved"]


def test_what_half_a_db_would_need_is_said(tmp_path):
    for method, factor in (("edsr", 2), ("sanet", 10)):
        for seed in SEEDS:
            trial(tmp_path / "a", method, seed, 30 + factor * NOISE[seed])
    asked(tmp_path / "a", ("edsr", "sanet"), SEEDS)
    for method in ("edsr", "sanet"):
        trial(tmp_path / "b", method, 10, 30)
    asked(tmp_path / "b", ("edsr", "sanet"), (10,))
    found = mb.regress(tmp_path / "b", mb.write_numbers(tmp_path / "a", tmp_path / "f.json"))
    power = [
        stats.nct.sf(stats.t.isf(0.01 / 4, 9), 9, 0.5 / (2 * NOISE.std(ddof=1) * np.sqrt(1 / k + 0.1)))
        for k in range(1, 9)
    ]
    needed = next(k for k, p in enumerate(power, 1) if p >= 0.95)
    assert [(one.level, one.line) for one in found.said] == [
        ("notice", f"blind: knee x2 edsr: a loss of 0.5 dB may pass; {needed} new seeds would find it"),
        ("notice", "blind: knee x2 sanet: a loss of 0.5 dB may pass; no number of new seeds finds it"),
    ]
