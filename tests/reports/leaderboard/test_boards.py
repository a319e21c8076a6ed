"""The numbers of the leaderboard against independent computations: ranks, intervals, repetitions, times, commands, flags."""

import shlex
import shutil
import sys
from importlib import import_module

import board_runs as runs
import fake_run as fake
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from mcsr_bench.cli import main
from mcsr_bench.experiment.asking import experiment_spec
from mcsr_bench.experiment.grid import points
from mcsr_bench.plugin.registry import reports
from mcsr_bench.results.load import load_results
from mcsr_bench.results.ranks import standings
from mcsr_bench.results.statistics import mean_interval, prediction_interval, seed_scores
from mcsr_bench.results.verdict import Verdict
from mcsr_bench.system import files
from mcsr_bench.system.computing import Computing

reports().load("leaderboard")
from mcsr_bench.reports.leaderboard.boards import boards  # noqa: E402
from mcsr_bench.reports.leaderboard.facts import command, flags, latency, reported  # noqa: E402
from mcsr_bench.reports.leaderboard.scoring import scored  # noqa: E402
from mcsr_bench.reports.leaderboard.vouching import shown, vouched  # noqa: E402

PSNR = "psnr@volume-max"
BETTER = {"edsr": 0.0, "smore": 0.05, "minet": 1.0, "sanet": 1.02}


def scores(run, method, scale=2):
    """Seeds x patients, read by hand."""
    tables = [
        pd.read_csv(p).sort_values("patient_id") for p in sorted(run.glob(f"*/x{scale}/{method}/seed*/volumes.csv"))
    ]
    return np.stack([table[PSNR].to_numpy() for table in tables])


def p_of(a, b):
    """Cochran and Cox (1957), solved by bisection: patients, and the seeds of either method, are random."""
    d = a.mean(0) - b.mean(0)
    terms = [(d.var(ddof=1) / d.size, d.size - 1)]
    terms += [(x.mean(1).var(ddof=1) / len(x), len(x) - 1) for x in (a, b)]
    total = sum(v for v, _ in terms)
    low, high = 1e-16, 1.0
    for _ in range(200):
        p = (low * high) ** 0.5
        quantile = sum(v * stats.t.isf(p / 2, f) for v, f in terms) / total
        low, high = (p, high) if quantile > abs(d.mean()) / total**0.5 else (low, p)
    return p, d.mean()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = runs.claimed(tmp_path_factory.mktemp("boards") / "r", BETTER, weights="first")
    runs.claimed(out, {"zerofill": -2.0}, seeds=(0,))
    runs.claimed(out, {"mcmrsr": 3.0}, seeds=(0, 1))
    return out


@pytest.fixture(scope="module")
def board(run):
    [found] = boards(load_results(run))
    return found


def test_ranks_count_the_methods_that_are_better_over_all_pairs(run, board):
    found = scored(board, PSNR)
    names = sorted(BETTER)
    pairs = [(a, b) for k, a in enumerate(names) for b in names[k + 1 :]]
    by_hand = {pair: p_of(scores(run, pair[0]), scores(run, pair[1])) for pair in pairs}
    table = found.pairs.set_index(["method", "other"])
    for pair in pairs:
        assert table.loc[pair, "p"] == pytest.approx(by_hand[pair][0], rel=1e-6)
        assert table.loc[pair, "mean_difference"] == pytest.approx(by_hand[pair][1])
    corrected = multipletests(table["p"].to_numpy(), method="holm")[1]  # zerofill is in the family, too
    assert len(corrected) == 10
    assert table["p_holm"].to_numpy() == pytest.approx(corrected)
    better = dict.fromkeys([*names, "zerofill"], 0)
    for (a, b), p, difference in zip(table.index, corrected, table["mean_difference"], strict=True):
        better[b if difference > 0 else a] += bool(p < 0.05)
    assert {name: found.rows[name].standing.rank for name in better} == {n: 1 + k for n, k in better.items()}
    assert {better[name] for name in ("sanet", "minet")} == {0}
    assert better["zerofill"] == 4
    assert found.rows["mcmrsr"].standing.rank is None
    assert "2 of the 3 seeds" in found.rows["mcmrsr"].standing.reason
    assert next(iter(found.rows)) == "mcmrsr"  # the highest mean, without a rank


