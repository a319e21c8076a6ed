"""What the loop asks of a training step: who updates, what is logged and when it is fetched, and what is found before the first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mcsr_bench import Batch, TorchMethod, load_method
from mcsr_bench.conformance.synthetic import SyntheticData
from mcsr_bench.methods.lyu.losses import gradient_penalty
from mcsr_bench.plugin.registry import add_plugins
from mcsr_bench.training import Loop, Updater, checked_numbers, loop
from mcsr_bench.training.updates import Sums
from mcsr_bench.weights.tensors import load_tensors

TOYS = Path(__file__).parent / "toys"


def toynet(**settings: Any) -> TorchMethod:
    add_plugins(TOYS)
    method = load_method("toynet", 2, "quick", seed=3, **settings)
    assert isinstance(method, TorchMethod)
    return method


def train(method: TorchMethod, folder: Path, **options: Any) -> None:
    folder.mkdir(exist_ok=True)
    method.train(SyntheticData(2, 8), Loop(folder, seed=3, **options))


def spoil_loss(monkeypatch: pytest.MonkeyPatch, method: TorchMethod, at: int) -> None:
    """Its loss is NaN at a step (from 1), and sound at every other."""
    loss, steps = method.loss, iter(range(1, 10_000))
    monkeypatch.setattr(method, "loss", lambda o, b: loss(o, b) * (torch.nan if next(steps) == at else 1.0))


class NothingFetched(TorchDispatchMode):
    """While it is open, reading the value of a tensor is an error."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default, "a value was fetched"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("at", [1, 3, 10, 11])
