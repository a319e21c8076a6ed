"""The rows of the tables of scores: each role against its own image, under its own contrast."""

from pathlib import Path

import numpy as np
import pytest

from mcsr_bench.data.prepare import prepare
from mcsr_bench.data.scoring import score_rows
from mcsr_bench.metrics import METRICS
from mcsr_bench.plugin.loading import load_dataset
from mcsr_bench.plugin.registry import add_plugins
from mcsr_bench.protocol import MCSR_1


@pytest.fixture
def volume(own_cache):
    add_plugins(Path(__file__).parents[1] / "toys")
    [prepared] = prepare(load_dataset("toy"), MCSR_1, [2])
    return prepared.store.volumes["p03-v0"]


def test_each_role_is_scored_against_its_own_image(volume):
    truth = {role: np.abs(np.asarray(getattr(volume, role))).astype(np.float64) for role in ("target", "auxiliary")}
    half = {role: image / 2 for role, image in truth.items()}
    volumes, slices = score_rows(half, volume, MCSR_1, 2, {"target": "B", "auxiliary": "A"})
    assert [(row["role"], row["contrast"], row["volume_id"]) for row in volumes] == [
        ("target", "B", "p03-v0"),
        ("auxiliary", "A", "p03-v0"),
    ]
    for row in volumes:
        image = truth[row["role"]]
        error = np.mean((image / 2) ** 2)
        assert row["psnr@volume-max"] == pytest.approx(10 * np.log10(image.max() ** 2 / error), rel=1e-6)
        assert row["nmse@volume"] == pytest.approx(0.25, rel=1e-6)
        assert set(METRICS) <= set(row)
    assert [(row["role"], row["slice_index"]) for row in slices] == [
        (role, i) for role in ("target", "auxiliary") for i in volume.slice_index
    ]


def test_one_role_alone_has_rows_of_its_own_alone(volume):
    only = {"target": np.asarray(volume.target)}
    volumes, slices = score_rows(only, volume, MCSR_1, 2, {"target": "B", "auxiliary": "A"})
    assert {row["role"] for row in (*volumes, *slices)} == {"target"}
    assert volumes[0]["psnr@volume-max"] == np.inf
    assert volumes[0]["kspace-error"] == pytest.approx(0, abs=1e-6)
