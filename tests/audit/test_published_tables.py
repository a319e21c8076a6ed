"""The tables of docs/results.md about the published run: every number again from its files, by pandas, numpy and scipy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cards import trained
from scipy.optimize import brentq
from scipy.stats import t

import mcsr_bench as mb

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "results.md").read_text("utf-8")
SECTION = TEXT[TEXT.index("## The published table") : TEXT.index("## The default run")]
SCALES = (2, 4)
PSNR, SSIM = "psnr@volume-max", "ssim@volume-max"
PERTURBED = {
    "no auxiliary": "zero",
    "another patient's": "another patient",
    "shifted by 1 pixel": "shifted 1 px",
    "shifted by 4": "shifted 4 px",
    "rotated by 2°": "rotated 2 deg",
    "noise": "noise",
}
"""Columns of the docs, and what `mcsr-bench stress` calls them."""


@cache
def published() -> mb.Results:
    return mb.load_results(ROOT / "published")


def rows(part: str) -> Iterator[tuple[str, list[str]]]:
    """The name and the other cells of each row about a method, without emphasis."""
    for line in part.splitlines():
        if line.startswith("| `"):
            name, *cells = (cell.strip(" *") for cell in line.strip("|").split("|"))
            yield name.strip("`"), cells


def table_of(scale: int) -> str:
    return SECTION.split("**2x**")[1].split("What it cost")[0].split("**4x**")[SCALES.index(scale)]


def cost_table() -> str:
    return SECTION[SECTION.index("| cost at 2x, 4x") : SECTION.index("What a wrong auxiliary costs")]


def stress_table() -> str:
    return SECTION[SECTION.index("| PSNR lost") : SECTION.index("- `zeng` and `lyu` are level")]


def scores(name: str, scale: int, metric: str) -> pd.DataFrame:
    """Of a method as a table names it, patients in rows and seeds in columns."""
    method, variant = name.removesuffix(" (magnitude)"), "magnitude" if "(" in name else ""
    volumes = published().volumes
    own = volumes[(volumes.scale == scale) & (volumes.method == method) & (volumes.variant == variant)]
    return own.pivot_table(index="patient_id", columns="seed", values=metric, aggfunc="mean")


class Difference:
    """A minus B with patients and seeds random (Cochran and Cox), by the formulas of docs/statistics.md."""

    def __init__(self, a: str, b: str, scale: int, metric: str) -> None:
        of = {name: scores(name, scale, metric) for name in (a, b)}
        each = (of[a].mean(axis=1) - of[b].mean(axis=1)).to_numpy()
        self.mean = each.mean()
        self.terms = [(each.var(ddof=1) / len(each), len(each) - 1)]
        for name in set(of) & set(trained()):
            by_seed = of[name].mean().to_numpy()
            self.terms.append((by_seed.var(ddof=1) / len(by_seed), len(by_seed) - 1))
        self.error = np.sqrt(sum(variance for variance, _ in self.terms))

    def quantile(self, p: float) -> float:
        return sum(variance * t.ppf(1 - p / 2, freedom) for variance, freedom in self.terms) / self.error**2

    @property
    def half_width(self) -> float:
        return self.error * self.quantile(0.05)

    @property
    def p(self) -> float:
        return brentq(lambda p: self.quantile(p) - abs(self.mean) / self.error, 1e-30, 1 - 1e-12, xtol=1e-16)


def digits(cell: str) -> int:
    return len(cell.partition(".")[2])


@pytest.mark.parametrize("scale", SCALES)
def test_scores_and_their_spread(scale: int) -> None:
    found = list(rows(table_of(scale)))
    assert len(found) == 11
    for name, cells in found:
        for cell, metric, n in zip(cells, (PSNR, SSIM, "psnr@roi", "ssim@roi"), (2, 4, 2, 4), strict=False):
            patients = scores(name, scale, metric).mean(axis=1)
            assert cell == f"{patients.mean():.{n}f}±{patients.std():.{n}f}", (name, metric)
        seeds = scores(name, scale, PSNR).mean().std()
        assert cells[5] == (f"{seeds:.2f}" if name in trained() else "–"), name
        assert cells[6] == f"{100 * scores(name, scale, 'error-share@roi').to_numpy().mean():.0f}", name


@pytest.mark.parametrize("scale", SCALES)
def test_differences_their_intervals_and_p_values(scale: int) -> None:
    compared = 0
    for name, cells in rows(table_of(scale)):
        if name == "zerofill":
            assert cells[4] == cells[7] == "–"
            continue
        numbers = re.findall(r"[-+]\d+\.\d+", cells[4])
        psnr, ssim = (Difference(name, "zerofill", scale, metric) for metric in (PSNR, SSIM))
        expected = (psnr.mean, psnr.mean - psnr.half_width, psnr.mean + psnr.half_width)
        assert numbers == [f"{value:+.{digits(cell)}f}" for cell, value in zip(numbers, expected, strict=True)], name
        said = ["<0.001" if p < 0.001 else f"{p:.3f}" for p in (psnr.p, ssim.p)]
        assert cells[7].replace("§", "").split(" / ") == said, name
        compared += 1
    assert compared == 10


@pytest.mark.parametrize("scale", SCALES)
def test_ranks_are_one_more_than_the_methods_that_are_significantly_better(scale: int) -> None:
    names = [name for name, _ in rows(table_of(scale)) if "(" not in name]
    pairs = sorted(
        ((Difference(a, b, scale, PSNR), a, b) for a, b in combinations(names, 2)), key=lambda pair: pair[0].p
    )
    ranks = dict.fromkeys(names, 1)
    for i, (difference, a, b) in enumerate(pairs):  # Holm: until the first that is not significant
        if difference.p * (len(pairs) - i) > 0.05:
            break
        ranks[b if difference.mean > 0 else a] += 1
    [said] = re.findall(rf"at {scale}x (.*?)(?:;|\.\s)", SECTION[SECTION.index("Ranks, 1 plus") :], re.DOTALL)[:1]
    written = {}
    for group, rank in re.findall(r"((?:`\w+`(?:, | and )?)+) (\d)", said.replace("\n", " ")):
        written |= dict.fromkeys(re.findall(r"`(\w+)`", group), int(rank))
    assert written == {name: ranks[name] for name in trained()}


def test_what_it_cost() -> None:
    """Of seed 0, from its records."""
    records = {
        (bundle.record.method, bundle.record.scale): bundle.record
        for bundle in published().bundles
        if bundle.record.seed == 0
    }
    found = list(rows(cost_table()))
    assert {name for name, _ in found} == set(trained())
    for name, cells in found:
        own = [records[name, scale] for scale in SCALES]
        expected = [
            [f"{record.profile['parameters']:,.0f}" for record in own],
            [f"{record.profile['macs'] / 1e9:.2f}" for record in own],
            [f"{record.profile['steps']:,.0f}" for record in own],
            [f"{record.seconds['train'] / 60:.1f}" for record in own],
            [f"{1000 * record.seconds['predict'] / 48:.0f}" for record in own],
        ]
        assert [cell.split(", ") for cell in cells] == expected, name


def test_what_a_wrong_auxiliary_costs() -> None:
    head = [cell.strip() for cell in stress_table().splitlines()[0].strip("|").split("|")]
    compared = 0
    for name, cells in rows(stress_table()):
        for column, cell in zip(head[1:], cells, strict=True):
            for scale, said in zip(SCALES, cell.split(", "), strict=True):
                files = [b.stress for b in published().bundles if (b.record.method, b.record.scale) == (name, scale)]
                found = pd.concat([pd.read_csv(file).assign(seed=i) for i, file in enumerate(files)])
                found = found[found.perturbation == PERTURBED[column]]
                lost = found.groupby(["seed", "patient_id"]).loss_db.mean().groupby("patient_id").mean().mean()
                assert said.rstrip("‡") == f"{lost:+.2f}", (name, column, scale)
                assert said.endswith("‡") == (found.psnr.mean() < found.zerofill_psnr.mean()), (name, column, scale)
                compared += 1
    assert compared == 5 * 6 * 2