def test_the_first_step_that_is_not_finite_is_named_with_its_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """With a row every 10 steps, and a rate that halves every 2."""
    method = toynet(budget=1000, schedule="step", decay_every=2, decay_factor=0.5)
    spoil_loss(monkeypatch, method, at)
    rate = method.settings.learning_rate * 0.5 ** ((at - 1) // 2)
    with pytest.raises(
        FloatingPointError, match=rf"^toynet: not finite at step {at}, at learning rate {rate:g}: loss$"
    ):
        train(method, tmp_path)


def test_no_checkpoint_holds_what_came_after_a_step_that_is_not_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = toynet(budget=1000)
    spoil_loss(monkeypatch, method, 6)
    with pytest.raises(FloatingPointError, match="not finite at step 6"):
        train(method, tmp_path, checkpoint_every=4)
    tensors, info = load_tensors(tmp_path / "checkpoint.safetensors")
    assert info["step"] == 4
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_only_what_was_not_finite_first_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = toynet(budget=1000)
    step, steps = method.training_step, iter(range(1, 1000))

    def with_more(batch: Batch, update: Updater) -> dict[str, Tensor]:
        n = next(steps)
        early, late = (torch.tensor(torch.inf if n >= start else 1.0) for start in (5, 7))
        return step(batch, update) | {"early": early, "late": late}

    monkeypatch.setattr(method, "training_step", with_more)
    with pytest.raises(FloatingPointError, match=r"at step 5, .*: early$"):
        train(method, tmp_path)


def test_rows_are_float64_means_of_the_numbers_of_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly those of Python's own sums, also over steps in some of which a number is missing."""
    method, steps = toynet(budget=300, validations=2), iter(range(1, 1000))
    seen: list[dict[str, float]] = []
    step = method.training_step

    def watched(batch: Batch, update: Updater) -> dict[str, Tensor]:
        numbers = step(batch, update)
        if next(steps) % 2:
            numbers["odd"] = numbers["loss"] / 3
        seen.append({name: value.item() for name, value in numbers.items()})
        return numbers

    monkeypatch.setattr(method, "training_step", watched)
    train(method, tmp_path)
    rows = load_tensors(tmp_path / "checkpoint.safetensors")[1]["rows"]
    assert len(rows) == 100
    for i, row in enumerate(rows):
        totals: dict[str, float] = {}
        for numbers in seen[3 * i : 3 * i + 3]:
            for name, value in numbers.items():
                totals[name] = totals.get(name, 0.0) + value
        assert {name: float(row[name]) for name in totals} == {name: total / 3 for name, total in totals.items()}


@pytest.mark.parametrize(
    "kill_at", [5, pytest.param(8, marks=pytest.mark.slow), pytest.param(10, marks=pytest.mark.slow)]
)
def test_a_training_that_is_killed_between_rows_resumes_with_its_sums(tmp_path: Path, kill_at: int) -> None:
    class KilledError(Exception):
        pass

    def report(step: int, steps: int, detail: str) -> None:
        assert detail.startswith("loss ")
        if step == kill_at:
            raise KilledError

    options: dict[str, Any] = {"budget": 1000, "validations": 1}
    train(toynet(**options), tmp_path / "a", checkpoint_every=4)
    with pytest.raises(KilledError):
        train(toynet(**options), tmp_path / "b", checkpoint_every=4, report=report)
    assert load_tensors(tmp_path / "b" / "checkpoint.safetensors")[1]["count"] == 4 * ((kill_at - 1) // 4)
    train(toynet(**options), tmp_path / "b", checkpoint_every=4)
    for name in ("training.csv", "checkpoint.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_adding_to_the_sums_fetches_nothing() -> None:
    method, sums = toynet(), Sums(torch.device("cpu"), {"loss": 0.5}, 2)
    with NothingFetched():
        for step in (3, 4, 5):
            numbers = {"loss": torch.tensor(0.1 * step), "other": torch.tensor(torch.nan if step == 4 else 1.0)}
            sums.add(step, checked_numbers(method, numbers))
    totals, count, unsound = sums.fetch()
    expected = 0.5 + float(np.float32(0.3)) + float(np.float32(0.4)) + float(np.float32(0.5))
    assert (totals["loss"], count, unsound) == (expected, 5, {"other": 4})


@pytest.mark.parametrize("name", ["sanet", "minet", "lyu", "edsr"])
def test_the_numbers_of_a_step_are_scalars_without_graph_that_stay_as_they_are(name: str) -> None:
    method = load_method(name, 2, "smoke")
    assert isinstance(method, TorchMethod)
    batch = SyntheticData(2, 16).batch(0, batch_size=2, patch=0, augment="none")
    update = Updater(method)
    first = method.training_step(batch, update)
    assert checked_numbers(method, first).keys() == first.keys()
    kept = {key: value.clone() for key, value in first.items()}
    method.training_step(batch, update)
    assert all(torch.equal(first[key], kept[key]) and not first[key].requires_grad for key in kept)


def test_on_a_gpu_the_report_tells_the_last_row(tmp_path: Path) -> None:
    there, here = Loop(tmp_path, seed=0, device="cuda"), Loop(tmp_path, seed=0)
    numbers, state = {"loss": torch.tensor(0.25)}, loop._State()
    assert here._detail(numbers, state) == "loss 0.2500"
    with NothingFetched():
        assert there._detail(numbers, state) == ""
        state.rows.append({"loss": 0.5})
        assert there._detail(numbers, state) == "loss 0.5000"


def test_an_update_is_zero_grad_backward_and_step() -> None:
    method, twin = toynet(), toynet()
    batch = SyntheticData(2, 8).batch(0, batch_size=2, patch=0, augment="none")
    update, optimizer = Updater(method), twin.configure_optimizers()["network"]
    for _ in range(2):
        update("network", method.loss(method.forward(batch), batch))
        optimizer.zero_grad()
        twin.loss(twin.forward(batch), batch).backward()
        optimizer.step()
    assert all(torch.equal(tensor, twin.state()[name]) for name, tensor in method.state().items())


@pytest.mark.parametrize(
    ("name", "loss", "message"),
    [
        ("critic", lambda p: p.sum(), r"toynet: update\('critic', ...\), but configure_optimizers gives: network"),
        ("network", lambda p: p, r"toynet: .* is a float32 tensor of shape \(1,\), not a scalar tensor"),
        ("network", lambda p: 0.5, r"toynet: the loss of update\('network', ...\) is a float"),
    ],
)
def test_what_no_update_takes(name: str, loss: Callable[[Tensor], Any], message: str) -> None:
    method = toynet()
    [bias] = [p for n, p in method.network.named_parameters() if n == "last.bias"]
    with pytest.raises(ValueError, match=message):
        Updater(method)(name, loss(bias))


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"loss": 0.5}, "toynet: training_step gave a float as 'loss', not a real scalar tensor"),
        ({"loss": torch.tensor(1.0), "more": torch.ones(2)}, r"a float32 tensor of shape \(2,\) as 'more'"),
        ({"loss": torch.tensor(1j)}, "a complex64 tensor"),
        ({"total": torch.tensor(1.0)}, "toynet: training_step gave no 'loss', but: total"),
        ({}, "toynet: training_step gave no 'loss', but: nothing"),
    ],
)
def test_what_no_step_may_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: dict[str, Any], message: str
) -> None:
    method = toynet()
    monkeypatch.setattr(method, "training_step", lambda batch, update: numbers)
    with pytest.raises(ValueError, match=message):
        train(method, tmp_path)


