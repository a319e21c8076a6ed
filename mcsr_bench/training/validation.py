"""What a method predicts while it is trained: at the first step, and of the validation part."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from mcsr_bench import metrics
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.method import Method, TorchMethod, TrainingData
from mcsr_bench.plugin.predicted import checked, magnitude, predict_volume, slices_at_once
from mcsr_bench.system.precision import computing


def look(method: TorchMethod, batch: Batch) -> None:
    """Predict the first training batch, so that a wrong form is found before the first step and not at the first validation.

    ValueError as of `predict_volume`. The modules are left in evaluation mode.
    """
    for module in method.training_modules().values():
        module.eval()
    given = batch.without_target()
    with computing("32", given.target_lr.device):
        checked(method, method.predict(given), given)


def validation_psnr(method: Method, data: TrainingData, device: torch.device | str) -> float:
    """psnr@volume-max over the validation volumes, mean in dB; never a look at the test part.

    ValueError, which names the method, when it predicts what no method may (`predict_volume`).
    """
    scores = []
    batches = data.validation(slices_at_once(device))
    for _, volume in itertools.groupby(batches, key=lambda batch: batch.volume_id[:1]):
        references: list[NDArray[np.float64]] = []
        prediction = predict_volume(method, _noting_references(volume, references), device)["target"]
        truth = np.concatenate(references)
        scores.append(metrics.psnr(magnitude(prediction), truth, peak=float(truth.max())))
    return float(np.mean(scores))


def _noting_references(batches: Iterable[Batch], references: list[NDArray[np.float64]]) -> Iterator[Batch]:
    """The batches as they are; what each is scored against is appended to ``references`` on the way: float64 (B, H, W)."""
    for batch in batches:
        assert batch.target is not None
        reference = batch.protocol.scoring_reference(batch.target.numpy(), batch.target_lr.numpy())
        references.append(np.hypot(reference.real, reference.imag, dtype=np.float64))
        yield batch
