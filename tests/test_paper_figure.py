"""The notebook docs/paper-figure.ipynb, executed with a small run: what it draws and writes is what the run scored."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import mcsr_bench as mb
import mcsr_bench.api
from mcsr_bench.metrics import psnr
from mcsr_bench.plugin.registry import scoped_plugins

TOYS = Path(__file__).parent / "toys"
NOTEBOOK = json.loads((Path(__file__).parents[1] / "docs" / "paper-figure.ipynb").read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
SMALL = {
    "dataset": "toy",
    "scale": 2,
    "methods": ["zerofill", "bicubic", "toynet"],
    "settings": {"toy": {"patients": 9}},
}


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The names that the cells leave, run in their order in a folder of their own."""
    folder = tmp_path_factory.mktemp("notebook")
    names: dict[str, Any] = {"folder": folder}
    with pytest.MonkeyPatch.context() as patch, mpl.rc_context(), scoped_plugins([TOYS]):
        patch.setenv("MCSR_BENCH_CACHE", str(folder / "cache"))
        patch.setattr(mcsr_bench.api, "make_report", lambda *_: ((), ()))  # which takes longer than all else
        patch.chdir(folder)
        mpl.use("Agg")
        for number, cell in enumerate(CODE):
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
            if "parameters" in cell["metadata"].get("tags", ()):
                names |= SMALL
        yield names
        names["plt"].close(names["figure"])


def test_no_outputs_are_kept_in_it():
    assert [cell for cell in CODE if cell["outputs"] or cell["execution_count"] is not None] == []


def test_gains_are_those_of_the_patients(executed):
    volumes = mb.load_results(executed["folder"] / "runs" / "figure").volumes
    assert len(volumes) == 3 * 4  # test patients
    for method in ("bicubic", "toynet"):
        gains = []
        for patient in sorted(set(volumes["patient_id"])):
            a, b = (
                volumes[(volumes["patient_id"] == patient) & (volumes["method"] == name)]["psnr@volume-max"].item()
                for name in (method, "zerofill")
            )
            gains.append(a - b)
        assert list(executed["gain"][method]) == pytest.approx(gains, abs=1e-9)
        low, high = stats.t.interval(0.95, len(gains) - 1, np.mean(gains), stats.sem(gains))
        assert (np.mean(gains) - executed["half"][method], np.mean(gains) + executed["half"][method]) == pytest.approx(
            (low, high)
        )
        drawn = [line.get_ydata() for line in executed["axis"].lines]
        assert any(len(y) == len(gains) and np.allclose(y, gains) for y in drawn)


def test_images_are_those_that_were_scored(executed):
    volume, scores = executed["volume"], executed["scores"]
    truth = np.abs(volume.target[:]).astype(np.float64)
    assert np.array_equal(executed["truth"], np.abs(volume.target[executed["middle"]]))
    for bundle in executed["results"].bundles:
        with executed["h5py"].File(bundle.predictions) as file:
            image = np.abs(file[volume.volume_id]["target"][:]).astype(np.float64)
        name = bundle.record.method
        assert np.allclose(image[executed["middle"]], executed["images"][name])
        assert scores.loc[executed["patient"], name] == pytest.approx(psnr(image, truth, peak=truth.max()), abs=1e-4)


def test_the_files_are_there(executed):
    folder = executed["folder"]
    assert (folder / "figure.pdf").read_bytes()[:5] == b"%PDF-"
    written = pd.read_parquet(folder / "figure-numbers" / "volumes.parquet")
    assert list(written["psnr@volume-max"]) == list(executed["results"].volumes["psnr@volume-max"])
