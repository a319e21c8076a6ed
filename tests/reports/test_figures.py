"""The figures: every number behind them against an independent computation, every picture drawn and not blank."""

import io
from itertools import pairwise
from types import SimpleNamespace

import fake_run as fake
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from scipy import stats
from skimage.color import rgb2lab

from mcsr_bench.api import experiment_spec
from mcsr_bench.experiment.layout import layouts
from mcsr_bench.plugin.registry import reports
from mcsr_bench.results.load import load_results
from mcsr_bench.system import frames

reports().load("paper")
from mcsr_bench.reports.paper.figures import Drawing, drawings  # noqa: E402
from mcsr_bench.reports.paper.figures.comparison import Comparison, Panel, chosen_slice, comparisons, draw, inset  # noqa: E402
from mcsr_bench.reports.paper.figures.ranks import cliques  # noqa: E402
from mcsr_bench.reports.paper.figures.style import Palette  # noqa: E402
from mcsr_bench.reports.paper.figures.tradeoff import front  # noqa: E402
from mcsr_bench.reports.paper.sheets import sheets  # noqa: E402
from mcsr_bench.results.ranks import Friedman  # noqa: E402

METHODS = ("zerofill", "edsr", "zeng", "sanet")


def drawn(out, against=("zerofill",), shown=()):
    results = load_results(out)
    found = drawings(sheets(results, against, shown), results)
    return {one.name: one for one in found if isinstance(one, Drawing)}


def one(found, beginning):
    [name] = [n for n in found if n.startswith(beginning)]
    return found[name]


def rendered(drawing):
    buffer = io.BytesIO()
    drawing.figure.savefig(buffer, format="rgba", dpi=60)
    return np.frombuffer(buffer.getvalue(), np.uint8)


@pytest.fixture
def four(tmp_path):
    for k, method in enumerate(METHODS):
        psnr = fake.draw(method, 9, better=0.5 * k)
        settings = {} if method == "zerofill" else reports_settings(method)
        folder = fake.write_trial_of(tmp_path / "r", method, psnr, settings=settings)
        if settings:
            log = pd.DataFrame(
                {"step": [10, 20, 30], "loss": [1.0, 0.5, 0.4], "validation_psnr": [np.nan, 29.0, 30.0 + k]}
            )
            frames.write_csv(folder / "training.csv", log)
    return tmp_path / "r"


def reports_settings(method):
    from mcsr_bench.plugin.loading import check_method

    return check_method(method, 2, "small", {}).model_dump(mode="json")


def test_what_can_be_drawn_is_drawn_and_nothing_else(four):
    found = drawn(four)
    kinds = sorted({name.split("-")[0] for name in found})
    assert kinds == ["curves", "differences", "pareto"]  # no suite, no prepared data, one block
    for drawing in found.values():
        pixels = rendered(drawing)
        assert pixels.std() > 5
        assert len(drawing.data)
        assert "Protocol mcsr-1" in drawing.caption


def test_differences_are_method_minus_reference_per_patient(four):
    data = one(drawn(four), "differences").data
    part = data[(data["label"] == "sanet") & (data["metric"] == "psnr@volume-max")].set_index("patient_id")[
        "difference"
    ]
    expected = np.array(fake.draw("sanet", 9, better=1.5)) - np.array(fake.draw("zerofill", 9))
    np.testing.assert_allclose(part.sort_index(), expected, atol=1e-9)
    assert "zerofill" not in set(data["label"])


def test_pareto_numbers_and_front_by_brute_force(four):
    data = one(drawn(four), "pareto").data.set_index("label")
    assert data.loc["sanet", "parameters"] == 397_039  # preset small, from the card's hand count
    assert data.loc["edsr", "psnr"] == pytest.approx(np.mean(fake.draw("edsr", 9, better=0.5)))
    rng = np.random.default_rng(0)
    for _ in range(50):
        cost, score = rng.integers(0, 5, (2, 7)).astype(float)
        for i, kept in enumerate(front(cost, score)):
            beaten = any(
                cost[j] <= cost[i] and score[j] >= score[i] and (cost[j] < cost[i] or score[j] > score[i])
                for j in range(7)
            )
            assert kept == (not beaten)


