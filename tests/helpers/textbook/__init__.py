"""The trained methods as a careful student would write them from the papers, in plain PyTorch: what the suite is compared with.

One file per method. Nothing here imports the suite, so that agreement with it means something (`tests/methods/
test_textbook_builds.py`), and so that a ratio of the two times says what the suite's own care is worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import edsr, lyu, mcmrsr, minet, sanet, smore, zeng
from .training import Build, Images

_BUILDS = {
    "sanet": sanet.SANet,
    "minet": minet.MINet,
    "edsr": edsr.EDSR,
    "mcmrsr": mcmrsr.McMRSR,
    "smore": smore.SMORE,
    "zeng": zeng.Zeng,
    "lyu": lyu.Lyu,
}
NAMES = tuple(_BUILDS)


def build(name: str, scale: int, settings: Mapping[str, Any]) -> Build:
    """The textbook build of a method; settings: the values of a preset, by the names that the cards use."""
    return _BUILDS[name](scale, settings)


__all__ = ["NAMES", "Build", "Images", "build"]
