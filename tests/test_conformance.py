"""The conformance suite: each planted fault fails exactly its check, and sound plugins pass everything."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from mcsr_bench import UserError, conformance
from mcsr_bench.conformance import Outcome, check, check_all, check_dataset, check_method
from mcsr_bench.conformance.outcome import FailedError
from mcsr_bench.conformance.predicting import Predicting
from mcsr_bench.conformance.subject import Subject
from mcsr_bench.plugin import registry
from mcsr_bench.plugin.scaffold import new_method

HERE = Path(__file__).parent
UNTRAINED = {"parameters", "trains", "gradient", "background", "learns", "resumes", "saves"}

FAULTS = {
    "peeks": ("target", "holds a target that is NaN"),
    "deaf": ("auxiliary", "the same with another auxiliary"),
    "listens": ("auxiliary", "another auxiliary changes the output"),
    "phased": ("phase", "another phase changes the output"),
    "dead": ("gradient", "no gradient reaches unused.weight, unused.bias at scale 2"),
    "undead": ("gradient", "name last.bias, but a gradient reaches it"),
    "unmoved": ("gradient", "no optimizer of configure_optimizers holds it"),
    "nan": ("finite", "scale 2 for: zero, a zero target"),
    "batchwise": ("batch", "a slice alone and in a batch of 3 differ"),
    "miscounted": ("parameters", "quick.x3 = 1_419, but the network has 1_418"),
    "dice": ("deterministic", "two equal calls of predict differ"),
    "transposed": ("shapes", "(3, 34, 32), not (3, 32, 34)"),
    "forgetful": ("saves", "after saving and loading, the prediction differs"),
    "amnesiac": ("resumes", "stopped at step 5 and resumed, 6 of 6 tensors end otherwise"),
    "climbs": ("learns", "after 10 steps the training loss is"),
    "brittle": ("background", "NaN or Inf after step 1 on patches of zeros in: loss"),
    "crashes": ("loads", "cannot be imported: RuntimeError: no licence file"),
}


def forget_plugins() -> None:
    for kind in (registry.methods, registry.datasets, registry.reports):
        kind.cache_clear()
    for module in [m for m in sys.modules if m.startswith("mcsr_bench_plugin_edited")]:
        del sys.modules[module]


@pytest.fixture
def plugins() -> Iterator[None]:
    """Registries of this test alone, with the toys and the faulty plugins."""
    forget_plugins()
    registry.add_plugins(HERE / "toys")
    registry.add_plugins(HERE / "faulty")
    yield
    forget_plugins()


def of(status: str, outcomes: list[Outcome]) -> dict[str, str]:
    return {o.check: o.detail for o in outcomes if o.status == status}


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fails_exactly_its_check(name: str) -> None:
    expected, words = FAULTS[name]
    found = of("fail", check_method(name))
    assert found.keys() == {expected}
    assert words in found[expected]


def test_every_fault_on_disk_is_tested() -> None:
    assert {f.parent.name for f in (HERE / "faulty").glob("*/card.toml")} == FAULTS.keys()


def test_every_check_is_the_only_one_to_find_some_fault() -> None:
    tested_below = {"trains", "gpu"}
    assert {o.check for o in check_method("bicubic")} - {expected for expected, _ in FAULTS.values()} == tested_below


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(("name", "left_out"), [("bicubic", UNTRAINED), ("edsr", set()), ("toynet", {"parameters"})])
def test_a_sound_method_passes_everything_that_concerns_it(name: str, left_out: set[str]) -> None:
    outcomes = check_method(name)
    assert of("fail", outcomes) == {}
    assert of("skip", outcomes).keys() - {"gpu"} == left_out
    assert all(o.detail for o in outcomes)


def test_a_setting_is_looked_at() -> None:
    """SANet without its auxiliary branch is the single-contrast network of an ablation."""
    single = {"auxiliary": False, "integration": "none", "attention": "none"}
    assert of("fail", check_method("sanet", single)).keys() == {"auxiliary"}


def test_every_built_in_method_passes() -> None:
    found = check_all()
    built_in = {f.parent.name for f in (HERE.parent / "methods").glob("*/card.toml")}
    assert {name.replace("-", "_") for name in found} == built_in >= {"zerofill", "bicubic", "edsr", "minet", "sanet"}
    assert {name: of("fail", outcomes) for name, outcomes in found.items() if of("fail", outcomes)} == {}


@pytest.fixture
def edited(plugins: None, tmp_path: Path) -> Callable[..., list[Outcome]]:
    """``edited((file, old, new), ...)``: the template's method, which is sound, with something replaced ("": all), checked."""

    def build(*edits: tuple[str, str, str]) -> list[Outcome]:
        shutil.rmtree(tmp_path / "my", ignore_errors=True)
        forget_plugins()
        folder = new_method("edited", tmp_path / "my")[0].parent
        for file, old, new in edits:
            text = (folder / file).read_text()
            assert old in text
            (folder / file).write_text(text.replace(old, new) if old else new)
        registry.add_plugins(tmp_path / "my")
        return check_method("edited")

    return build


