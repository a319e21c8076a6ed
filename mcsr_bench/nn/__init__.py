"""What networks of methods share: `blocks` for any, `two_branch` for those with a branch per contrast, `layout` in memory."""

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

__all__ = [
    "ChannelAttention",
    "ChannelAttentionBlock",
    "EDSRNetwork",
    "ResidualBlock",
    "ResidualGroup",
    "ShiftedConv",
    "channels_last",
    "conv",
    "sub_pixel_upsampler",
]
