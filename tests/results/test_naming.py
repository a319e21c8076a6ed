"""What people read in place of METHOD@VARIANT: settings in brackets; what differs never reads the same."""

from __future__ import annotations

from pathlib import Path

import fake_run as fake
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as prof
from hypothesis import strategies as st

from mcsr_bench.api import experiment_spec
from mcsr_bench.experiment.layout import layouts
from mcsr_bench.experiment.report import build_report
from mcsr_bench.plugin.registry import reports
from mcsr_bench.results.load import load_results
from mcsr_bench.results.naming import changed, label, shown, shown_names, spans, variant_of
from mcsr_bench.system import files

reports().load("paper")
from mcsr_bench.reports.paper.extra import extra_tables  # noqa: E402
from mcsr_bench.reports.paper.latex import latex  # noqa: E402
from mcsr_bench.reports.paper.page import page  # noqa: E402
from mcsr_bench.reports.paper.sheets import sheets  # noqa: E402
from mcsr_bench.reports.paper.status import status  # noqa: E402

BUDGET = {"budget": 100}
BOTH = {"budget": 100, "patch": 0}
LONG = {"target_pattern": "{patient}_study*_T2W.nii.gz", "auxiliary_pattern": "{patient}_study*_T1W.nii.gz"}
KINDS = {"on": True, "rate": 1e-05, "name": "x", "w": [1, 2]}


@pytest.mark.parametrize(
    ("variant", "changes", "text"),
    [
        ("", {}, "minet"),
        (variant_of(BUDGET), BUDGET, "minet (budget=100)"),
        (variant_of(BOTH), BOTH, "minet (budget=100, patch=0)"),
        ("alpha=0.3", {}, "minet (alpha=0.3)"),
        ("magnitude", {}, "minet (magnitude)"),
        (variant_of(BUDGET, "Ab_1"), BUDGET, "minet (Ab_1, budget=100)"),
        ("003-fold1", BUDGET, "minet (003-fold1, budget=100)"),
        ("4cbeacca", {}, "minet (4cbeacca)"),
        (variant_of(LONG), LONG, "minet (2 settings)"),
        (variant_of(LONG, "Ab_1"), LONG, "minet (Ab_1, 2 settings)"),
        (variant_of(KINDS), KINDS, "minet (on=true, rate=1e-05, name=x, w=[1, 2])"),
    ],
)
def test_a_variant_is_called_by_its_settings(variant: str, changes: dict[str, object], text: str) -> None:
    assert shown("minet", variant, changes) == text


def test_only_what_differs_is_a_change() -> None:
    assert changed({"a": 1, "b": 2.0, "c": [1]}, {"a": 1, "b": 3.0, "c": [1], "d": None}) == {"b": 3.0}
    assert variant_of({}) == ""


def test_variants_that_would_read_the_same_are_told_apart() -> None:
    text, number = {"width": "4"}, {"width": 4}
    rows = [("minet", variant_of(text), text), ("minet", variant_of(number), number), ("minet", "width=4", {})]
    called = shown_names([*rows, ("minet", "", {}), ("sanet", "a", {})])
    assert len(set(called.values())) == 5
    assert called["minet@width=4"] == "minet (width=4) [width=4]"
    assert called[label("minet", variant_of(number))] == f"minet (width=4) [{variant_of(number)}]"
    assert (called["minet"], called["sanet@a"]) == ("minet", "sanet (a)")


def test_a_record_that_does_not_know_its_changes_learns_them_from_another() -> None:
    variant = variant_of(BUDGET)
    for rows in ([("m", variant, {}), ("m", variant, BUDGET)], [("m", variant, BUDGET), ("m", variant, {})]):
        assert shown_names(rows) == {f"m@{variant}": "m (budget=100)"}


settings = st.dictionaries(
    st.sampled_from("abc"), st.one_of(st.integers(0, 3), st.sampled_from(("1", "x"))), max_size=2
)