CODE, CARD, NETWORK = "__init__.py", "card.toml", "network.py"


def method_with(signature: str, *lines: str) -> tuple[str, str, str]:
    """An edit that puts a method into the template's class."""
    body = "".join(f"        {line}\n" for line in lines)
    return CODE, "    def loss(", f"    def {signature}:\n{body}\n    def loss("


def returns(expression: str) -> tuple[str, str, str]:
    """An edit that lets the template predict something else."""
    return method_with("prediction(self, output, batch)", f"return {expression}")


FORWARD = "self.network(batch.target_lr_magnitude[:, None], batch.auxiliary_magnitude[:, None])[:, 0]"
LOSS = "self.pixel_loss(output, batch.target_magnitude)"

EDITS: list[tuple[str, str, list[tuple[str, str, str]]]] = [
    ("loads", "is not a subclass of mcsr_bench.Method", [(CODE, "class Edited(TorchMethod)", "class Edited")]),
    ("loads", "of mcsr_bench.Settings", [(CODE, "    Settings = Settings\n", "    Settings = int\n")]),
    (
        "loads",
        "of mcsr_bench.TrainingSettings",
        [
            (CODE, "class Settings(TrainingSettings)", "class Settings(BaseModel)"),
            (CODE, "import Batch, ", "import Batch, Settings as BaseModel, "),
        ],
    ),
    ("loads", "needs [presets.quick]", [(CARD, "[presets.quick]", "[presets.fast]")]),
    ("loads", "--set edited.width=0: width must be at least 1", [(CARD, "width = 32", "width = 0")]),
    (
        "loads",
        "[presets.small] gives no value for: patch, width",
        [(CARD, "patch = 16\naugment", "augment"), (CARD, "width = 32\n", "")],
    ),
    ("loads", "scales = [2, 5]", [(CARD, "scales = [2, 3, 4, 8]", "scales = [2, 5]")]),
    ("loads", "colour: extra inputs are not permitted", [(CARD, "size_multiple", "colour = 1\nsize_multiple")]),
    ("loads", "maps must return", [method_with("maps(self, batch)", "return [1]")]),
    ("shapes", "is float64", [returns("output.double().abs()")]),
    ("shapes", "magnitude below zero", [returns("output - 10")]),
    ("shapes", "under torch.no_grad()", [method_with("predict(self, batch)", "return self.forward(batch).exp()")]),
    ("shapes", "the contrasts ['auxiliary']", [returns("{'auxiliary': output}")]),
    ("shapes", "a ndarray for the target", [returns("output.numpy()")]),
    ("deterministic", "changed batch.auxiliary in place", [returns("batch.auxiliary.mul_(1.001).abs()")]),
    (
        "deterministic",
        "made with the same seed",
        [
            (CODE, "return Network(", "torch.manual_seed(np.random.randint(99)); return Network("),
            (CODE, "from torch import Tensor", "import numpy as np\nimport torch\nfrom torch import Tensor"),
        ],
    ),
    ("batch", "a slice alone and in a batch of 3", [returns("output.abs() + 1e-5 * batch.target_lr.abs().max()")]),
    ("parameters", "the preset 'slow'", [(CARD, "small = {", "slow = {")]),
    ("parameters", "small.x7", [(CARD, "x8 = 130_369", "x7 = 130_369")]),
    ("trains", "FloatingPointError: edited: not finite at step 1, at learning rate", [(CODE, LOSS, f"{LOSS} / 0")]),
    ("trains", "ValueError: edited: the loss of update('network', ...) is", [(CODE, LOSS, f"{LOSS} * output")]),
    (
        "trains",
        "ValueError: edited: update('critic', ...), but configure_optimizers gives: network",
        [method_with("training_step(self, batch, update)", "update('critic', self.loss(self.forward(batch), batch))")],
    ),
    (
        "trains",
        "ValueError: edited: training_step gave a float as 'loss'",
        [method_with("training_step(self, batch, update)", "return {'loss': 1.0}")],
    ),
    (
        "trains",
        "state() is empty",
        [method_with("state(self)", "return {}"), method_with("load_state(self, state)", "pass")],
    ),
    ("gradient", "name nobody.*, which no parameter has", [(CARD, "size_m", 'dead_parameters = ["nobody.*"]\nsize_m')]),
    (
        "gradient",
        "no gradient reaches high.0.weight",
        [
            (NETWORK, "self.high = ", "self.high = nn.Identity(); self.high = "),
            (NETWORK, "conv(width, 1))\n", "conv(width, 1))\n        self.high[0].weight.requires_grad_(False)\n"),
        ],
    ),
    ("saves", "but there is a state", [(CARD, 'contrasts = "multi"', 'trains = false\ncontrasts = "multi"')]),
]