def test_a_metric_that_is_better_when_lower_ranks_the_other_way(run):
    volumes = load_results(run).volumes
    table = seed_scores(volumes, PSNR)
    up, pairs = standings(table, untrained={"zerofill"})
    down, same = standings(table, higher_is_better=False, untrained={"zerofill"})
    pd.testing.assert_frame_equal(pairs, same)
    assert (up["zerofill"].rank, down["zerofill"].rank) == (5, 1)
    assert {down[name].rank for name in ("sanet", "minet")} == {4}  # zerofill, edsr and smore are significantly lower


def test_means_and_intervals_are_over_patients_and_seeds(run, board):
    found = scored(board, PSNR).rows["sanet"]
    x = scores(run, "sanet")
    assert found.mean == pytest.approx(x.mean())
    assert found.sd_seeds == pytest.approx(x.mean(1).std(ddof=1))
    assert found.patients == pytest.approx(x.mean(0))
    terms = [(x.mean(0).var(ddof=1) / x.shape[1], x.shape[1] - 1), (x.mean(1).var(ddof=1) / 3, 2)]
    total = sum(v for v, _ in terms)
    half = total**0.5 * sum(v * stats.t.isf(0.025, f) for v, f in terms) / total
    assert (found.low, found.high) == pytest.approx((x.mean() - half, x.mean() + half))
    x = scores(run, "zerofill")[0]
    row = scored(board, PSNR).rows["zerofill"]
    assert (row.low, row.high) == pytest.approx(stats.t.interval(0.95, len(x) - 1, x.mean(), stats.sem(x)))


def test_few_patients_have_neither_interval_nor_rank(tmp_path):
    out = runs.claimed(tmp_path / "r", {"edsr": 0.0, "sanet": 3.0}, data=fake.data_record("knee", patients=5))
    found = scored(boards(load_results(out))[0], PSNR).rows["sanet"]
    assert (found.standing.rank, found.standing.reason) == (None, "too few patients to test")
    assert np.isnan(found.low)
    table = seed_scores(load_results(out).volumes, PSNR)
    assert np.isnan(mean_interval(table[table["method"] == "sanet"])).all()


def test_the_prediction_interval_holds_a_further_seed_as_often_as_it_says():
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(400):
        *known, new = rng.normal(30, 0.1, 4)
        low, high = prediction_interval(known)
        inside += low <= new <= high
    assert inside / 400 == pytest.approx(0.95, abs=0.03)
    assert np.isnan(prediction_interval([30.0, 30.1])).all()


def test_repetitions_count_once_by_their_weights_where_their_mean_is(run, tmp_path):
    x = scores(run, "sanet").mean(1)
    low, high = prediction_interval(x)
    spread = stats.t.isf(0.025, 2) * x.std(ddof=1) * (4 / 3) ** 0.5
    assert (low, high) == pytest.approx((x.mean() - spread, x.mean() + spread))
    other = tmp_path / "other"
    data = fake.data_record("knee", patients=runs.PATIENTS, reported_as="fastMRI")
    level = fake.draw("sanet", runs.PATIENTS, seed=9)
    for seed, mean, weights in (
        (7, x.mean(), "a"),
        (8, x.mean(), "a"),
        (9, high + 0.1, "b"),
        (10, low + 0.001, "c"),
        (11, x.mean(), "first-sanet-0"),
    ):
        psnr = [value - np.mean(level) + mean for value in level]
        profile = {"parameters": 1.0}
        fake.seal(fake.write_trial_of(other, "sanet", psnr, data=data, seed=seed, profile=profile), weights)
    results = load_results(run, other)
    [board] = boards(results)
    row = next(row for row in board.rows if row.name == "sanet")
    assert row.seeds == (0, 1, 2)
    verdicts = {b.folder: Verdict("", b.folder, "verified", ("fine",)) for b in row.bundles}
    who = vouched(board, row, results, verdicts)
    assert (who.level, who.reproduced, who.apart) == (
        "verified",
        2,
        1,
    )  # a (once) and c; b; "first-sanet-0" is the row's own
    verdicts[row.bundles[1].folder] = Verdict("", row.bundles[1].folder, "scores only", ("no data",))
    who = vouched(board, row, results, verdicts)
    assert (who.level, who.verified, who.seeds, who.reason) == ("claimed", 2, 3, "no data")


