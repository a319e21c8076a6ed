"""Floor 0: network blocks that several methods share; pure torch, images and features are (B, C, h, w).

Every convolution has a bias and zero padding that keeps the size.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

UPSAMPLING_STEPS: dict[int, tuple[int, ...]] = {1: (), 2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}
"""Per scale, the factors of the sub-pixel steps."""

Form = Literal["released", "paper", "none"]
"""How a module of MINet and SANet is built: as in the authors' code, as in the paper's equation, or not at all (ablation)."""


def conv(in_channels: int, out_channels: int, kernel: int = 3) -> nn.Conv2d:
    """A convolution that keeps the image size (``kernel`` is odd)."""
    return nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)


def sub_pixel_upsampler(width: int, scale: int) -> nn.Sequential:
    """(B, width, h, w) to (B, width, s*h, s*w): one conv3x3 and pixel shuffle per factor of the scale (Shi et al., CVPR 2016).

    Scales 2, 4 and 8 are one to three steps of 2, scale 3 is one step of 3, as in EDSR; ValueError for any other.
    """
    if scale not in UPSAMPLING_STEPS:
        raise ValueError(f"no sub-pixel up-sampling for scale {scale}; there is {sorted(UPSAMPLING_STEPS)}")
    steps: list[nn.Module] = []
    for factor in UPSAMPLING_STEPS[scale]:
        steps += [conv(width, width * factor**2), nn.PixelShuffle(factor)]
    return nn.Sequential(*steps)


class ResidualBlock(nn.Module):
    """x + factor * conv(ReLU(conv(x))), without normalisation (EDSR, Lim et al., CVPR Workshops 2017)."""

    def __init__(self, width: int, factor: float = 1.0) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(width, width), nn.ReLU(), conv(width, width))
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) to the same."""
        return x + self.factor * self.body(x)


class EDSRNetwork(nn.Module):
    """head + body, then the up-sampler: EDSR for one channel (Lim et al., CVPR Workshops 2017), without its colour mean shift.

    Residual blocks at LR size, sub-pixel up-sampling last; ``scale`` 1 keeps the size.
    """

    def __init__(self, scale: int, *, width: int = 256, blocks: int = 32, residual_factor: float = 0.1) -> None:
        super().__init__()
        self.head = conv(1, width)
        self.body = nn.Sequential(
            *(ResidualBlock(width, residual_factor) for _ in range(blocks)),
            conv(width, width),
        )
        self.tail = nn.Sequential(*sub_pixel_upsampler(width, scale), conv(width, 1))

    def forward(self, target_lr: Tensor) -> Tensor:
        """(B, 1, h, w) to (B, 1, s*h, s*w)."""
        x = self.head(target_lr)
        return self.tail(x + self.body(x))


