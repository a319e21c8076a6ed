"""State dicts like those of released checkpoints, and what their networks compute: written down from published descriptions.

The forward passes below work on the checkpoints' own names and know nothing of the package's networks.
"""

from __future__ import annotations

import csv
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

Table = dict[str, tuple[tuple[int, ...], str]]
"""Name -> (shape, role); role: live, dead or buffer."""

FOLDER = Path(__file__).parents[3] / "shared" / "released-keys"


def read_table(name: str) -> Table:
    """A table of the development folder. FileNotFoundError where it is not."""
    with (FOLDER / name).open(newline="") as file:
        rows = list(csv.DictReader(file))
    shapes = {r["key"]: () if r["shape"] == "scalar" else tuple(map(int, r["shape"].split("x"))) for r in rows}
    return {r["key"]: (shapes[r["key"]], r["role"]) for r in rows}


def filled(table: Table, seed: int = 0) -> dict[str, Tensor]:
    """Random values; batch statistics as they must be, and gates far from the 0 at which they start."""
    generator = torch.Generator().manual_seed(seed)
    out = {}
    for name, (shape, _) in table.items():
        if name.endswith("num_batches_tracked"):
            out[name] = torch.tensor(7)
        elif name.endswith(("relative_position_index", "attn_mask")):
            out[name] = torch.zeros(shape, dtype=torch.int64 if "index" in name else torch.float32)
        else:
            fan_in = torch.Size(shape[1:]).numel() if len(shape) > 1 else 1
            value = torch.randn(shape, generator=generator) * (0.7 / fan_in**0.5 if len(shape) > 1 else 0.3)
            out[name] = value.abs() + 0.5 if name.endswith(("running_var", "gamma")) else value
    return out


def sanet_table(width: int = 8, blocks: int = 1, scale: int = 2) -> Table:
    """The released SANet by hand: 6 residual groups in each branch of which 4 run, a third branch, and modules never called."""
    c, half, table = width, width // 2, Table()

    def put(name: str, *shape: int, role: str = "live", bias: bool = True) -> None:
        table[f"{name}.weight"] = (shape, role)
        if bias:
            table[f"{name}.bias"] = (shape[:1], role)

    def norm(name: str, n: int, role: str) -> None:
        put(name, n, role=role)
        for statistic, shape in (("running_mean", (n,)), ("running_var", (n,)), ("num_batches_tracked", ())):
            table[f"{name}.{statistic}"] = (shape, "buffer")

    def body(branch: str, live: int) -> None:
        for group in range(6):
            role = "live" if group < live else "dead"
            for block in range(blocks):
                at = f"{branch}body.{group}.body.{block}.body"
                put(f"{at}.0", c, c, 3, 3, role=role)
                put(f"{at}.2", c, c, 3, 3, role=role)
                put(f"{at}.3.conv_du.0", 4, c, 1, 1, role=role)
                put(f"{at}.3.conv_du.2", c, 4, 1, 1, role=role)
            put(f"{branch}body.{group}.body.{blocks}", c, c, 3, 3, role=role)
        put(f"{branch}body.6", c, c, 3, 3, role="dead")

    def ends(branch: str, live: tuple[str, ...]) -> None:
        def role(name: str) -> str:
            return "live" if name in live else "dead"

        table[f"{branch}csa.gamma"] = ((1,), role("csa"))
        put(f"{branch}csa.conv", 1, 1, 3, 3, 3, role=role("csa"))
        table[f"{branch}la.gamma"] = ((1,), role("la"))
        put(f"{branch}last_conv", c, 8 * c, 3, 3, role=role("last_conv"))
        put(f"{branch}last", c, 2 * c, 3, 3, role=role("last"))
        put(f"{branch}last1", c, c, 3, 3, role=role("last1"))

    def tail(branch: str, role: str) -> None:
        for step in {2: (0,), 4: (0, 2)}[scale]:
            put(f"{branch}tail.0.{step}", 4 * c, c, 3, 3, role=role)
        put(f"{branch}tail.1", c, c, 3, 3, role=role)

    def layers(name: str, inside: str, role: str) -> None:
        put(f"{name}.{inside}.0", half, c if "enlayer" in inside else half, 3, 3, role=role)
        norm(f"{name}.{inside}.1", half, role)

    for stage in range(4):
        put(f"Seatts.{stage}.reduce", half, 2 * c, 1, 1)
        for inside in ("ff_conv", "bf_conv", "rgbd_pred_layer.enlayer"):
            layers(f"Seatts.{stage}", inside, "live")
        put(f"Seatts.{stage}.rgbd_pred_layer.outlayer.0", c, half, 1, 1)
        put(f"Seatts.{stage}.convq", half, half, 3, 3, role="dead")
    for branch, live in (("net1.", ("csa", "last1")), ("net2.", ("csa", "la", "last_conv", "last"))):
        put(f"{branch}add_mean", 3, 3, 1, 1, role="dead")
        put(f"{branch}head.0", c, 1, 3, 3)
        body(branch, 4)
        ends(branch, live)
        tail(branch, "dead")
        put(f"{branch}final", 1, c, 3, 3)
    body("", 0)
    ends("", ())
    tail("", "live")
    put("conv1", c, 2 * c, 3, 3, role="dead")
    for stage in range(7):
        put(f"fusion_convs.{stage}", c, 2 * c, 3, 3, role="dead")
        put(f"map_convs.{stage}", 1, c, 3, 3, role="live" if stage < 4 else "dead")
    layers("rgbd_global", "enlayer", "dead")
    put("rgbd_global.outlayer.0", c, half, 1, 1, role="dead")
    return table