def again(run, to, method, seed, shift=0.0, **changes):
    """A trial of the run once more, in another run; shift: what its scores have more, in dB."""
    [folder] = run.glob(f"*/x2/{method}/seed{seed}")
    variant = "@shipped" if "shipped" in changes else ""
    copy = to / folder.relative_to(run).parents[1] / f"{method}{variant}" / folder.name
    shutil.copytree(folder, copy)
    table = pd.read_csv(copy / "volumes.csv")
    table[PSNR] += shift
    table.to_csv(copy / "volumes.csv", index=False)
    files.write_json(copy / "trial.json", files.read_json(copy / "trial.json") | changes)
    fake.seal(copy, changes.get("shipped", ""))
    return copy


def test_verified_predictions_with_the_same_weights_vouch(run, tmp_path):
    """As a run with --pretrained has them, and one of the same interpolation: the row's own bundles are scores alone."""
    other = tmp_path / "other"
    shipped = {"variant": "shipped", "shipped": "first-sanet-1"}
    made = [again(run, other, "sanet", 1, **shipped), again(run, other, "zerofill", 0)]
    stranger = again(run, tmp_path / "stranger", "edsr", 0, variant="shipped", shipped="weights-of-nobody")
    results = load_results(run, other, tmp_path / "stranger")
    [board] = boards(results)
    rows = {row.name: row for row in board.rows}
    assert rows.keys() == {*(row.name for row in boards(load_results(run))[0].rows), "edsr@shipped"}
    verdicts = {b.folder: Verdict("", b.folder, "scores only", ("no predictions",)) for b in results.bundles}
    verdicts |= {folder: Verdict("", folder, "verified", ("fine",)) for folder in (*made, stranger)}
    who = {name: vouched(board, row, results, verdicts) for name, row in rows.items()}
    assert (who["sanet"].verified, who["sanet"].level, who["sanet"].reproduced) == (1, "claimed", 0)
    assert (who["zerofill"].verified, who["zerofill"].level) == (1, "verified")
    assert who["edsr"].verified == 0
    assert shown(rows["sanet"], rows["sanet"].bundles[1], results, verdicts).folder == made[0]


@pytest.mark.parametrize(("name", "verified"), [("zerofill", 2), ("edsr", 1)])
def test_one_verified_seed_vouches_for_all_of_a_method_without_training(tmp_path, name, verified):
    """If those have its scores, as the third here has not."""
    data = fake.data_record("knee", patients=runs.PATIENTS, reported_as="fastMRI")
    level = fake.draw(name, runs.PATIENTS, seed=0)
    made = []
    for seed, more in ((0, 0.0), (1, 0.0), (2, 0.5)):
        psnr = [value + more for value in level]
        made.append(fake.write_trial_of(tmp_path / "run", name, psnr, data=data, seed=seed))
        fake.seal(made[-1], "" if name == "zerofill" else f"weights-{seed}")
    results = load_results(tmp_path / "run")
    [board] = boards(results)
    [row] = board.rows
    [first] = [b.folder for b in row.bundles if b.record.seed == 0]
    who = vouched(board, row, results, {first: Verdict("", first, "verified", ("fine",))})
    assert (who.verified, who.seeds, who.level) == (verified, 3, "claimed")


@pytest.mark.parametrize(("shift", "counted"), [(0.0005, 1), (0.05, 0)])
def test_they_must_have_the_rows_scores(run, tmp_path, shift, counted):
    made = again(run, tmp_path / "other", "sanet", 1, shift, variant="shipped", shipped="first-sanet-1")
    results = load_results(run, tmp_path / "other")
    [board] = boards(results)
    [row] = [row for row in board.rows if row.name == "sanet"]
    assert vouched(board, row, results, {made: Verdict("", made, "verified", ("fine",))}).verified == counted


def test_other_data_and_other_settings_never_share_a_board_or_a_row(tmp_path):
    out, other = tmp_path / "a", tmp_path / "b"
    runs.claimed(out, {"edsr": 0.0}, seeds=(0,))
    runs.claimed(other, {"edsr": 0.0}, seeds=(0,), settings={"width": 9})
    [board] = boards(load_results(out, other))
    assert len({row.name for row in board.rows}) == 2
    assert all(row.name.startswith("edsr [") for row in board.rows)
    split = tmp_path / "c"
    runs.claimed(
        split,
        {"edsr": 0.0},
        seeds=(0,),
        data=fake.data_record("knee", patients=9, reported_as="fastMRI", split_hash="f" * 12),
    )
    found = boards(load_results(out, split))
    assert len(found) == 2
    assert len({board.name for board in found}) == 2
    assert all("folds share training patients" in flags(board, board.rows[0]) for board in found)
    assert not any("simulated" in flags(board, board.rows[0]) for board in found)
    preset = tmp_path / "d"
    runs.claimed(preset, {"edsr": 0.0}, seeds=(0,), preset="paper")
    assert len(boards(load_results(out, preset))) == 2