class ChannelAttention(nn.Module):
    """Scales every channel by a gate in 0..1 computed from all channel means (RCAN, Zhang et al., ECCV 2018)."""

    def __init__(self, width: int, reduction: int = 16) -> None:
        """reduction: the gate's hidden layer has width / reduction channels, but at least 4: a ReLU layer of one is often dead."""
        super().__init__()
        hidden = max(4, width // reduction)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), conv(width, hidden, 1), nn.ReLU(), conv(hidden, width, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) to the same."""
        return x * self.gate(x)


class ChannelAttentionBlock(nn.Module):
    """x + channel attention of conv(ReLU(conv(x))): RCAN's residual channel attention block (RCAB), no residual scaling."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(width, width), nn.ReLU(), conv(width, width), ChannelAttention(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) to the same."""
        return x + self.body(x)


class ResidualGroup(nn.Module):
    """x + conv(a chain of RCABs): RCAN's residual group."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*(ChannelAttentionBlock(width) for _ in range(blocks)), conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) to the same."""
        return x + self.body(x)


class StageIntegration(nn.Module):
    """Lets the feature maps of all stages and contrasts look at each other: M_Int of MINet and SANet (Eq. 5-6 of SANet).

    Over N maps flattened to X (N, C*h*w), with energies E = X X^T: ``paper`` gives softmax(E) X + X; ``released`` gives
    gamma * softmax(rowmax(E) - E) X + X with a learned gamma that starts at 0, so that the *least* similar map weighs most.
    As E sums C*h*w products, either softmax is almost one-hot on a real image; ``mean_energies`` divides E by C*h*w.
    """

    def __init__(self, form: Literal["released", "paper"], *, mean_energies: bool = False) -> None:
        super().__init__()
        self.mean_energies = mean_energies
        self.gamma = nn.Parameter(torch.zeros(1)) if form == "released" else None

    def weights(self, flat: Tensor) -> Tensor:
        """Row-stochastic weights (B, N, N), float32, of maps (B, N, C*h*w)."""
        device = flat.device.type
        # Energies are sums of millions of products, then exponentiated: half precision would overflow.
        with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
            x = flat.float()
            energies = x @ x.transpose(1, 2)
        if self.mean_energies:
            energies = energies / flat.shape[-1]
        if self.gamma is not None:
            energies = energies.amax(-1, keepdim=True) - energies
        return energies.softmax(-1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """N maps (B, C, h, w) to (B, N*C, h, w)."""
        stack = torch.stack(tuple(maps), 1)
        flat = stack.flatten(2)
        mixed = self.weights(flat).to(flat.dtype) @ flat
        out = flat + mixed if self.gamma is None else flat + self.gamma * mixed
        return out.view_as(stack).flatten(1, 2)


class ChannelSpatialAttention(nn.Module):
    """A gate per channel and pixel from a 3-D convolution over (channel, row, column): M_Att of MINet and SANet (Eq. 7).

    q = sigmoid(conv3d(x)); ``paper`` gives x + x*q; ``released`` x + gamma*x*q with a learned gamma that starts at 0.
    """

    def __init__(self, form: Literal["released", "paper"]) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 1, 3, padding=1)
        self.gamma = nn.Parameter(torch.zeros(1)) if form == "released" else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same."""
        gate = self.conv(x[:, None])[:, 0].sigmoid()
        return x + x * (gate if self.gamma is None else self.gamma * gate)


class ConcatFusion(nn.Module):
    """target + conv1x1([auxiliary, target]): how MINet hands auxiliary features to the target branch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = conv(2 * width, width, 1)

    def forward(self, auxiliary: Tensor, target: Tensor) -> Tensor:
        """Two (B, width, h, w) to the fused target feature (B, width, h, w)."""
        return target + self.conv(torch.cat((auxiliary, target), 1))


class ContrastReadout(nn.Module):
    """From the stage features of MINet's and SANet's branches to the images.

    target = final(last([M_Att(T_n), H]) + T_0) with H = conv(M_Int(all stage maps)); without M_Int, ``last`` has M_Att(T_n) alone.
    auxiliary = final(last(M_Att(A_n)) + A_0), if there is that branch.
    """

    def __init__(
        self,
        width: int,
        maps: int,
        *,
        auxiliary: bool = True,
        integration: Form = "released",
        attention: Form = "released",
        mean_energies: bool = False,
    ) -> None:
        """maps: how many stage maps M_Int gets."""
        super().__init__()
        self.integration: StageIntegration | None = None
        if integration != "none":
            self.integration = StageIntegration(integration, mean_energies=mean_energies)
            self.reduce = conv(maps * width, width)
        self.target_attention = _attention(attention)
        self.target_last = conv(width if integration == "none" else 2 * width, width)
        self.target_final = conv(width, 1)
        if auxiliary:
            self.auxiliary_attention = _attention(attention)
            self.auxiliary_last = conv(width, width)
            self.auxiliary_final = conv(width, 1)

    def target(self, first: Tensor, last: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Image (B, 1, H, W) from T_0, T_n and the stage maps, each (B, width, H, W)."""
        feature = self.target_attention(last)
        if self.integration is not None:
            feature = torch.cat((feature, self.reduce(self.integration(maps))), 1)
        return self.target_final(self.target_last(feature) + first)

    def auxiliary(self, first: Tensor, last: Tensor) -> Tensor:
        """Image (B, 1, H, W) from A_0 and A_n."""
        return self.auxiliary_final(self.auxiliary_last(self.auxiliary_attention(last)) + first)

    def gammas(self) -> dict[str, Tensor]:
        """Copies of the learned gates by name, scalars.

        They start at 0: until they have moved, M_Int mixes nothing and M_Att is the identity.
        """
        found = {name: p for name, p in self.named_parameters() if name.endswith("gamma")}
        return {
            f"gamma_{name.removesuffix('.gamma')}": gate.detach().clone().reshape(()) for name, gate in found.items()
        }


def _attention(form: Form) -> nn.Module:
    return nn.Identity() if form == "none" else ChannelSpatialAttention(form)
