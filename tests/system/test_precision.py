"""The precision of a training: where it holds, what it changes, and what cannot be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mcsr_bench as mb
from mcsr_bench.cost.counting import synthetic_batch
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.method import TorchMethod
from mcsr_bench.plugin.registry import methods
from mcsr_bench.system.precision import chosen_precision, computing, kind_of
from mcsr_bench.weights.tensors import load_tensors

ASKED: dict[str, Any] = {"dataset": "toy", "scale": 2, "plugins": Path(__file__).parents[1] / "toys", "jobs": 1}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[torch.dtype]]:
    """The types of what the first convolution gave: while training, and while predicting."""
    found: dict[str, set[torch.dtype]] = {"training": set(), "predicting": set()}
    forward = nn.Conv2d.forward

    def watched(self: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        out = forward(self, x)
        if out.device.type != "meta":  # where FLOP are counted
            found["training" if self.training else "predicting"].add(out.dtype)
        return out

    monkeypatch.setattr(nn.Conv2d, "forward", watched)
    return found


def run(out: Path, **changes: Any) -> Any:
    results = mb.run("toynet", out=out, settings={"toynet": {"budget": 4, "validations": 1}}, **ASKED, **changes)
    [bundle] = results.bundles
    return bundle


def test_bf16_is_for_steps_alone(tmp_path: Path, own_cache: Path, seen: dict[str, set[torch.dtype]]) -> None:
    bundle = run(tmp_path / "run", precision="bf16")
    assert seen == {"training": {torch.bfloat16}, "predicting": {torch.float32}}
    record = bundle.record
    assert (record.status, record.precision, record.notes) == (
        "done",
        "bf16",
        ["trained in bfloat16 (--precision bf16)"],
    )
    weights, _ = load_tensors(bundle.weights)
    assert {t.dtype for t in weights.values() if t.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize("name", [name for name in methods().names() if methods().card(name).trains])
def test_every_method_trains_in_bf16(name: str) -> None:
    """With a loss and gradients near those of float32: half has eight bits."""
    found: dict[bool, tuple[float, torch.Tensor]] = {}
    for half in (False, True):
        method = mb.load_method(name, 4, "smoke")
        assert isinstance(method, TorchMethod)
        method.network.eval()  # without stochastic depth
        batch = synthetic_batch(4, 64, batch_size=2)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            loss = method.loss(method.forward(batch), batch)
        loss.backward()
        gradients = [p.grad.flatten() for p in method.network.parameters() if p.grad is not None]
        found[half] = loss.item(), torch.cat(gradients)
    assert found[True][0] != found[False][0]
    assert found[True][0] == pytest.approx(found[False][0], rel=0.02)
    assert torch.cosine_similarity(found[True][1], found[False][1], 0) > 0.9


def test_the_key_knows_bf16_and_not_tf32(tmp_path: Path, own_cache: Path) -> None:
    full, half = run(tmp_path / "full"), run(tmp_path / "half", precision="bf16")
    assert full.record.key != half.record.key
    assert full.weights.read_bytes() != half.weights.read_bytes()
    with pytest.raises(UserError, match="holds results of full precision, this run has bf16 precision"):
        run(tmp_path / "full", precision="bf16")
    assert [kind_of(one) for one in ("32", "tf32", "bf16")] == ["full", "full", "bf16"]
    assert {v.outcome for v in mb.verify(tmp_path / "half", plugins=ASKED["plugins"])} == {"verified"}


@pytest.mark.parametrize(
    ("asked", "device", "sentence"),
    [
        ("fp16", "cpu", "--precision fp16: allowed are 32, tf32, bf16"),
        ("tf32", "cpu", "--precision tf32: is a way in which NVIDIA's GPUs compute; this run is on a CPU"),
    ],
)
def test_what_cannot_be_had(asked: str, device: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        chosen_precision(asked, device)
    assert str(caught.value) == sentence


def test_the_default_is_tf32_on_a_gpu_alone() -> None:
    assert [chosen_precision(None, device) for device in ("cpu", "cuda", "cuda:1")] == ["32", "tf32", "tf32"]


def test_a_block_leaves_torch_as_it_was() -> None:
    """And a prediction within a training, as of the validation part, is in float32."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    x = torch.ones(2, 2)
    with computing("bf16", "cpu"):
        assert (x @ x).dtype == torch.bfloat16
        with computing("32", "cpu"):
            assert (x @ x).dtype == torch.float32
            assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("highest", False)
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("high", True)
    with pytest.raises(RuntimeError), computing("tf32", "cpu"):
        raise RuntimeError
    assert before == (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)
