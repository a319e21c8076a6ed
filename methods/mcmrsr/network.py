"""The network of McMRSR: shared transformer features, contextual matching at LR size, aggregation upwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from mcsr_bench.nn import ResidualBlock, ShiftedConv, conv

from .aggregation import Aggregation
from .attention import SwinTransformer, WindowAttention
from .matching import match


class McMRSRNetwork(nn.Module):
    """McMRSR: Li et al., CVPR 2022. One parameter set for 2x and 4x; at 2x `reference_heads.2` and the blocks of x4 are idle."""

    def __init__(
        self,
        scale: Literal[2, 4],
        *,
        channels: int = 2,
        shifted_input: bool = False,
        width: int = 60,
        groups: int = 4,
        depth: int = 6,
        heads: int = 6,
        window: int = 8,
        drop_path: float = 0.1,
        blocks: Sequence[int] = (12, 8, 4),
        init: Literal["normal", "zero"] = "normal",
    ) -> None:
        """channels: 2 (real and imaginary part) or 1 (magnitude). groups, depth, heads, window: of the transformer.

        shifted_input: the convolutions that see images are `ShiftedConv`, for weights of a network that shifts its input.

        init: ``normal`` draws all weights of convolutions and linear layers from N(0, 0.02), as the released code does at last;
        ``zero`` starts from torch's defaults and with the style corrections at zero, as it first does.
        """
        super().__init__()
        self.scale = scale
        first = ShiftedConv if shifted_input else conv
        self.shallow = nn.Sequential(first(channels, width), nn.ReLU(), ResidualBlock(width), ResidualBlock(width))
        self.transformer = SwinTransformer(width, groups, depth, heads, window, drop_path)
        self.reference_heads = nn.ModuleList(
            [
                first(channels, width),
                nn.Conv2d(width, width, 3, stride=2, padding=1),
                nn.Conv2d(width, width, 3, stride=2, padding=1),
            ]
        )
        self.aggregation = Aggregation(width, channels, blocks)
        self._initialise(init)

    def forward(self, target_lr: Tensor, auxiliary_lr: Tensor, auxiliary: Tensor) -> Tensor:
        """target_lr and auxiliary_lr (B, channels, h, w), auxiliary (B, channels, s*h, s*w) to (B, channels, s*h, s*w)."""
        target = self.transformer(self.shallow(target_lr))
        low = self.transformer(self.shallow(auxiliary_lr))
        levels: list[Tensor] = []
        features = auxiliary
        for head in list(self.reference_heads)[: 2 if self.scale == 2 else 3]:
            features = self.transformer(head(features))
            levels.insert(0, features)
        return self.aggregation(target, match(target, low, levels))

    def _initialise(self, init: str) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and init == "normal":
                nn.init.normal_(module.weight, std=0.02)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
            elif isinstance(module, WindowAttention):
                nn.init.trunc_normal_(module.bias, std=0.02)
        if init == "zero":
            for layer in (self.aggregation.adapt.gamma, self.aggregation.adapt.beta):
                nn.init.zeros_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