@prof(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from(("", "s", "a=1")), settings), max_size=6))
def test_different_variants_never_read_the_same(found: list[tuple[str, dict[str, object]]]) -> None:
    rows = [("m", variant_of(changes, name), changes) for name, changes in found]
    called = shown_names(rows)
    assert len(set(called.values())) == len({variant for _, variant, _ in rows})


def test_terminal_page_and_latex_call_variants_by_settings_and_csv_by_their_digits(tmp_path: Path) -> None:
    run, to = tmp_path / "r", tmp_path / "to"
    patients = {"patients": 9}
    digits, data_digits = variant_of(BUDGET), variant_of(patients)
    for method, variant, changes in (("zerofill", "", {}), ("minet", "", {}), ("minet", digits, BUDGET)):
        for seed in (0, 1):
            fake.write_trial_of(
                run,
                method,
                fake.draw(method + variant, 9, seed=seed),
                data=fake.data_record("knee", patients=9),
                seed=seed,
                variant=variant,
                changes=changes,
                dataset_variant=data_digits,
                dataset_changes=patients,
            )
    asked = experiment_spec(methods=["zerofill", "minet"], dataset="knee", scale=2, preset="small", out=run)
    files.write_json(run / "experiment.json", asked.model_dump(mode="json"))
    against = (f"minet@{digits}",)
    [table], _ = build_report([run], to, against=against, formats=["md", "csv"])
    results = load_results(run)
    more = list(extra_tables(sheets(results, against, ()), results))
    assert {one.name.split("-")[0] for one in more} >= {
        "intervals",
        "efficiency",
        "seeds",
        "patients",
        "ranks",
    }
    assert [row[0].text for row in table.rows] == ["zerofill", "minet", "minet (budget=100)"]
    assert "p against minet (budget=100)" in table.columns
    assert table.title.startswith("knee (patients=9), 2x")
    assert digits not in " ".join((table.title, *table.columns, *table.notes))
    markdown = (to / "report.md").read_text(encoding="utf-8")
    written = page([table], more, [], results, status(results, []))
    assert "<td>minet (budget=100)</td>" in written
    assert f"<td>minet (budget=100) <code>minet@{digits}</code></td>" in written, "so that the trial's folder is found"
    assert "| minet (budget=100) |" in markdown
    assert digits not in markdown
    tex = "".join(map(latex, (table, *more)))
    assert "minet (budget=100) &" in tex
    assert digits not in tex
    assert data_digits not in tex
    for path in (to / "tables").glob("*.csv"):
        assert "budget=100" not in path.read_text(encoding="utf-8"), path.name
    [intervals] = (to / "tables").glob("intervals-*.csv")
    table = pd.read_csv(intervals)
    assert set(table["minus"]) == {f"minet@{digits}"}
    assert set(table["dataset"]) == {f"knee@{data_digits}"}
    [patients_csv] = (to / "tables").glob("patients-*.csv")
    assert list(pd.read_csv(patients_csv).columns) == ["patient", "dataset", "zerofill", "minet", f"minet@{digits}"]


def test_rows_of_suites_are_called_by_method_and_name() -> None:
    [sweep] = layouts(experiment_spec(suite="fig8", preset="paper"))
    assert sweep.rows[3].label == "sanet (alpha=0.3)"
    assert sweep.rows[3].name == "alpha=0.3"
    [ablation] = layouts(
        experiment_spec(suite="table3", preset="paper", settings={"sanet": {"budget": 7}}),
    )
    assert [row.label for row in ablation.rows][::4] == ["Ab_1 (budget=7)", "SANet (budget=7)"]
    assert ablation.rows[0].variant.startswith("Ab_1-")


@given(st.sets(st.integers(0, 40)))
def test_spans_say_every_number_once(numbers):
    said = [part.split(" to ") for part in spans(numbers).split(", ") if part]
    assert [n for ends in said for n in range(int(ends[0]), int(ends[-1]) + 1)] == sorted(numbers)


def test_short_spans_are_lists():
    assert spans([2, 0, 1]) == "0, 1, 2"
    assert spans([*range(10), 20]) == "0 to 9, 20"