@pytest.mark.parametrize(("name", "words", "edits"), EDITS)
def test_what_else_is_found(
    edited: Callable[..., list[Outcome]], name: str, words: str, edits: list[tuple[str, str, str]]
) -> None:
    outcomes = edited(*edits)
    assert words in of("fail", outcomes).get(name, str(outcomes))


def test_what_a_method_may_do_passes(edited: Callable[..., list[Outcome]]) -> None:
    """A gate that starts at zero before all of the auxiliary, dropout while training, batch normalisation, a layer that is dead
    and says so, a constant that is not saved, both contrasts predicted."""
    outcomes = edited(
        (NETWORK, "self.high = ", "self.gate = nn.Parameter(torch.zeros(1))\n        self.high = "),
        (
            NETWORK,
            "torch.cat((self.low(target_lr), auxiliary)",
            "torch.cat((self.low(target_lr), self.gate * auxiliary)",
        ),
        (
            NETWORK,
            "conv(width + 1, width), nn.ReLU()",
            "conv(width + 1, width), nn.BatchNorm2d(width), nn.Dropout(0.1), nn.ReLU()",
        ),
        (NETWORK, "        layers: ", "        self.unused = conv(1, 1)\n        layers: "),
        (
            NETWORK,
            "        layers: ",
            "        self.register_buffer('one', torch.ones(1), persistent=False)\n        layers: ",
        ),
        (NETWORK, "return self.high(", "return self.one * self.high("),
        (CARD, "size_multiple", 'dead_parameters = ["unused.*"]\nsize_multiple'),
        (CARD, "[parameters]\nquick =", "# quick ="),
        (CARD, "small =", "# small ="),
        returns("{'target': batch.denormalize_target(output), 'auxiliary': batch.auxiliary.abs()}"),
    )
    assert of("fail", outcomes) == {}
    assert of("skip", outcomes).keys() - {"gpu"} == {"parameters"}


OWN_WAY = """
import torch
from mcsr_bench import Method, Settings

class Edited(Method):
    Settings = Settings
    factor = torch.ones(1)

    def train(self, data, run):
        batch = data.batch(0, batch_size=4, patch=0, augment="none")
        self.factor = (batch.target.abs().mean() / batch.auxiliary.abs().mean())[None]

    def predict(self, batch):
        return self.factor * batch.auxiliary.abs()

    def state(self):
        return {"factor": self.factor}

    def load_state(self, state):
        self.factor = state["factor"]
"""
OWN_CARD = """
name = "edited"
title = "The auxiliary, brought to the brightness of the target"
class = "Edited"
authors = "nobody"
venue = "tests"
year = 2026
contrasts = "multi"
track = "magnitude"
[presets.quick]
"""


