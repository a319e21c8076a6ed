"""What the conformance suite is made of: outcomes, synthetic slices, the noise on weights, the measure of difference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mcsr_bench import UserError
from mcsr_bench.conformance.outcome import fail, run_checks, skip
from mcsr_bench.conformance.subject import distance, perturb
from mcsr_bench.conformance.synthetic import SyntheticData, smooth_batch, smooth_images
from mcsr_bench.kspace import to_kspace


def test_one_broken_check_does_not_take_the_others_down() -> None:
    def raises(error: Exception) -> str:
        raise error

    outcomes = run_checks(
        {
            "a": lambda: "fine",
            "b": lambda: fail("b is wrong"),
            "c": lambda: skip("no need"),
            "d": lambda: raises(ZeroDivisionError("by zero\nand a second line")),
            "e": lambda: raises(UserError("--set x.y=1: a sentence")),
            "f": lambda: raises(KeyError()),
            "after b": lambda: "never run",
            "after after b": lambda: "never run",
            "after c": lambda: "run",
        },
        {"after b": ("a", "b"), "after after b": ("after b",), "after c": ("c",)},
    )
    at = "(tests/test_conformance_parts.py:19)"
    assert [(o.check, o.status, o.detail) for o in outcomes] == [
        ("a", "pass", "fine"),
        ("b", "fail", "b is wrong"),
        ("c", "skip", "no need"),
        ("d", "fail", f"ZeroDivisionError: by zero and a second line {at}"),
        ("e", "fail", "--set x.y=1: a sentence"),
        ("f", "fail", f"KeyError {at}"),
        ("after b", "skip", "not run, because 'b' did not pass"),
        ("after after b", "skip", "not run, because 'b' did not pass"),
        ("after c", "pass", "run"),
    ]


def test_synthetic_slices_are_smooth_complex_and_paired() -> None:
    few, many = smooth_images(2, (24, 20), seed=1), smooth_images(5, (24, 20), seed=1)
    for one, two in zip(few, many, strict=True):
        assert torch.equal(one, two[:2])
        assert one.dtype == torch.complex64
    target, auxiliary = (x.numpy() for x in smooth_images(4, (64, 64), seed=2))
    for images in (target, auxiliary):
        energy = np.abs(to_kspace(torch.from_numpy(images)).numpy()) ** 2
        assert energy[:, 16:48, 16:48].sum() > 0.99 * energy.sum()
        assert np.angle(images).std() > 0.1
    alike = [np.corrcoef(np.abs(a).ravel(), np.abs(b).ravel())[0, 1] for a, b in zip(target, auxiliary, strict=True)]
    other = [
        np.corrcoef(np.abs(a).ravel(), np.abs(b).ravel())[0, 1] for a, b in zip(target, auxiliary[::-1], strict=True)
    ]
    assert min(alike) > 0.5 > np.mean(other)
    assert max(alike) < 0.99


def test_synthetic_training_data() -> None:
    data = SyntheticData(2, 8, seed=0)
    assert data.steps_per_epoch(3) == 2
    seen = [data.batch(step, batch_size=2, patch=4, augment="none") for step in range(4)]
    assert seen[0].target_lr.shape == (2, 4, 4)
    assert seen[0].auxiliary.shape == (2, 8, 8)
    assert torch.equal(seen[0].auxiliary, seen[2].auxiliary)
    assert not torch.equal(seen[0].auxiliary, seen[1].auxiliary)
    whole = data.batch(0, batch_size=2, patch=0, augment="none")
    assert torch.equal(whole.target_lr[:, 2:6, 2:6], seen[0].target_lr)
    assert torch.equal(whole.target_statistics[1], seen[0].target_statistics[1])
    validation = list(data.validation())
    assert [b.target_lr.shape for b in validation] == [(1, 8, 8), (1, 8, 8)]
    assert len({b.volume_id for b in validation}) == 1
    assert smooth_batch(1, (8, 8), 2).target is None


def test_perturbing_moves_everything_that_is_saved_and_keeps_variances_positive() -> None:
    module = nn.Sequential(nn.Conv2d(64, 64, 3), nn.BatchNorm2d(64))
    module.register_buffer("constant", torch.ones(3), persistent=False)
    before = {n: t.clone() for n, t in module.state_dict().items() if t.is_floating_point()}
    perturb(module, seed=0)
    after = module.state_dict()
    assert all((after[n] != t).float().mean() > 0.99 for n, t in before.items())
    assert (after["1.running_var"] >= 1).all()
    assert torch.equal(module.get_buffer("constant"), torch.ones(3))
    # the noise of a kernel over 576 inputs changes its output by about half of its input's size
    assert (after["0.weight"] - before["0.weight"]).std().item() == pytest.approx(0.5 / 24, rel=0.05)


def test_distance() -> None:
    one = torch.tensor([1.0, -4.0])
    assert distance({"t": one}, {"t": one + 1}) == pytest.approx(0.25)
    assert distance({"t": one}, {"u": one}) == distance({"t": one}, {"t": one[:1]}) == float("inf")
    assert distance({"t": one}, {"t": one * float("nan")}) == float("inf")
