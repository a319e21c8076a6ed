"""Equal training compute: what a step costs, how many steps a budget is, and what the cards of the built-in methods say."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from mcsr_bench import TorchMethod, UserError, load_method
from mcsr_bench.conformance.synthetic import SyntheticData
from mcsr_bench.plugin.registry import methods
from mcsr_bench.training import Loop, training_profile
from mcsr_bench.training.budget import counted_step_flop, step_flop, training_steps

TRAINED = ("edsr", "smore", "zeng", "lyu", "mcmrsr", "minet", "sanet")
PRESETS = ("quick", "small")
AT = [(name, preset, scale) for name in TRAINED for preset in PRESETS for scale in methods().card(name).scales]


@cache
def on_meta(name: str, scale: int, preset: str, **settings: Any) -> TorchMethod:
    with torch.device("meta"):
        method = load_method(name, scale, preset, **settings)
    assert isinstance(method, TorchMethod)
    return method


def edsr_step(width: int, blocks: int, batch: int, patch: int) -> int:
    """FLOP of a training step of EDSR at 2x by hand: forward, gradient of weights, gradient of inputs (not the first layer's)."""

    def convolution(inputs: int, outputs: int, side: int) -> int:
        return 2 * 9 * inputs * outputs * side**2

    first = convolution(1, width, patch)
    body = (2 * blocks + 1) * convolution(width, width, patch)
    tail = convolution(width, 4 * width, patch) + convolution(width, 1, 2 * patch)
    return batch * (2 * first + 3 * (body + tail))


@pytest.mark.parametrize(("width", "blocks", "batch", "patch"), [(4, 1, 1, 8), (8, 3, 2, 16), (5, 2, 3, 7)])
def test_a_step_of_edsr_costs_what_its_layers_do_by_hand(width: int, blocks: int, batch: int, patch: int) -> None:
    method = on_meta("edsr", 2, "quick", width=width, blocks=blocks, batch_size=batch, patch=patch)
    assert step_flop(method) == counted_step_flop(method) == edsr_step(width, blocks, batch, patch)


def test_attention_is_counted() -> None:
    """What two more transformer blocks of McMRSR cost, by hand for each pixel they see.

    Linear maps: queries, keys, values, output (4 width^2) and a perceptron of two layers. In windows of 8 x 8: queries times
    64 keys, and weights times 64 values. Forward, and twice that backward.
    """
    width, patch = 4, 24
    sizes = {"width": width, "heads": 2, "groups": 1, "patch": patch, "batch_size": 1}
    two, four = (counted_step_flop(on_meta("mcmrsr", 2, "quick", depth=depth, **sizes)) for depth in (2, 4))
    pixels = (1 + 1 + 1 + 4) * patch**2  # target, LR auxiliary, and the two levels of the auxiliary's pyramid
    per_pixel = 4 * width**2 + 2 * width * 2 * width + 2 * 64 * width
    assert four - two == 2 * 3 * 2 * per_pixel * pixels


def test_a_critic_is_counted() -> None:
    """Its loss takes gradients of gradients; the generator's is the same as without."""
    without, small, large = (
        counted_step_flop(on_meta("lyu", 2, "quick", patch=16, **changes))
        for changes in ({}, {"pixel_only": False, "critic_width": 4}, {"pixel_only": False, "critic_width": 16})
    )
    assert without < small < large
    assert (large - without) / (small - without) == pytest.approx(16, rel=0.4)


@pytest.mark.parametrize("name", TRAINED)
def test_the_cards_say_what_a_step_costs(name: str) -> None:
    """Within a tenth: versions of torch may count a layer otherwise."""
    card = methods().card(name)
    for preset in PRESETS:
        assert card.training_flop[preset].keys() == {f"x{scale}" for scale in card.scales}
        for scale in card.scales:
            stated = card.training_flop[preset][f"x{scale}"]
            assert counted_step_flop(on_meta(name, scale, preset)) == pytest.approx(stated, rel=0.1), (preset, scale)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_method_gets_the_same_compute_schedule_and_batch(preset: str) -> None:
    names = ("budget", "budget_unit", "batch_size", "schedule", "optimizer", "beta1", "augment", "validations")
    found = {tuple(methods().card(name).presets[preset][key] for key in names) for name in TRAINED}
    assert len(found) == 1
    [(budget, unit, *_)] = found
    assert unit == "teraflop"
    for name, _, scale in (at for at in AT if at[1] == preset):
        method = on_meta(name, scale, preset)
        trained = training_steps(method, 10**9) * methods().card(name).training_flop[preset][f"x{scale}"]
        assert trained == pytest.approx(budget * 1e12, rel=0.1), (name, scale)


def test_no_method_gets_fewer_steps_at_small_than_at_quick() -> None:
    for name in TRAINED:
        for scale in methods().card(name).scales:
            quick, small = (training_steps(on_meta(name, scale, preset), 1) for preset in PRESETS)
            assert quick <= small, (name, scale)


def test_other_settings_cost_something_else_and_get_other_steps() -> None:
    """Four times the weights, so a quarter of the steps; a setting that costs nothing keeps them."""
    standard = on_meta("edsr", 4, "quick")
    assert training_steps(on_meta("edsr", 4, "quick", learning_rate=1e-5, validations=7), 1) == training_steps(
        standard, 1
    )
    wide = on_meta("edsr", 4, "quick", width=2 * standard.settings.width)
    assert training_steps(wide, 1) == pytest.approx(training_steps(standard, 1) / 4, rel=0.05)
    assert training_steps(on_meta("edsr", 4, "quick", budget=1e-9), 1) == 1


def test_the_loop_makes_that_many_steps(tmp_path: Any) -> None:
    budget = 7.2 * edsr_step(4, 1, 2, 8) / 1e12
    method = load_method("edsr", 2, "quick", width=4, blocks=1, patch=8, budget=budget)
    seen: list[int] = []
    method.train(SyntheticData(2, 8), Loop(tmp_path, seed=0, report=lambda step, steps, _: seen.append(steps)))
    assert seen == [7] * 7


def test_steps_and_epochs_are_whole_numbers() -> None:
    for unit in ("steps", "epochs"):
        with pytest.raises(UserError, match=f"a budget in {unit} is a whole number"):
            load_method("edsr", 2, "quick", budget=1.5, budget_unit=unit)


def test_a_patch_that_teaches_another_task_is_refused() -> None:
    least = methods().card("mcmrsr").smallest_patch
    with pytest.raises(UserError, match=f"mcmrsr.patch=8: patch must be at least {least} LR pixels, or 0"):
        load_method("mcmrsr", 4, "quick", patch=8)
    for patch in (0, least):
        assert on_meta("mcmrsr", 4, "quick", patch=patch).settings.patch == patch


@pytest.mark.parametrize(("name", "preset", "scale"), AT)
def test_the_learning_rate_is_the_best_of_the_search(name: str, preset: str, scale: int) -> None:
    """Of those with which no whole training collapsed. Scales that were not searched have the rate of the searched one whose ratio
    to them is closest to 1."""
    card = methods().card(name)
    searched = card.rates.get(preset)
    if not searched:
        pytest.skip(f"no search was made at preset {preset}")
    nearest = min(searched, key=lambda at: abs(np.log(int(at[1:]) / scale)))
    scores = searched[nearest]
    assert {float(rate) for rate in scores} == {5e-4, 1e-3, 2e-3, 4e-3}
    collapsed = [float(rate) for rate in card.collapsed.get(preset, {}).get(nearest, ())]
    left = {float(rate): score for rate, score in scores.items() if float(rate) not in collapsed}
    assert on_meta(name, scale, preset).settings.learning_rate == max(left, key=left.__getitem__)


def test_a_training_is_described_by_steps_pixels_and_flop() -> None:
    """Four slices in batches of 3: two steps an epoch."""
    data = SyntheticData(2, 8)
    of_patches = load_method(
        "edsr", 2, "quick", width=4, blocks=1, patch=4, batch_size=3, budget=5, budget_unit="epochs"
    )
    assert isinstance(of_patches, TorchMethod)
    flop = edsr_step(4, 1, 3, 4)
    assert training_profile(of_patches, data) == {
        "steps": 10,
        "training_flop": 10 * flop,
        "training_pixels": 5 * 4 * 8 * 8,
    }
    whole = load_method("edsr", 2, "quick", width=4, blocks=1, patch=0, batch_size=3, budget=1, budget_unit="epochs")
    assert isinstance(whole, TorchMethod)
    assert training_profile(whole, data)["training_pixels"] == 4 * 16 * 16
