"""What networks of methods share: `blocks` for any, `two_branch` for a branch per contrast; their `layout` and `precision`."""

from mcsr_bench.nn.blocks import (
    ChannelAttention,
    ChannelAttentionBlock,
    EDSRNetwork,
    ResidualBlock,
    ResidualGroup,
    ShiftedConv,
    conv,
    sub_pixel_upsampler,
)
from mcsr_bench.nn.layout import channels_last
from mcsr_bench.nn.precision import full_precision

__all__ = [
    "ChannelAttention",
    "ChannelAttentionBlock",
    "EDSRNetwork",
    "ResidualBlock",
    "ResidualGroup",
    "ShiftedConv",
    "channels_last",
    "conv",
    "full_precision",
    "sub_pixel_upsampler",
]
