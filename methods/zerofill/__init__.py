"""Zero-filling: the k-space of the LR image surrounded by zeros. The baseline of every method; it adds nothing."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from mcsr_bench.kspace import zero_fill
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.method import Method, Settings


class ZeroFillSettings(Settings):
    """What is interpolated."""

    input: Literal["complex", "magnitude"] = "complex"
    """``magnitude``: |LR|, which is all that a network on magnitudes is given; a magnitude has a wider spectrum than its image."""


class ZeroFill(Method):
    """Sinc interpolation on the k-space grid, of complex data or of magnitudes."""

    Settings = ZeroFillSettings
    settings: ZeroFillSettings

    @property
    def track(self) -> Literal["complex", "magnitude"]:
        """What its setting ``input`` says."""
        return self.settings.input

    def predict(self, batch: Batch) -> Tensor:
        """complex64 (B, H, W), in physical units; of magnitudes a magnitude, float32."""
        low = batch.target_lr if self.settings.input == "complex" else batch.target_lr.abs().to(batch.target_lr.dtype)
        filled = zero_fill(low, batch.hr_shape) / batch.protocol.lr_gain(batch.scale)
        return filled if self.settings.input == "complex" else filled.abs()
