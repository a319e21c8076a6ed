"""Data with nothing wrong: no finding; and what the table says of them."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mcsr_bench.data.inspection import Inspector, facts_table, findings
from mcsr_bench.plugin.case import Stored
from mcsr_bench.plugin.loading import load_dataset

REAL = Path(__file__).parents[3] / "shared" / "data" / "open_ms"


@pytest.mark.parametrize(
    ("size", "subjects", "slices", "auxiliary"), [(32, 6, 2, "T1w"), (64, 3, 3, "FLAIR"), (65, 3, 1, "PDw")]
)
def test_simulated_brains_give_no_finding(
    lab: ModuleType, size: int, subjects: int, slices: int, auxiliary: str
) -> None:
    data = load_dataset("brain-sim", size=size, slices=slices, subjects=subjects, auxiliary=auxiliary)
    volumes = [(case, list(data.read(case))) for case in data.cases()]
    facts = [lab.inspect(pairs, case) for case, pairs in volumes]
    assert lab.of(facts) == []
    facts = [lab.inspect(lab.magnitudes(pairs), case, "magnitude") for case, pairs in volumes]
    assert lab.of(facts) == []


@pytest.mark.parametrize("shape", [(32, 32), (33, 40), (64, 48), (101, 80)])
@pytest.mark.parametrize("level", [0.0, 0.02, 0.1])
def test_phantoms_give_no_finding(lab: ModuleType, shape: tuple[int, int], level: float) -> None:
    for slices in (1, 3):
        pairs = lab.volume(shape, slices, seed=shape[1], level=level)
        assert lab.of(lab.inspect(pairs)) == []
        assert lab.of(lab.inspect(lab.magnitudes(pairs), track="magnitude")) == []


def test_several_coils_give_no_finding(lab: ModuleType) -> None:
    pairs = lab.volume((64, 48), level=0)
    rng = np.random.default_rng(0)
    y, x = lab.grid((64, 48))
    coils = [np.exp(-((y - a) ** 2 + (x - b) ** 2) / 900) * np.exp(1j * b) for a, b in ((-20, 0), (20, 9), (0, -20))]
    raw = [
        tuple(lab.to_kspace(np.stack([c * im for c in coils]) + lab.noise((3, 64, 48), 0.03, rng)) for im in p)
        for p in pairs
    ]
    facts = lab.inspect(pairs, raw=raw)
    assert facts["contrasts"]["target"]["spectrum"] == "raw"
    assert facts["contrasts"]["auxiliary"]["coils"] == 3
    assert lab.of(facts) == []


def test_values_of_any_size_are_seen_alike(lab: ModuleType) -> None:
    pairs = lab.volume((48, 48))
    expected = lab.inspect(pairs)
    for factor in (1e-18, 1e-6, 1e15):
        facts = lab.inspect([(a * factor, b * factor) for a, b in pairs])
        assert lab.of(facts) == []
        assert facts["contrasts"]["target"]["centre"] == pytest.approx(
            expected["contrasts"]["target"]["centre"], abs=1e-3
        )
        assert facts["contrasts"]["target"]["range"][1] == pytest.approx(
            expected["contrasts"]["target"]["range"][1] * factor
        )


def test_facts_are_small_json_and_do_not_depend_on_the_order(lab: ModuleType) -> None:
    pairs = lab.volume((48, 48), 7)
    facts = lab.inspect(pairs, lab.case(n=7, shape=(48, 48)))
    other = Inspector(lab.case(n=7, shape=(48, 48)), ("T2", "T1"), "complex")
    for index in (3, 6, 0, 1, 5, 2, 4):
        other.add("auxiliary", index, pairs[index][1].astype(np.complex64))
    for index in range(7):
        other.add("target", index, pairs[index][0].astype(np.complex64))
    assert json.loads(json.dumps(facts)) == facts
    assert facts["pair"] == other.facts()["pair"]
    assert facts["pair"]["slices"] == [1, 3, 5]
    many = [lab.volume((24, 24), 1, seed)[0] for seed in range(40)] * 5
    assert len(json.dumps(lab.inspect(many))) < 32_000


def test_the_slices_looked_at_closely_hold_signal(lab: ModuleType) -> None:
    pairs = lab.volume((48, 48), 9)
    for index in (0, 1, 2, 3, 4, 7, 8):
        pairs[index] = (1e-9 * pairs[index][0], 1e-9 * pairs[index][1])
    pairs[2] = (np.zeros((48, 48)), np.zeros((48, 48)))
    facts = lab.inspect(pairs, lab.case(n=9, shape=(48, 48)))
    assert facts["pair"]["slices"] == [5, 6]


def test_the_table_says_what_lies_in_the_files(lab: ModuleType) -> None:
    stored = (Stored((3, 4, 64, 48), "complex64", 4, (64, 40)), Stored((2, 1, 64, 48), "complex64"))
    pairs = lab.volume((32, 32))
    full, short = (lab.to_kspace(im)[None] for im in lab.volume((64, 48))[0])
    raw = [(lab.keep(np.concatenate([full] * 4), 40, -1), short)] * 3
    first = lab.inspect(pairs, lab.case("a-1"), raw=raw, stored=stored)
    second = lab.inspect([(3 * a, b) for a, b in pairs[:2]], lab.case("b-1", n=2), raw=raw, stored=stored)
    columns, rows = facts_table([first, second])
    table = [dict(zip(columns, row, strict=True)) for row in rows]
    assert [t["contrast"] for t in table] == ["T2", "T1"]
    assert [(t["files"], t["patients"], t["slices"]) for t in table] == [("2", "2", "2-3")] * 2
    assert [t["matrix"] for t in table] == ["64 x 48"] * 2
    assert [t["coils"] for t in table] == ["4", "1"]
    assert [t["dtype"] for t in table] == ["complex64"] * 2
    assert [t["acquired"] for t in table] == ["64 x 40 of 64 x 48", "all"]
    assert [t["phase"] for t in table] == ["own", "own"]
    assert all(isinstance(text, str) for row in rows for text in row)
    peak = max(np.abs(a).max() for a, _ in pairs)
    assert table[0]["largest value"].startswith(f"{peak:.3g} to ")
    assert facts_table([]) == (columns, [])
    assert findings([], (2,)) == []


@pytest.mark.parametrize(("target", "auxiliary"), [("T2", "T1"), ("FLAIR", "T2"), ("FLAIR", "T1")])
def test_real_aligned_magnitudes_give_no_finding(lab: ModuleType, target: str, auxiliary: str) -> None:
    values = [_real(REAL / "mni" / f"patient07_{name}.nii.gz")[40:140] for name in (target, auxiliary)]
    facts = lab.inspect([(abs(a), abs(b)) for a, b in zip(*values, strict=True)], track="magnitude")
    assert lab.of(facts) == []
    assert np.hypot(*facts["pair"]["shift"]) < 0.3


@pytest.mark.parametrize(("name", "share"), [("patient01_study1_FLAIR", 0.66), ("patient12_study1_T2W", 0.70)])
def test_a_scanner_s_filtered_zero_filling_is_found_in_real_magnitudes(
    lab: ModuleType, name: str, share: float
) -> None:
    # Their spectrum falls by a factor of 50 about this share of the Nyquist frequency of the phase-encoding axis, the rows.
    values = _real(REAL / "native" / f"{name}.nii.gz")
    values = values[len(values) // 3 : 2 * len(values) // 3]
    facts = lab.inspect([(a, a) for a in values], track="magnitude")
    assert lab.acquired(facts)[0] / values.shape[1] == pytest.approx(share, abs=0.04)
    assert lab.acquired(facts)[1] / values.shape[2] > 0.9
    assert "zero-filled" in [f.code for f in lab.of(facts)]


def _real(path: Path) -> Any:
    if not path.is_file():
        pytest.skip(f"the real volume {path.name} is not there")
    import nibabel

    values = np.asarray(nibabel.load(path).dataobj, np.float32)
    return np.moveaxis(values, 2 if "mni" in path.parts else int(np.argmin(values.shape)), 0)
