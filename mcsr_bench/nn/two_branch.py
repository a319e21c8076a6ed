"""Blocks for networks with a branch per contrast: fusing the branches, integrating the stages, and reading out both contrasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from mcsr_bench.nn.blocks import conv
from mcsr_bench.nn.precision import full_precision

Form = Literal["released", "paper", "none"]
"""How a module of MINet and SANet is built: as in the authors' code, as in the paper's equation, or not at all (ablation)."""


class _Gram(torch.autograd.Function):
    """X X^T of (B, N, M). As it is symmetric, its gradient is one product of X, where autograd would make and add two."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """(B, N, M) to (B, N, N)."""
        ctx.save_for_backward(x)
        return x @ x.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """Of the result, (B, N, N), to that of X."""
        (x,), [grad] = ctx.saved_tensors, grads
        return (grad + grad.transpose(1, 2)) @ x


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
        """Row-stochastic weights (B, N, N) of maps (B, N, C*h*w); float32 or, of maps in it, float64."""
        # Energies are sums of millions of products, then exponentiated: half precision would overflow.
        with full_precision(flat.device):
            x = flat.to(torch.promote_types(flat.dtype, torch.float32))
            energies: Tensor = _Gram.apply(x)
        if self.mean_energies:
            energies = energies / flat.shape[-1]
        if self.gamma is not None:
            energies = energies.amax(-1, keepdim=True) - energies
        return energies.softmax(-1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """N maps (B, C, h, w) to (B, N*C, h, w)."""
        last = maps[0].is_contiguous(memory_format=torch.channels_last)
        # The order of a map's values does not matter to energies and mixture: they are taken as they lie in memory.
        stack = torch.stack([x.permute(0, 2, 3, 1) if last else x for x in maps], 1)
        flat = stack.flatten(2)
        weights = self.weights(flat)
        if self.gamma is not None:
            weights = self.gamma * weights
        # One product gives the sum with X: whole stacks of maps, the largest tensors of a step, are not scaled and added.
        weights = weights + torch.eye(flat.shape[1], device=weights.device)
        mixed = (weights.to(flat.dtype) @ flat).view_as(stack)
        return mixed.permute(0, 2, 3, 1, 4).flatten(3).permute(0, 3, 1, 2) if last else mixed.flatten(1, 2)


class ChannelConv(nn.Conv3d):
    """A 3 x 3 x 3 convolution over (channel, row, column), from one feature to one, zero padding on all sides.

    Computed as a 2-D convolution whose weights form a band over pairs of channels. Libraries are slow at 3-D convolutions of one
    feature: on a CPU this one took half of a training step of a small MINet.
    """

    def __init__(self) -> None:
        super().__init__(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same."""
        if x.is_meta:  # where arithmetic is counted, without the zeros beside the band
            return super().forward(x[:, None])[:, 0]
        channels = x.shape[1]
        one = self.weight.new_ones(channels)
        # Output channel o sees input channel o + d with the weights of depth d + 1.
        bands = torch.stack([torch.diag(one[abs(d) :], d) for d in (-1, 0, 1)])
        weight = torch.einsum("doi,dyx->oiyx", bands, self.weight[0, 0])
        assert self.bias is not None
        return functional.conv2d(x, weight, self.bias.expand(channels), padding=1)


class ChannelSpatialAttention(nn.Module):
    """A gate per channel and pixel from a 3-D convolution over (channel, row, column): M_Att of MINet and SANet (Eq. 7).

    q = sigmoid(conv3d(x)); ``paper`` gives x + x*q; ``released`` x + gamma*x*q with a learned gamma that starts at 0.
    """

    def __init__(self, form: Literal["released", "paper"]) -> None:
        super().__init__()
        self.conv = ChannelConv()
        self.gamma = nn.Parameter(torch.zeros(1)) if form == "released" else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same."""
        gate = self.conv(x).sigmoid()
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