def test_names_of_networks_of_one_size_stand_in_the_order_of_their_scores_and_ticks_do_not_touch(tmp_path):
    for number, variant in enumerate(("c", "a", "e", "b", "d")):
        psnr = fake.draw(variant, 9, better=0.02 * number + 2 * (variant == "d"))
        fake.write_trial_of(tmp_path / "r", "sanet", psnr, variant=variant)
    drawing = one(drawn(tmp_path / "r"), "pareto")
    FigureCanvasAgg(drawing.figure).draw()
    scores = drawing.data.set_index("label")["psnr"].sort_values()
    for ax in drawing.figure.axes[:2]:
        names = {text.get_text(): text.get_window_extent() for text in ax.texts if text.get_text() in scores.index}
        assert list(scores.index) == sorted(names, key=lambda name: names[name].y0)
        boxes = sorted(names.values(), key=lambda box: box.y0)
        overlap = max((low.y1 - high.y0) / low.height for low, high in pairwise(boxes))
        assert overlap < 0.4  # a box has room for letters that reach below the line
        ticks = [
            label.get_window_extent() for label in ax.get_xticklabels() if label.get_text() and label.get_visible()
        ]
        shown = sorted((box for box in ticks if ax.bbox.x0 <= box.x0 and box.x1 <= ax.bbox.x1), key=lambda box: box.x0)
        assert all(left.x1 < right.x0 for left, right in pairwise(shown))


def test_curves_are_the_training_logs(four):
    data = one(drawn(four), "curves").data
    assert set(data["label"]) == {"edsr", "zeng", "sanet"}
    assert list(data[data["label"] == "sanet"]["validation_psnr"].dropna()) == [29.0, 33.0]


def suite_run(tmp_path, suite, better):
    [layout] = layouts(experiment_spec(suite=suite, preset="small"))
    for row in layout.rows:
        name = row.name or row.label
        psnr = fake.draw(name, 9, better=better(name))
        fake.write_trial_of(tmp_path / "s", row.method, psnr, variant=row.variant)
    return drawn(tmp_path / "s", shown=(layout,)), layout


def test_sweeps_have_the_value_on_the_axis_and_t_intervals(tmp_path):
    found, layout = suite_run(tmp_path, "fig8", lambda label: float(label.split("=")[1]))
    data = one(found, "sweep").data
    psnr = data[data["metric"] == "psnr@volume-max"]
    assert list(psnr["value"]) == [k / 10 for k in range(11)]
    scores = np.array(fake.draw("alpha=0.3", 9, better=0.3))
    row = psnr[psnr["value"] == 0.3].iloc[0]
    low, high = stats.t.interval(0.95, 8, loc=scores.mean(), scale=stats.sem(scores))
    assert (row["mean"] - row["half_width"], row["mean"] + row["half_width"]) == pytest.approx((low, high), abs=1e-9)
    assert "the paper's choice (0.7)" in one(found, "sweep").caption
    assert not [n for n in found if n.startswith("ablation")]
    assert layout.kind == "sweep"


def test_ablations_are_bars_of_one_methods_settings(tmp_path):
    found, _ = suite_run(tmp_path, "table3", lambda label: 1.0)
    data = one(found, "ablation").data
    assert list(data[data["metric"] == "psnr@volume-max"]["label"]) == ["Ab_1", "Ab_2", "Ab_3", "Ab_4", "SANet"]
    assert rendered(one(found, "ablation")).std() > 5
    assert not [n for n in found if n.startswith("sweep")]


def test_ranks_are_tested_over_six_data_sets_and_their_scales_are_one_block(tmp_path):
    for k, method in enumerate(METHODS):
        for name in "abcdef":
            for scale in (2, 4):
                fake.write_trial_of(
                    tmp_path / "r",
                    method,
                    fake.draw(method, 9, better=k),
                    data=fake.data_record(name, patients=9),
                    scale=scale,
                )
    ranks = one(drawn(tmp_path / "r"), "ranks")
    assert "over 6 data sets" in ranks.caption
    data = ranks.data.set_index("method")
    assert list(data["mean_rank"].sort_values().index) == list(reversed(METHODS))
    assert data.loc["sanet", "mean_rank"] == 1


def test_cliques_are_the_longest_runs_that_do_not_differ():
    names = list("abcd")
    p = pd.DataFrame(1.0, index=names, columns=names)
    for x, y in (("a", "c"), ("a", "d"), ("b", "d")):
        p.loc[x, y] = p.loc[y, x] = 0.01
    ranks = pd.Series([1.0, 2.0, 3.0, 4.0], index=names)
    assert cliques(Friedman(5, 1.0, 0.01, ranks, p)) == [("a", "b"), ("b", "c"), ("c", "d")]


def test_the_inset_is_where_the_error_inside_the_object_is_largest():
    rng = np.random.default_rng(1)
    error, inside = rng.normal(size=(20, 28)), rng.random((20, 28)) > 0.3
    best = max(
        ((error[y : y + 5, x : x + 7] ** 2 * inside[y : y + 5, x : x + 7]).sum(), y, x) for y, x in np.ndindex(16, 22)
    )
    assert inset(error, inside) == (best[1], best[2], 5, 7)