def test_time_is_a_multiple_of_edsr_in_the_same_run_and_device(tmp_path):
    out, other = tmp_path / "a", tmp_path / "b"
    for run, clock in ((out, (2.0, 4.0, 9.0)), (other, (100.0,) * 3)):
        for seed, seconds in enumerate(clock):
            runs.claimed(run, {"edsr": 0.0}, seeds=(seed,), seconds={"predict": seconds})
    runs.claimed(out, {"sanet": 0.0}, seeds=(0, 1), seconds={"predict": 6.0})
    runs.claimed(out, {"minet": 0.0}, seeds=(0,), seconds={"predict": 6.0}, device="another")
    results = load_results(out, other)
    found = {row.name: latency(row, results) for row in boards(results)[0].rows}
    assert found["edsr"] == 1
    assert found["sanet"] == 6 / 4
    assert np.isnan(found["minet"])


def test_reported_numbers_are_those_of_the_paper_for_the_same_data_and_scale(board):
    rows = {row.name: reported(board, row) for row in board.rows}
    assert rows["sanet"][PSNR]["text"] == "32.0±0.71"  # Table I, fastMRI
    assert rows["edsr"]["ssim@volume-max"]["text"] == "0.512±0.06"
    assert rows["zerofill"] == {}
    assert "assumption-heavy baseline" in flags(board, next(row for row in board.rows if row.name == "smore"))
    assert flags(board, next(row for row in board.rows if row.name == "sanet")) == []


@pytest.mark.parametrize(
    "asked",
    [
        {"methods": ["edsr"], "settings": {"edsr": {"width": 24, "shifted_input": True}}},
        {
            "methods": ["bicubic"],
            "settings": {"brain-sim": {"subjects": 12, "target": "FLAIR"}},
            "store_dtype": "float16-pair",
        },
        {"methods": "all", "choose": ("zerofill", "magnitude")},
        {"methods": ["sanet"], "suite": ["fig8"], "choose": ("sanet", "alpha=0.3")},
    ],
)
def test_the_command_asks_for_the_trial_that_it_is_about(tmp_path, monkeypatch, asked):
    chosen = asked.pop("choose", None)
    methods = asked.pop("methods")
    spec = experiment_spec(methods, "brain-sim", 4, preset="small", seeds=[0], out=tmp_path / "r", **asked)
    point = next(p for p in points(spec) if chosen in (None, (p.method, p.variant)) and p.scale in (2, 4))
    data = fake.data_record("brain-sim", patients=6, real=False, preparation=spec.data.preparation.changes)
    runs.claimed(
        tmp_path / "r",
        {point.method: 0.0},
        data=data,
        seeds=(0, 2),
        variant=point.variant,
        settings=point.settings,
        changes=point.changes,
        dataset_changes=spec.data.settings.get("brain-sim", {}),
        scale=point.scale,
    )
    files.write_json(tmp_path / "r" / "experiment.json", spec.model_dump(mode="json"))
    [board] = boards(load_results(tmp_path / "r"))
    words = shlex.split(command(board.rows[0]))
    taken = {}
    monkeypatch.setattr(sys, "argv", [*words, "--out", str(tmp_path / "again")])
    monkeypatch.setattr(import_module("mcsr_bench.cli.run"), "mb", _Caught(taken))
    with pytest.raises(_CaughtError):
        main()
    computing = Computing(**{name: taken.pop(name) for name in Computing.model_fields})
    again = experiment_spec(**taken, computing=computing)
    assert again.seeds == (0, 2)
    assert again.preset == spec.preset
    assert again.data.preparation == spec.data.preparation
    for name, changes in spec.data.settings.items():  # text, which the setting's type turns into a number
        assert again.data.settings[name] == {key: str(value) for key, value in changes.items()}
    assert again.data.settings.keys() == spec.data.settings.keys()
    found = [
        p for p in points(again) if (p.method, p.scale) == (point.method, point.scale) and p.settings == point.settings
    ]
    assert [p.variant for p in found] == [point.variant]


class _CaughtError(Exception):
    pass


class _Caught:
    """Stands in for the package: `run` notes what it is asked for."""

    def __init__(self, taken):
        self.taken = taken

    def run(self, *, listener, **asked):
        self.taken.update(asked)
        raise _CaughtError
