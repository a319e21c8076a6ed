"""The slow phase of a measured image, and the images without it.

Phase comes from the receiver, the field and the timing of an acquisition: it differs between contrasts where anatomy does not, and
in real and imaginary parts it hides from matching that two contrasts show the same thing. Its slow part is known from LR data.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from mcsr_bench.nn import full_precision

_TAPS = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""Binomial, a standard deviation of one LR pixel: noise in air weighs as little as it is bright."""


def slow_phase(low: Tensor) -> Tensor:
    """The phase factors exp(i * phase), complex (B, h, w), of smoothed LR images, complex (B, h, w); 1 where the signal is 0."""
    taps = torch.tensor(_TAPS, device=low.device, dtype=low.real.dtype)
    parts = torch.view_as_real(low).permute(3, 0, 1, 2).flatten(0, 1)[:, None]
    with full_precision(low.device):  # there are no complex numbers of half
        smooth = conv2d(pad(parts, (2, 2, 2, 2), mode="replicate"), taps[:, None].mul(taps)[None, None])
    return _unit(torch.complex(*smooth[:, 0].unflatten(0, (2, len(low)))))


def enlarged(factors: Tensor, scale: int) -> Tensor:
    """LR phase factors (B, h, w) at HR size (B, scale*h, scale*w), linear between: LR sample i is HR sample scale*i (even h, w)."""
    h, w = factors.shape[-2:]
    parts = torch.view_as_real(factors).permute(0, 3, 1, 2)
    grown = interpolate(
        pad(parts, (0, 1, 0, 1), mode="replicate"),
        size=(scale * h + 1, scale * w + 1),
        mode="bilinear",
        align_corners=True,
    )
    return _unit(torch.complex(grown[:, 0, :-1, :-1], grown[:, 1, :-1, :-1]))


def _unit(x: Tensor) -> Tensor:
    size = x.abs()
    return torch.where(size > 0, x / size.clamp_min(torch.finfo(size.dtype).tiny), torch.ones_like(x))
