"""Cubic B-spline interpolation of the LR magnitude, on the k-space grid."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from mcsr_bench.kspace import lr_coordinates
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.method import Method


class BSpline(Method):
    """Interpolating cubic B-spline (Unser, IEEE Signal Processing Magazine 16(6):22, 1999) by scipy, mirrored at the edges."""

    def predict(self, batch: Batch) -> Tensor:
        """float32 (B, H, W), in physical units; overshoot below zero is cut where the protocol does that."""
        low = (batch.target_lr.abs() / batch.protocol.lr_gain(batch.scale)).cpu().numpy()
        axes = [lr_coordinates(size, lr_size) for size, lr_size in zip(batch.hr_shape, low.shape[-2:], strict=True)]
        grid = np.meshgrid(*axes, indexing="ij")
        high = np.stack([map_coordinates(image, grid, order=3, mode="mirror", output=np.float32) for image in low])
        return batch.protocol.scored_magnitude(torch.from_numpy(high)).to(batch.target_lr.device)
