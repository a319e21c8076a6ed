"""``info`` and the counting behind it: sizes and costs of the facts, cards without torch, JSON with the promised keys."""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from mcsr_bench.catalogue import method_info
from mcsr_bench.cost import counting as profiling
from mcsr_bench.cost.counting import cost, synthetic_batch
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.registry import add_plugins

# HR 320, batch 1, preset paper: parameters and multiply-accumulates (1e9) at 2x and 4x, as measured or derived elsewhere.
FACTS = {
    "sanet": ((6_806_627, 682.26), (6_954_339, 683.20)),
    "minet": ((6_748_189, 677.14), (6_895_901, 678.07)),
    "edsr": ((40_720_385, 1042.16), (43_080_705, 321.11)),
    "smore": ((79_080_450, 2023.7), (81_440_770, 566.5)),
    "zeng": ((1_372_418, 159.98), (1_520_130, 137.53)),
    "lyu": ((3_473_025, 258.71), (6_946_050, 323.39)),
    "mcmrsr": ((3_177_362, 317.1), (3_177_362, 233.17)),
}


@pytest.mark.parametrize("name", FACTS)
@pytest.mark.parametrize("scale", [2, 4])
def test_sizes_and_costs_at_320(name, scale):
    parameters, giga_macs = FACTS[name][scale // 2 - 1]
    found = cost(name, scale)
    assert found.parameters == found.trainable_parameters + found.dead_parameters == parameters
    assert found.macs / 1e9 == pytest.approx(giga_macs, rel=0.005)
    assert found.flops == 2 * found.macs
    assert found.uncounted


def test_what_is_not_counted_is_named():
    assert {"relu", "sigmoid", "_softmax"} <= set(cost("sanet", 2, "quick", size=64).uncounted)
    assert "_fft_c2c" in cost("lyu", 4, "quick", size=64).uncounted  # the auxiliary is truncated in k-space
    assert not {"convolution", "bmm", "mm"} & set(cost("sanet", 2, "quick", size=64).uncounted)


def test_interpolation_has_no_network():
    assert cost("zerofill", 2) is None
    assert method_info("bicubic")["parameters"] == 0


def test_dead_parameters_are_those_of_the_card_at_that_scale(tmp_path):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 3, 1)

    class Method:
        network = Two()

        class card:  # noqa: N801
            @staticmethod
            def dead_at(scale):
                return ["idle.*"] if scale == 2 else []

    for scale, dead in ((2, 6), (4, 0)):
        method = Method()
        method.scale = scale
        assert profiling.dead_parameters(method) == dead


def test_settings_change_the_count():
    assert method_info("sanet", settings={"groups": 1})["parameters"] == 297_917 + 1_084_785
    with pytest.raises(UserError, match="no setting of sanet 'group'"):
        method_info("sanet", settings={"group": 1})


def test_synthetic_batches_have_the_shapes_of_the_scale():
    batch = synthetic_batch(4, 32, batch_size=3)
    assert [tuple(getattr(batch, n).shape) for n in ("target", "auxiliary", "target_lr", "auxiliary_lr")] == [
        (3, 32, 32),
        (3, 32, 32),
        (3, 8, 8),
        (3, 8, 8),
    ]
    assert torch.equal(batch.target, synthetic_batch(4, 32, batch_size=3).target)


def test_info_for_people_shows_the_differences_without_torch(here):
    out = here("info", "method", "sanet")
    for text in ("side of alpha = 0.7", "released code", "Assumptions:", "6,806,627"):
        assert text in out.stdout
    code = (
        "import sys; sys.argv = ['mcsr-bench', 'info', 'method', 'minet']\n"
        "from mcsr_bench.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_info_says_what_tune_would_search(here):
    *_, title, rate, batch = here("info", "method", "edsr").stdout.partition("\nWhere paper")[0].strip().splitlines()
    assert title == "Searched by tune (30 points, 5 folds by patient):"
    assert (rate, batch) == ("- learning_rate: 1e-05 to 0.01, by ratios", "- batch_size: 2 or 4 or 8")


def test_info_as_json_has_the_promised_keys(here):
    found = json.loads(here("info", "method", "sanet", "--json", "--scale", "4", "--preset", "released").stdout)
    keys = "name parameters trainable_parameters dead_parameters macs flops presets reported differences"
    assert set(keys.split()) <= set(found)
    assert (found["scale"], found["parameters"]) == (4, 4_784_769)
    assert {"table": "II", "dataset": "fastMRI", "mean": "30.4"}.items() <= {
        k: v
        for row in found["reported"]
        if (row["table"], row["dataset"], row["metric"]) == ("II", "fastMRI", "PSNR")
        for k, v in row.items()
    }.items()
    assert json.loads(here("info", "dataset", "brain-sim", "--json").stdout)["real"] is False
    assert "simulated" in here("info", "dataset", "brain-sim").stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("method", "sanett"), "did you mean 'sanet'?"),
        (("methods", "sanet"), "did you mean 'method'?"),
        (("method", "sanet", "--json", "--preset", "huge"), "--preset huge"),
        (("method", "mcmrsr", "--json", "--scale", "3"), "--scale 3"),
        (("method", "sanet", "--json", "--set", "edsr.width=3"), "--set edsr"),
    ],
)
def test_mistakes_get_a_sentence(here, arguments, sentence):
    out = here("info", *arguments)
    assert out.returncode == 2
    assert sentence in out.stderr


def test_plugins_have_info_too(here):
    from pathlib import Path

    toys = Path(__file__).parent / "toys"
    add_plugins(toys)
    assert json.loads(here("info", "method", "toynet", "--json", "--plugins", toys).stdout)["preset"] == "quick"
