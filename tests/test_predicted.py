"""Predicting a volume: the same numbers however it is divided, and a sentence for whatever no method may predict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mcsr_bench import Batch, Method, load_method
from mcsr_bench.conformance.synthetic import SyntheticData, smooth_batch
from mcsr_bench.kspace import zero_fill
from mcsr_bench.plugin.cards import MethodCard
from mcsr_bench.plugin.predicted import magnitude, predict_volume, slices_at_once
from mcsr_bench.training import validation_psnr

BATCH = smooth_batch(5, (8, 6), 2, training=True)


class Given(Method):
    """Predicts what a function makes of a batch."""

    def __init__(self, function: Callable[[Batch], Any]) -> None:
        values = {"name": "given", "title": "given", "class": "Given", "authors": "", "venue": "", "year": 2026}
        extra = {"contrasts": "multi", "track": "complex", "scales": (2,), "trains": False}
        super().__init__(MethodCard.model_validate(values | extra), 2, None)
        self.function = function

    def predict(self, batch: Batch) -> Any:
        assert batch.target is None
        return self.function(batch)


def filled(batch: Batch) -> Tensor:
    return zero_fill(batch.target_lr, batch.hr_shape)


def divided(*ends: int) -> Iterator[Batch]:
    start = 0
    for end in ends:
        yield BATCH[start:end]
        start = end


@pytest.mark.parametrize("ends", [(5,), (1, 2, 3, 4, 5), (2, 4, 5)])
def test_a_volume_however_it_is_divided(ends: tuple[int, ...]) -> None:
    seen: list[int] = []
    found = predict_volume(Given(filled), divided(*ends), done=seen.append)
    assert list(found) == ["target"]
    assert found["target"].dtype == np.complex64
    np.testing.assert_array_equal(found["target"], filled(BATCH).numpy())
    assert seen == list(ends)


def test_both_contrasts_in_single_precision_and_without_a_graph() -> None:
    def both(batch: Batch) -> dict[str, Tensor]:
        weight = torch.ones((), requires_grad=True)
        return {"target": filled(batch).abs().double() * weight, "auxiliary": batch.auxiliary.to(torch.complex128)}

    found = predict_volume(Given(both), divided(3, 5))
    assert {name: image.dtype for name, image in found.items()} == {"target": np.float32, "auxiliary": np.complex64}
    np.testing.assert_allclose(found["target"], filled(BATCH).abs().numpy(), rtol=1e-6)
    np.testing.assert_array_equal(found["auxiliary"], BATCH.auxiliary.numpy())


def test_a_method_may_reuse_its_output_and_give_the_contrasts_in_any_order() -> None:
    buffer = torch.empty(1, *BATCH.hr_shape)

    def reusing(batch: Batch) -> dict[str, Tensor]:
        images = {"target": buffer.copy_(filled(batch).abs()), "auxiliary": batch.auxiliary}
        return images if batch.slice_index[0] % 2 else dict(reversed(images.items()))

    found = predict_volume(Given(reusing), divided(1, 2, 3, 4, 5))
    np.testing.assert_array_equal(found["target"], filled(BATCH).abs().numpy())
    np.testing.assert_array_equal(found["auxiliary"], BATCH.auxiliary.numpy())


def test_batches_are_taken_one_at_a_time() -> None:
    order: list[str] = []

    def batches() -> Iterator[Batch]:
        for i in range(3):
            order.append(f"batch {i}")
            yield BATCH[[i]]

    predict_volume(Given(filled), batches(), done=lambda n: order.append(f"done {n}"))
    assert order == ["batch 0", "done 1", "batch 1", "done 2", "batch 2", "done 3"]


def nan_in_third(batch: Batch) -> Tensor:
    image = filled(batch).abs()
    image[[i == 2 for i in batch.slice_index], 3, 4] = torch.nan
    return image


def complex_from_third(batch: Batch) -> Tensor:
    return filled(batch) if batch.slice_index[0] >= 2 else filled(batch).abs()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda b: filled(b)[:, None], r"given predicted \(2, 1, 16, 12\) for the target, not \(2, 16, 12\)"),
        (lambda b: b.target_lr, r"given predicted \(2, 8, 6\) for the target, not \(2, 16, 12\)"),
        (lambda b: {"target": filled(b), "auxiliary": b.auxiliary_lr}, r"\(2, 8, 6\) for the auxiliary"),
        (lambda b: filled(b).abs().int(), "given predicted int32 for the target, not real or complex"),
        (lambda b: filled(b).numpy(), "given predicted a ndarray for the target, not a tensor"),
        (lambda b: None, "given predicted a NoneType for the target"),
        (
            lambda b: {"auxiliary": b.auxiliary},
            r"given predicted the contrasts \['auxiliary'\]; 'target' must be there",
        ),
        (lambda b: {"target": filled(b), "T3": b.auxiliary}, r"given predicted the contrasts \['T3', 'target'\]"),
        (lambda b: filled(b).abs().double() * 1e300, "given predicted NaN or Inf for the target in slice 0, 1 of v"),
        (nan_in_third, "given predicted NaN or Inf for the target in slice 2 of v"),
        (complex_from_third, "predicted complex64 for the target in slice 2, 3 of v, but float32 for the target for"),
    ],
)
def test_what_no_method_may_predict(function: Callable[[Batch], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predict_volume(Given(function), divided(2, 4, 5))


def test_no_slices_and_slices_without_ids() -> None:
    with pytest.raises(ValueError, match="given: predict needs at least one slice"):
        predict_volume(Given(filled), [])
    nameless = Batch.of(BATCH.target_lr, BATCH.auxiliary, BATCH.auxiliary_lr, scale=2, protocol=BATCH.protocol)
    with pytest.raises(ValueError, match=r"NaN or Inf for the target$"):
        predict_volume(Given(lambda b: filled(b) * torch.nan), [nameless])


def test_magnitudes_in_double_precision() -> None:
    image = filled(BATCH)
    found = magnitude(image.numpy())
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, image.abs().numpy().astype(np.float64))
    np.testing.assert_array_equal(magnitude(image.abs().numpy()), found)


def test_one_slice_at_a_time_on_a_cpu_and_several_on_a_gpu() -> None:
    assert [slices_at_once(d) for d in ("cpu", torch.device("cpu"), "cuda", "cuda:1")] == [1, 1, 8, 8]


@pytest.mark.parametrize(
    ("function", "message"), [(lambda b: filled(b)[:, None], "given predicted"), (nan_in_third, "given predicted NaN")]
)
def test_validation_names_a_method_that_predicts_what_none_may(function: Callable[[Batch], Any], message: str) -> None:
    class Data(SyntheticData):
        def validation(self, batch_size: int = 1) -> Iterator[Batch]:
            yield from (BATCH[[i]] for i in range(5))

    with pytest.raises(ValueError, match=message):
        validation_psnr(Given(function), Data(2, 8), "cpu")


def test_validation_is_the_same_with_several_slices_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from mcsr_bench.plugin.registry import add_plugins
    from mcsr_bench.training import validation

    add_plugins(Path(__file__).parent / "toys")
    method, data = load_method("toynet", 2, "quick"), SyntheticData(2, 8)
    one = validation_psnr(method, data, "cpu")
    monkeypatch.setattr(validation, "slices_at_once", lambda device: 8)
    assert validation_psnr(method, data, "cpu") == pytest.approx(one, abs=1e-4)
