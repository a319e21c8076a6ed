"""The paper's experiments as data: every file is valid, its variants are what the paper varied, and tables are laid out by them."""

import pytest
import torch

from mcsr_bench.api import experiment_spec
from mcsr_bench.errors import UserError
from mcsr_bench.experiment.grid import points
from mcsr_bench.experiment.kept import merged
from mcsr_bench.experiment.layout import layouts
from mcsr_bench.experiment.suites import defaults, get_suite, suites
from mcsr_bench.plugin.published import published
from mcsr_bench.plugin.registry import methods
from mcsr_bench.weights.loading import load_method


def grid(suite, **changes):
    return points(experiment_spec(suite=suite, **{"preset": "paper", **changes}))


def test_the_suites_of_the_paper_are_there():
    assert set(suites()) == {"table1", "table2", "table3", "table4", "fig8", "fig9", "joint", "params"}


def test_times_are_compared_with_a_method_that_trains():
    assert methods().card(defaults().pace).trains


@pytest.mark.parametrize("name", suites())
def test_every_line_of_a_suite_can_be_run_at_every_preset(name):
    for preset in ("quick", "small", "paper"):
        found = grid(name, preset=preset)
        assert found
        assert {p.scale for p in found} <= set(get_suite(name).scales)


def test_tables_1_and_2_are_all_methods_at_2x_and_4x():
    for name, scale in (("table1", 2), ("table2", 4)):
        assert {(p.method, p.variant, p.scale) for p in grid(name)} == {(m, "", scale) for m in methods().names()}


def test_table_3_has_the_sizes_of_its_ablations():
    """Parameters at 2x, by hand from the layers that each one leaves out."""
    sizes = {}
    for point in grid("table3"):
        with torch.device("meta"):
            method = load_method(point.method, point.scale, "paper", **point.settings)
        sizes[point.variant] = sum(p.numel() for p in method.network.parameters())
    assert sizes == {"Ab_1": 3_124_049, "Ab_2": 3_124_078, "Ab_3": 6_113_052, "Ab_4": 6_592_349, "": 6_806_627}


def test_sweeps_vary_one_setting_and_name_its_value():
    for name, key, values in (("fig8", "alpha", [k / 10 for k in range(11)]), ("fig9", "groups", [1, 2, 4, 6, 8])):
        found = grid(name)
        assert [p.settings[key] for p in found] == values
        assert [float(p.variant.removeprefix(f"{key}=")) for p in found] == values
        others = [{k: v for k, v in p.settings.items() if k != key} for p in found]
        assert all(o == others[0] for o in others)


def test_table_4_varies_the_loss_and_joint_the_task():
    assert [(p.variant, p.settings["loss"]) for p in grid("table4")] == [("L1", "l1"), ("L2", "l2")]
    by_name = {p.variant or p.method: p for p in grid("joint")}
    assert by_name["joint"].settings["joint"]
    assert not by_name["sanet"].settings["joint"]


def test_several_suites_share_the_trials_that_are_the_same():
    both = grid(["table1", "table3"])
    assert len(both) == len(methods().names()) + 4
    assert len([p for p in both if (p.method, p.variant) == ("sanet", "")]) == 1


def test_the_papers_lines_are_found_and_set_takes_them_away():
    spec = experiment_spec(suite="table3", preset="paper")
    [layout] = layouts(spec)
    assert [row.label for row in layout.rows] == ["Ab_1", "Ab_2", "Ab_3", "Ab_4", "SANet"]
    for row in layout.rows:
        assert published("III", "SMS", 2, "SANet", "psnr@volume-max", row.paper)
    changed = layouts(experiment_spec(suite="table3", preset="paper", settings={"sanet": {"budget": 7}}))[0]
    assert [row.paper for row in changed.rows] == [None] * 5
    assert all(row.variant != "Ab_1" for row in changed.rows)
    assert changed.rows[0].variant.startswith("Ab_1-")


def test_a_named_setting_never_borrows_the_papers_number_of_the_method_itself():
    """Fig. 8 prints no values: SANet's number in Table I must not stand beside alpha=0.1."""
    for name in ("fig8", "fig9", "params", "joint"):
        for row in layouts(experiment_spec(suite=name, preset="paper"))[0].rows:
            assert row.paper in ({None, "joint SR {role}"} if row.variant else {""})


def test_references_are_the_papers_unless_told_otherwise():
    assert layouts(experiment_spec(suite="table1"))[0].against == ("sanet",)
    assert layouts(experiment_spec(suite="table4"))[0].against == ("sanet@L1",)
    assert layouts(experiment_spec(suite="table1", against="zerofill"))[0].against == ("zerofill",)


def test_methods_and_scales_can_be_chosen_within_a_suite():
    assert {p.method for p in grid("table1", methods=["sanet", "edsr"])} == {"sanet", "edsr"}
    assert {p.scale for p in grid("table3", scale=4)} == {4}


def planned(**asked):
    spec = experiment_spec(**asked)
    return points(spec), merged(spec)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"suite": "table5"}, "no suite 'table5'; did you mean 'table"),
        ({"suite": "table3", "methods": ["edsr"]}, "--suite table3: has none of the methods edsr"),
        ({"suite": "table3", "methods": ["sanett"]}, "did you mean 'sanet'"),
        ({"suite": "table3", "scale": 7}, "--scale 7"),
        ({"suite": "table3", "against": "edsr"}, "--against edsr"),
    ],
)
def test_mistakes_get_a_sentence(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        planned(**changes)


def test_a_suite_runs_and_prints_its_table_by_the_papers_names(here, tmp_path):
    small = [f"--set=sanet.{k}={v}" for k, v in (("width", 4), ("groups", 1), ("blocks", 1), ("validations", 2))]
    command = ("run", "--suite", "table4", "--preset", "smoke", "--set=brain-sim.subjects=5", "--jobs", 1, *small)
    out = here(*command, "--out", tmp_path / "r")
    assert out.returncode == 0, out.stderr
    printed = " ".join(out.stdout.split())
    assert printed.startswith("smoke: not a result. brain-sim (subjects=5), 2x")
    assert "│ sanet (L1, validations=2, width=4, groups=1, blocks=1) │" in printed
    assert (
        ", 2x, T2w, preset smoke: L1 against L2 as SANet's loss (laid out as Table IV; the paper's data: SMS)"
        in printed
    )
    assert "of 10" in out.stdout  # the step at which 99 % of the final validation PSNR is reached
    assert "42.10" not in out.stdout  # changed settings are not the paper's lines
    assert {p.name.split("-")[0] for p in (tmp_path / "r").glob("*/x2/*")} == {"sanet@L1", "sanet@L2"}


@pytest.mark.slow
def test_every_suite_runs_at_smoke(here, tmp_path):
    """All of the paper's experiments in one command, on five tiny subjects."""
    command = ("run", "--suite", ",".join(suites()), "--preset", "smoke", "--set=brain-sim.subjects=5", "--jobs", 2)
    out = here(*command, "--out", tmp_path / "r")
    assert out.returncode == 0, out.stderr
    for suite in suites().values():
        assert suite.title.split(":")[0] in out.stdout
    names = {p.name for p in (tmp_path / "r").glob("*/x2/*")}
    assert {"sanet@Ab_1", "sanet@L2", "sanet@alpha=0.3", "sanet@groups=8", "sanet@joint", "mcmrsr"} <= names
