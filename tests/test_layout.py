"""Networks whose features lie in memory with channels innermost: all the way through, with equal values, also after a resume."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mcsr_bench.cost.counting import synthetic_batch
from mcsr_bench.nn import channels_last
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.method import TorchMethod
from mcsr_bench.training import Loop, Updater
from mcsr_bench.weights.loading import load_method


class Convolutions(TorchDispatchMode):
    """Of the convolutions below it and their gradients, those that are given features in another layout."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.other: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {torch.ops.aten.convolution.default: 1, torch.ops.aten.convolution_backward.default: 2}.get(func, 0)
        for features in args[:given]:
            self.count += 1
            # Images of one or two channels are small; of one pixel both layouts are the same.
            if features.shape[1] > 2 and features.shape[2:].numel() > 1 and features.stride(1) != 1:
                self.other.append(f"{func}: {tuple(features.shape)}, {features.stride()}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["edsr", "smore", "zeng", "lyu", "minet", "sanet"])
def test_features_stay_channels_last_through_a_step(name: str) -> None:
    """One block that rearranges them costs two passes over memory, and nothing but time tells."""
    method = load_method(name, 4, "smoke")
    assert isinstance(method, TorchMethod)
    torch.manual_seed(0)
    for p in method.network.parameters():  # what starts at 0 would hide what it multiplies
        p.data += 0.05 * torch.randn_like(p)
    with Convolutions() as seen:
        method.training_step(synthetic_batch(4, 32, batch_size=2), Updater(method))
    assert seen.count > 20
    assert seen.other == []


def test_channels_last_changes_the_order_in_memory_alone() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Conv2d(3, 2, 3))
    image = torch.randn(2, 1, 9, 8)
    before, weights = network(image), {name: p.clone() for name, p in network.named_parameters()}
    assert channels_last(network) is network
    assert network[0](image).is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(p, weights[name]) for name, p in network.named_parameters())
    torch.testing.assert_close(network(image), before)


class Data:
    """Two noisy slices, over and over."""

    scale, n_train_slices, n_train_pixels = 2, 2, 2 * 32 * 32

    def steps_per_epoch(self, batch_size: int) -> int:
        return 1

    def batch(self, step: int, **_: object) -> Batch:
        return synthetic_batch(2, 32, batch_size=2)

    def validation(self, batch_size: int = 1) -> Iterator[Batch]:
        yield synthetic_batch(2, 32)


class KilledError(Exception):
    pass


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    """Averages of the optimiser lie in a file row by row, and fused Adam does not look how they lie in memory."""

    def train(folder: str, kill_at: int | None = None) -> dict[str, Tensor]:
        def report(step: int, steps: int, detail: str) -> None:
            if step == kill_at:
                raise KilledError

        (tmp_path / folder).mkdir(exist_ok=True)
        method = load_method("edsr", 2, "smoke", seed=3, budget=6, budget_unit="steps")
        assert isinstance(method, TorchMethod)
        Loop(tmp_path / folder, seed=3, key="k", report=report, checkpoint_every=2).fit(method, Data())
        return method.state()

    straight = train("a")
    with pytest.raises(KilledError):
        train("b", kill_at=5)
    resumed = train("b")
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