def small_sanet(scale: int = 2, seed: int = 0, **sizes: int) -> dict[str, Tensor]:
    """A filled `sanet_table`, 8 channels wide."""
    return filled(sanet_table(scale=scale, **sizes), seed)


def edsr_table(blocks: int = 16, width: int = 64, scale: int = 2, channels: int = 3) -> Table:
    """EDSR as sanghyun-son/EDSR-PyTorch names it; the mean shifts are fixed, and nothing is dead."""
    table = Table()

    def put(name: str, *shape: int, role: str = "live") -> None:
        table[f"{name}.weight"], table[f"{name}.bias"] = (shape, role), (shape[:1], role)

    if channels == 3:
        put("sub_mean", 3, 3, 1, 1, role="dead")
        put("add_mean", 3, 3, 1, 1, role="dead")
    put("head.0", width, channels, 3, 3)
    for block in range(blocks):
        put(f"body.{block}.body.0", width, width, 3, 3)
        put(f"body.{block}.body.2", width, width, 3, 3)
    put(f"body.{blocks}", width, width, 3, 3)
    for step, factor in {2: ((0, 2),), 3: ((0, 3),), 4: ((0, 2), (2, 2))}[scale]:
        put(f"tail.0.{step}", width * factor**2, width, 3, 3)
    put("tail.1", channels, width, 3, 3)
    return table


def run_edsr(s: dict[str, Tensor], x: Tensor, residual_factor: float) -> Tensor:
    """Images (B, C, h, w) of 0 to 255 to (B, C, s*h, s*w)."""
    if "sub_mean.weight" in s:
        x = F.conv2d(x, s["sub_mean.weight"], s["sub_mean.bias"])
    x = first = _conv(s, "head.0", x)
    blocks = sum(name.startswith("body.") and name.endswith("body.0.weight") for name in s)
    for block in range(blocks):
        at = f"body.{block}.body"
        x = x + residual_factor * _conv(s, f"{at}.2", _conv(s, f"{at}.0", x).relu())
    x = _conv(s, "tail.1", _upsampled(s, first + _conv(s, f"body.{blocks}", x)))
    return F.conv2d(x, s["add_mean.weight"], s["add_mean.bias"]) if "add_mean.weight" in s else x


