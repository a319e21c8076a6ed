"""Zero-filling: the k-space of the LR image surrounded by zeros. The baseline of every method; it adds nothing."""

from __future__ import annotations

from torch import Tensor

from mcsr_bench.kspace import zero_fill
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.method import Method


class ZeroFill(Method):
    """Sinc interpolation on the k-space grid, of complex data."""

    def predict(self, batch: Batch) -> Tensor:
        """complex64 (B, H, W), in physical units."""
        return zero_fill(batch.target_lr, batch.hr_shape) / batch.protocol.lr_gain(batch.scale)