def test_a_prediction_of_the_wrong_shape_is_found_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = toynet(batch_size=2, patch=4)
    predict, before = method.predict, {name: tensor.clone() for name, tensor in method.state().items()}
    monkeypatch.setattr(method, "predict", lambda batch: torch.as_tensor(predict(batch))[:, None])
    steps: list[int] = []
    with pytest.raises(ValueError, match=r"toynet predicted \(2, 1, 8, 8\) for the target, not \(2, 8, 8\)"):
        train(method, tmp_path, report=lambda step, *_: steps.append(step))
    assert steps == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.state().items())


def test_the_look_before_the_first_step_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch normalisation is in the network, and predicting draws random numbers."""
    looked: list[bool] = []

    def trained(folder: Path) -> dict[str, Tensor]:
        method = toynet()
        predict = method.predict

        def drawing(batch: Batch) -> Any:
            torch.rand(3)
            assert batch.target is None
            looked.append(method.network.training)
            return predict(batch)

        monkeypatch.setattr(method, "predict", drawing)
        train(method, folder)
        return method.state()

    with_look = trained(tmp_path / "a")
    assert looked[0] is False
    calls = len(looked)
    monkeypatch.setattr(loop, "look", lambda method, batch: None)
    without = trained(tmp_path / "b")
    assert len(looked) == 2 * calls - 1
    assert all(torch.equal(tensor, without[name]) for name, tensor in with_look.items())
    assert (tmp_path / "a" / "training.csv").read_bytes() == (tmp_path / "b" / "training.csv").read_bytes()


def test_a_resumed_training_does_not_look_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(step: int, steps: int, detail: str) -> None:
        if step == 9:
            raise KeyboardInterrupt

    looks: list[int] = []
    monkeypatch.setattr(loop, "look", lambda method, batch: looks.append(1))
    with pytest.raises(KeyboardInterrupt):
        train(toynet(), tmp_path, checkpoint_every=4, report=stop)
    train(toynet(), tmp_path, checkpoint_every=4)
    assert looks == [1]
    assert pd.read_csv(tmp_path / "training.csv")["step"].iloc[-1] == 30


@pytest.mark.parametrize("loss", ["l1", "l2"])
def test_pixel_loss_by_hand_and_never_of_images_that_torch_would_stretch(loss: str) -> None:
    method, rng = toynet(loss=loss), np.random.default_rng(0)
    one, two = rng.normal(size=(2, 3, 4, 5))
    expected = np.abs(one - two).mean() if loss == "l1" else ((one - two) ** 2).mean()
    a, b = torch.from_numpy(one), torch.from_numpy(two)
    assert method.pixel_loss(a, b).item() == pytest.approx(expected, rel=1e-12)
    for output, shape in ((a[:, None], r"\(3, 1, 4, 5\)"), (a[:1], r"\(1, 4, 5\)"), (a.mean(), r"\(\)")):
        with pytest.raises(ValueError, match=rf"toynet: pixel_loss of an output {shape} and a reference \(3, 4, 5\)"):
            method.pixel_loss(output, b)


def test_no_gradient_penalty_between_images_that_torch_would_stretch() -> None:
    critic = torch.nn.Conv2d(1, 1, 3, padding=1)
    with pytest.raises(ValueError, match=r"real \(2, 1, 4, 4\) and fake images \(1, 1, 4, 4\)"):
        gradient_penalty(critic, torch.zeros(2, 1, 4, 4), torch.zeros(1, 1, 4, 4))