def run_sanet(s: dict[str, Tensor], auxiliary: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
    """The released SANet, in evaluation: (target, auxiliary) of auxiliary (B, 1, H, W) and low (B, 1, h, w)."""
    return _two_branches(s, auxiliary, low, [_separable(s, stage) for stage in range(4)])


def run_minet(s: dict[str, Tensor], auxiliary: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
    """MINet with its last convolution corrected."""
    fusions = sum(name.startswith("fusion_convs.") and name.endswith(".weight") for name in s)
    concat = [
        lambda a, t, stage=stage: t + _conv(s, f"fusion_convs.{stage}", torch.cat((a, t), 1))
        for stage in range(fusions)
    ]
    return _two_branches(s, auxiliary, low, concat)


def _two_branches(s, auxiliary, low, fusions) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
    """The stages of SANet and MINet: as many as there are fusions."""
    a = first_a = _conv(s, "net1.head.0", auxiliary)
    t = first_t = _conv(s, "tail.1", _upsampled(s, _conv(s, "net2.head.0", low)))
    maps_a, maps_t = [], []
    for stage, fuse in enumerate(fusions):
        a, t = _stage(s, f"net1.body.{stage}", a), _stage(s, f"net2.body.{stage}", t)
        maps_a.append(a)
        maps_t.append(t)
        t = fuse(a, t)
    stack = torch.stack(maps_a + maps_t, 1)
    flat = stack.flatten(2)
    energy = flat @ flat.transpose(1, 2)
    weights = (energy.amax(-1, keepdim=True) - energy).softmax(-1)
    mixed = s["net2.la.gamma"] * (weights @ flat) + flat
    integrated = _conv(s, "net2.last_conv", mixed.view_as(stack).flatten(1, 2))
    feature = _conv(s, "net2.last", torch.cat((_gated(s, "net2.csa", t), integrated), 1))
    target = _conv(s, "net2.final", feature + first_t)
    return target, _conv(s, "net1.final", _conv(s, "net1.last1", _gated(s, "net1.csa", a)) + first_a)


def _conv(s: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    weight = s[f"{name}.weight"]
    return F.conv2d(x, weight, s[f"{name}.bias"], padding=weight.shape[-1] // 2)


def _upsampled(s: dict[str, Tensor], x: Tensor) -> Tensor:
    for step in (0, 2):
        if f"tail.0.{step}.weight" in s:
            x = _conv(s, f"tail.0.{step}", x)
            x = F.pixel_shuffle(x, round((s[f"tail.0.{step}.weight"].shape[0] / s["tail.1.weight"].shape[1]) ** 0.5))
    return x


def _stage(s: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """A residual group, or the one convolution that ends MINet's body."""
    if f"{name}.weight" in s:
        return _conv(s, name, x)
    y, block = x, 0
    while f"{name}.body.{block}.body.0.weight" in s:
        at = f"{name}.body.{block}.body"
        z = _conv(s, f"{at}.2", _conv(s, f"{at}.0", y).relu())
        squeezed = _conv(s, f"{at}.3.conv_du.0", z.mean((2, 3), keepdim=True)).relu()
        y = y + z * _conv(s, f"{at}.3.conv_du.2", squeezed).sigmoid()
        block += 1
    return x + _conv(s, f"{name}.body.{block}", y)


def _gated(s: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    gate = F.conv3d(x[:, None], s[f"{name}.conv.weight"], s[f"{name}.conv.bias"], padding=1)[:, 0].sigmoid()
    return x + s[f"{name}.gamma"] * gate * x


def _separable(s, stage):  # type: ignore[no-untyped-def]
    def layers(name: str, x: Tensor) -> Tensor:
        at = f"Seatts.{stage}.{name}"
        norm = [s[f"{at}.1.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(_conv(s, f"{at}.0", x), *norm).relu()

    def fuse(a: Tensor, t: Tensor) -> Tensor:
        prior = _conv(s, f"map_convs.{stage}", a).sigmoid()
        fused = _conv(s, f"Seatts.{stage}.reduce", torch.cat((a, t), 1))
        both = torch.cat((layers("ff_conv", fused * prior), layers("bf_conv", fused * (1 - prior))), 1)
        return t + _conv(s, f"Seatts.{stage}.rgbd_pred_layer.outlayer.0", layers("rgbd_pred_layer.enlayer", both))

    return fuse