def test_methods_look_the_same_everywhere_and_differ_without_colour():
    names = [f"method{k}" for k in range(11)]  # as many as the default table has rows
    palette = Palette(names)
    for k, a in enumerate(names):
        for b in names[:k]:
            assert palette.colour(a) != palette.colour(b)
            assert palette.marker(a) != palette.marker(b)
            lightness = [rgb2lab(np.array(to_rgb(palette.colour(name))))[0] for name in (a, b)]
            assert palette.line(a) != palette.line(b) or abs(np.subtract(*lightness)) > 15, (a, b)


@pytest.mark.parametrize(
    ("n", "lines"), [(1, [1]), (5, [5]), (6, [6]), (7, [4, 3]), (10, [5, 5]), (11, [6, 5]), (13, [5, 5, 3])]
)
def test_the_images_of_ten_methods_are_two_lines_of_five(n, lines):
    image = np.random.default_rng(0).random((16, 16))
    panels = tuple(Panel(f"m{k}", image, 30.0, 0.5) for k in range(n))
    figure = draw(Comparison("t", image[::4, ::4], image, image, panels, (0, 0, 4, 4), "c"))
    figure.draw_without_rendering()
    tops = [round(ax.get_position().y1, 2) for ax in figure.axes if ax.get_title().startswith("m")]
    assert [tops.count(top) for top in dict.fromkeys(tops)] == lines
    columns = [round(ax.get_position().x0, 2) for ax in figure.axes if ax.get_title().startswith("m")]
    assert columns[: len(columns[lines[0] :])] == columns[lines[0] :] or len(lines) > 2  # one below the other


def test_a_full_size_picture_loses_no_pixel(monkeypatch):
    image = np.zeros((400, 500))
    panels = (Panel("m", image, 30.0, 0.5),)
    shown = Comparison("t", image[::4, ::4], image, image, panels, (0, 0, 4, 4), "c")
    monkeypatch.setattr("mcsr_bench.reports.paper.figures.comparison.comparison", lambda *_: shown)
    [drawing] = comparisons(SimpleNamespace(datasets=("d",), name="s"), None, ("median",))
    drawing.figure.set_dpi(drawing.dpi)
    drawing.figure.draw_without_rendering()
    assert min(ax.get_window_extent().width for ax in drawing.figure.axes if ax.images) >= 500


@pytest.mark.usefixtures("pictures")
def test_images_and_attention_of_a_real_run_are_chosen_by_rule(here, tmp_path):
    """A smoke run with images; its report is brief, so the figures are drawn from the results here."""
    small = [f"--set=sanet.{k}={v}" for k, v in (("width", 4), ("blocks", 1))]
    command = (
        "run",
        "--methods",
        "zerofill,sanet",
        "--preset",
        "smoke",
        "--set=brain-sim.subjects=15",
        "--scale",
        2,
        *small,
    )
    out = here(*command, "--jobs", 1, "--out", tmp_path / "r")
    assert out.returncode == 0, out.stderr
    assert [p.name for p in (tmp_path / "r/report/figures").glob("*.png")]
    results = load_results(tmp_path / "r")
    [sheet] = sheets(results, ("zerofill",), ())
    zero = results.volumes[results.volumes["method"] == "zerofill"].set_index("patient_id")["psnr@volume-max"]
    assert len(zero) == 3
    for rule, expected in (("worst", zero.idxmin()), ("best", zero.idxmax()), ("median", zero.sort_values().index[1])):
        chosen = chosen_slice(sheet, results, sheet.datasets[0], rule)
        assert chosen.patient == expected
        assert chosen.position == len(chosen.volume.slice_index) // 2
    found = {d.name: d for d in drawings([sheet], results)}
    kinds = [name.split("-")[0] for name in found]
    assert kinds.count("comparison") == 3
    assert kinds.count("attention") == kinds.count("features") == 1
    numbers = one(found, "attention").data.set_index("map")
    for stage in (1, 2):  # the two priors are complements
        assert numbers.loc[f"prior_high_{stage}", "mean"] + numbers.loc[f"prior_low_{stage}", "mean"] == pytest.approx(
            1, abs=1e-5
        )
    shown = one({k: v for k, v in found.items() if "worst" not in k and "best" not in k}, "comparison")
    volume = chosen_slice(sheet, results, sheet.datasets[0]).volume
    slices = results.slices
    row = slices[(slices["method"] == "sanet") & (slices["volume_id"] == volume.volume_id)].iloc[
        len(volume.slice_index) // 2
    ]
    panel = shown.data[shown.data["panel"].str.startswith("sanet")].iloc[0]
    assert (panel["psnr"], panel["ssim"]) == (row["psnr@volume-max"], row["ssim@volume-max"])
    assert "Simulated, not real data." in shown.caption
    assert rendered(shown).std() > 5
