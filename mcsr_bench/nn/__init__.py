"""Building blocks that methods share: `blocks` for any network, `two_branch` for those with a branch per contrast."""

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

__all__ = [
    "ChannelAttention",
    "ChannelAttentionBlock",
    "EDSRNetwork",
    "ResidualBlock",
    "ResidualGroup",
    "ShiftedConv",
    "conv",
    "sub_pixel_upsampler",
]
