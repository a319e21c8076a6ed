"""``profile``: counts as in info, times that are of what they say, and no waiting for what a CPU cannot do."""

import json
import time

import pytest
import torch

from mcsr_bench.catalogue import method_info
from mcsr_bench.cost import timing
from mcsr_bench.cost.table import CPU_LIMIT, profile, profile_table
from mcsr_bench.errors import UserError


def test_counts_are_those_of_info_and_large_networks_are_not_timed_on_a_cpu():
    rows = profile(["sanet", "edsr"], [2, 4])
    assert [(r["name"], r["scale"]) for r in rows] == [("sanet", 2), ("sanet", 4), ("edsr", 2), ("edsr", 4)]
    for row in rows:
        known = method_info(row["name"], scale=row["scale"])
        assert {k: row[k] for k in ("parameters", "macs", "flops")} == {
            k: known[k] for k in ("parameters", "macs", "flops")
        }
        assert row["macs"] > CPU_LIMIT
        assert row["timing"] is None
    assert any("Not timed" in note for note in profile_table(rows).notes)


def test_small_networks_and_interpolation_are_timed(monkeypatch):
    monkeypatch.setattr(timing, "BATCHES", (1, 2))
    settings = {"edsr": {"width": 4, "blocks": 1}}
    rows = profile(["zerofill", "edsr"], [2], preset="quick", size=32, settings=settings)
    zero, edsr = (row["timing"] for row in rows)
    assert zero["step_seconds"] is None
    assert zero["latency_median"] <= zero["latency_p95"]
    assert edsr["step_seconds"] > 0
    assert edsr["peak_memory"] is None
    assert edsr["throughput"] >= 0.99 / edsr["latency_median"]
    table = profile_table(rows)
    assert "HR 32 x 32" in table.notes[0]
    assert "float32" in table.notes[0]
    assert "cpu" in table.notes[0]
    assert [row[0].text for row in table.rows] == ["zerofill", "edsr (width=4, blocks=1)"]


def test_latency_is_the_time_of_one_prediction(monkeypatch):
    """A method that sleeps 20 ms, after warm-up that sleeps 200 ms: the warm-up must not show."""
    calls = []

    def slow():
        calls.append(None)
        time.sleep(0.2 if len(calls) <= 2 else 0.02)

    times = timing._repeat(slow, "cpu", seconds=0.1)
    assert 3 <= len(times) <= 10
    assert all(0.015 < t < 0.1 for t in times)


def test_energy_is_the_counters_difference_per_slice(monkeypatch):
    import sys
    import types

    readings = iter([1000, 7000])  # millijoules
    fake = types.SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: next(readings),
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(timing, "_synchronise", lambda device: None)
    assert timing._energy(lambda: None, "cuda", 3) == pytest.approx(2.0)
    assert timing._energy(lambda: None, "cpu", 3) is None


def test_a_batch_that_does_not_fit_ends_the_search(monkeypatch):
    class Method:
        joint = False

        def predict(self, batch):
            if len(batch) > 2:
                raise torch.OutOfMemoryError
            time.sleep(0.01)

    rate, batch = timing._throughput(Method(), 2, 16, "cpu", 0.01)
    assert batch == 2
    assert rate == pytest.approx(200, rel=0.3)


def test_sizes_that_cannot_be_had_get_a_sentence():
    with pytest.raises(UserError, match="--size 100: a multiple of 16"):
        profile(["edsr"], [2], size=100)


def test_the_command_prints_one_json_document(here):
    found = json.loads(here("profile", "--methods", "edsr,bicubic", "--scale", "2", "--no-time", "--json").stdout)
    assert [row["name"] for row in found] == ["edsr", "bicubic"]
    assert found[0]["macs"] == pytest.approx(1042.16e9, rel=0.005)
    assert found[0]["size"] == 320
    assert "1042.16" in here("profile", "--methods", "edsr", "--scale", "2").stdout
