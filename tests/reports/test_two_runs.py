"""A report over two runs of the same data, scale and method: each table and figure shows the files of its own run."""

import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

import mcsr_bench as mb
from mcsr_bench.audit.stress import COLUMNS
from mcsr_bench.plugin.registry import add_plugins, reports
from mcsr_bench.results.load import load_results
from mcsr_bench.system import frames
from mcsr_bench.weights.tensors import load_weights

reports().load("paper")
from mcsr_bench.reports.paper.extra import stress  # noqa: E402
from mcsr_bench.reports.paper.figures.comparison import comparison  # noqa: E402
from mcsr_bench.reports.paper.figures.curves import curves  # noqa: E402
from mcsr_bench.reports.paper.figures.maps import _maps  # noqa: E402
from mcsr_bench.reports.paper.figures.style import Palette  # noqa: E402
from mcsr_bench.reports.paper.notes import notes  # noqa: E402
from mcsr_bench.reports.paper.sheets import sheets  # noqa: E402
from mcsr_bench.reports.paper.table import _convergence  # noqa: E402

TOYS = Path(__file__).parents[1] / "toys"
MAPS = """
    def maps(self, batch):
        bias = self.network.last.bias.detach()[:, None, None, None]
        images = {"prior_high_1": bias, "prior_low_1": 1 - bias, "high_1": bias, "low_1": bias}
        return {name: image.expand(1, 1, *batch.hr_shape) for name, image in images.items()}
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two runs of one method: presets quick and small, seeds 0 and 1 in the second."""
    root = tmp_path_factory.mktemp("two")
    shutil.copytree(TOYS, root / "plugins")
    net = (root / "plugins" / "toynet").rename(root / "plugins" / "mapnet")
    (net / "__init__.py").write_text((net / "__init__.py").read_text() + MAPS)
    card = (net / "card.toml").read_text().replace('"toynet"', '"mapnet"')
    small = re.sub(r"budget = \d+", "budget = 40", card[card.index("[presets.quick]") :].replace("quick", "small"))
    (net / "card.toml").write_text(card + "\n" + small)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCSR_BENCH_CACHE", str(root / "cache"))
        for preset, seeds in (("quick", [0]), ("small", [0, 1])):
            out = root / preset
            mb.run("mapnet", "toy", 2, preset=preset, seeds=seeds, plugins=root / "plugins", out=out, jobs=2)
        add_plugins(root / "plugins")  # for what reads the results below the commands
        results = load_results(root / "quick", root / "small")
        for number, bundle in enumerate(results.bundles):  # another loss in each, so that they cannot be confused
            table = pd.DataFrame(1.0 + number, index=range(2), columns=list(COLUMNS)).astype(object)
            table["perturbation"], table["patient_id"] = ["clean", "another patient"], "p00"
            table["loss_db"] = [0.0, 10.0 + number]
            frames.write_csv(bundle.stress, table)
        yield results


def by_preset(results):
    found = {sheet.preset: sheet for sheet in sheets(results, ("mapnet",), ())}
    assert set(found) == {"quick", "small"}
    return found


def test_every_bundle_knows_its_own_folder(two):
    assert [(b.record.preset, b.record.seed) for b in two.bundles] == [("quick", 0), ("small", 0), ("small", 1)]
    assert [str(b.folder) for b in two.bundles] == list(two.trials["folder"])
    assert len({b.weights.read_bytes() for b in two.bundles}) == 3


def test_curves_and_convergence_read_their_own_log(two):
    for preset, sheet in by_preset(two).items():
        [drawing] = curves(sheet, two, Palette(row.label for row in sheet.rows))
        for bundle in sheet.bundles:
            log = pd.read_csv(
                two.folders[0].parent / preset / "toy/x2/mapnet" / f"seed{bundle.record.seed}/training.csv"
            )
            shown = drawing.data[drawing.data["seed"] == bundle.record.seed]
            np.testing.assert_array_equal(shown["loss"], log["loss"])
        assert _convergence(sheet.trials("toy", "mapnet", "")).endswith(f"of {log['step'].iloc[-1]}")
    assert {len(b.training_log.read_text().splitlines()) for b in two.bundles} == {31, 41}


def test_the_images_are_those_of_their_own_predictions(two):
    for preset, sheet in by_preset(two).items():
        shown = comparison(sheet, two, "toy")
        with h5py.File(two.folders[0].parent / preset / "toy/x2/mapnet/seed0/predictions.h5") as file:
            images = np.concatenate([group["target"][...] for group in file.values()])
        assert any(np.array_equal(shown.panels[0].image, image) for image in images)
        own = pd.read_csv(two.folders[0].parent / preset / "toy/x2/mapnet/seed0/slices.csv")
        assert shown.panels[0].psnr in set(own["psnr@volume-max"])


def test_maps_come_from_their_own_weights(two):
    biases = {}
    for preset, sheet in by_preset(two).items():
        _, _, images = _maps(sheet.bundles[0], sheet, two)
        biases[preset] = float(images["prior_high_1"][0, 0])
        method = mb.load_method("mapnet", 2, preset)
        load_weights(method, two.folders[0].parent / preset / "toy/x2/mapnet/seed0/weights.safetensors")
        assert biases[preset] == pytest.approx(abs(method.network.last.bias.item()))
    assert biases["quick"] != biases["small"]


def test_stress_is_that_of_its_own_run(two):
    cells = {preset: [c.text for c in stress(sheet, two).rows[0]] for preset, sheet in by_preset(two).items()}
    assert "+10.00" in cells["quick"][3]
    assert "+11.50" in cells["small"][3]  # the mean of seeds 0 and 1


def test_a_failed_trial_is_said_under_the_table_of_its_own_preset(two):
    failed = two.bundles[0].record.model_copy(update={"status": "failed", "reason": "on purpose"})
    mixed = type(two)(
        two.folders, (type(two.bundles[0])(two.bundles[0].folder, failed), *two.bundles[1:]), two.trials, two.volumes
    )
    assert "on purpose" in " ".join(notes(by_preset(two)["quick"], mixed))
    assert "on purpose" not in " ".join(notes(by_preset(two)["small"], mixed))
