"""Bicubic interpolation of the LR magnitude, on the k-space grid."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from mcsr_bench.kspace import lr_coordinates
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.method import Method


class Bicubic(Method):
    """Cubic convolution (Keys, IEEE TASSP 29:1153, 1981; kernel parameter -0.75 as in torch), edges repeated."""

    def predict(self, batch: Batch) -> Tensor:
        """float32 (B, H, W), in physical units; overshoot below zero is cut where the protocol does that."""
        low = batch.target_lr.abs() / batch.protocol.lr_gain(batch.scale)
        axes = []
        for size, lr_size in zip(batch.hr_shape, low.shape[-2:], strict=True):
            position = torch.from_numpy(lr_coordinates(size, lr_size)).to(low)
            axes.append(2 * position / (lr_size - 1) - 1)  # align_corners: -1 and 1 are the outer samples themselves
        y, x = torch.meshgrid(*axes, indexing="ij")
        grid = torch.stack((x, y), dim=-1).expand(len(low), -1, -1, -1)
        high = grid_sample(low[:, None], grid, mode="bicubic", padding_mode="border", align_corners=True)
        return batch.protocol.scored_magnitude(high[:, 0])