def test_gradient_is_looked_for_in_training_and_in_evaluation_mode(edited: Callable[..., list[Outcome]]) -> None:
    """As of a bias before batch normalisation, which training cancels, or of a head that is there for training alone."""
    outcomes = edited(
        (
            NETWORK,
            "self.high = ",
            "self.one, self.other = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))\n        self.high = ",
        ),
        (NETWORK, "return self.high(", "return (self.one if self.training else self.other) * self.high("),
        (CARD, "[parameters]\nquick =", "# quick ="),
        (CARD, "small =", "# small ="),
    )
    assert of("fail", outcomes) == {}


def test_dead_parameters_of_another_preset(edited: Callable[..., list[Outcome]]) -> None:
    """Preset small has one layer more than quick, on which the checks run; only quick has no high.4."""
    dead = 'dead_parameters = ["{}"]\nsize_multiple'
    assert of("fail", edited((CARD, "size_multiple", dead.format("high.4.*")))) == {}
    assert of("fail", edited((CARD, "size_multiple", dead.format("high.6.*")))).keys() == {"gradient"}


def test_a_method_that_trains_in_its_own_way(edited: Callable[..., list[Outcome]]) -> None:
    """No network, no loop of the engine: what can be checked is, and the rest says why not."""
    outcomes = edited((CODE, "", OWN_WAY), (CARD, "", OWN_CARD))
    assert of("fail", outcomes) == {}
    left_out = of("skip", outcomes)
    assert left_out.keys() - {"gpu"} == {"parameters", "gradient", "background", "learns", "resumes"}
    assert "no TorchMethod" in left_out["gradient"]
    assert "does not use the engine's loop" in left_out["learns"]
    forgets = edited((CODE, "", OWN_WAY.replace('state["factor"]', "torch.ones(1)")), (CARD, "", OWN_CARD))
    assert of("fail", forgets).keys() == {"saves"}


@pytest.mark.parametrize(("has_gpu", "status"), [(False, "skip"), (True, "pass")])
def test_gpu(monkeypatch: pytest.MonkeyPatch, has_gpu: bool, status: str) -> None:
    """A device that computes like a CPU takes the place of a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(Predicting, "same_on", lambda self, device: SAME_ON(self, device.replace("cuda", "cpu")))
    assert of(status, check_method("edsr")).keys() >= {"gpu"}


SAME_ON = Predicting.same_on


def test_a_device_that_computes_otherwise_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from mcsr_bench.methods.edsr import EDSR

    def degraded(self: EDSR, device: str) -> EDSR:
        self.network.to(torch.bfloat16).to(torch.float32)  # as a unit of reduced precision would hold them
        return self

    monkeypatch.setattr(EDSR, "to", degraded)
    with pytest.raises(FailedError, match=r"cpu and cpu differ by \S+ of the largest value \(at most 1e-03\)"):
        Predicting(Subject("edsr")).same_on("cpu")


@pytest.mark.usefixtures("plugins")
def test_what_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="did you mean 'edsr'"):
        check_method("edsrr")
    with pytest.raises(UserError, match="did you mean 'width'"):
        check_method("edsr", {"widht": 4})
    with pytest.raises(UserError, match=r"edsr\.width=0: width must be at least 1"):
        check_method("edsr", {"width": 0})
    monkeypatch.setattr(conformance, "check_method", lambda name, settings=None: [Outcome("loads", "pass", name)])
    assert check("bicubic") == {"bicubic": [Outcome("loads", "pass", "bicubic")]}
    assert check("toynet").keys() == {"toynet"}
    assert [o.check for o in check("toy")["toy"]] == [o.check for o in check_dataset("toy")]
    assert check("all").keys() >= {"zerofill", "bicubic", "edsr"}
    assert not check("all").keys() & {*FAULTS, "toynet", "toy"}
    with pytest.raises(
        UserError, match=r"^no method or dataset 'bicubik'; did you mean 'bicubic'\? \(.*--plugins .*\)$"
    ):
        check("bicubik")
    with pytest.raises(UserError, match="did you mean 'toy'"):
        check_dataset("toyy")
