"""Time of a whole report from generated bundles: 10 methods x 3 datasets x 2 scales x 5 seeds x 100 patients x 30 slices."""

import resource

import fake_run as fake
import pytest

from mcsr_bench.api import experiment_spec
from mcsr_bench.experiment.report import build_report
from mcsr_bench.system import files

METHODS = ("zerofill", "bicubic", "bspline", "edsr", "smore", "zeng", "lyu", "mcmrsr", "minet", "sanet")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    out = tmp_path_factory.mktemp("large")
    for k, method in enumerate(METHODS):
        for name in ("knee", "head", "spine"):
            data = fake.data_record(name, patients=100, slices=30)
            for scale in (2, 4):
                for seed in range(5):
                    psnr = fake.draw(method, 100, seed=seed, better=0.1 * k)
                    fake.write_trial_of(out, method, psnr, data=data, scale=scale, seed=seed, slices=30)
    asked = experiment_spec(METHODS, ("knee", "head", "spine"), (2, 4), preset="small")
    files.write_json(out / "experiment.json", asked.model_dump(mode="json"))
    return out


def test_a_large_report(benchmark, large, tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tables, written = benchmark.pedantic(lambda: build_report([large], tmp_path / "to"), rounds=1)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    benchmark.extra_info["MiB"] = grown
    assert len(tables) == 2
    assert written
    print(
        f"memory grew by {grown:.0f} MiB, the CSV files have {sum(p.stat().st_size for p in large.rglob('*.csv')) / 2**20:.0f} MiB"
    )
