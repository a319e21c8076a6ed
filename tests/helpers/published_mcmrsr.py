"""The published McMRSR in numpy float64, written down from its description; tensors have the names of its checkpoints.

Images are (2, H, W) of values v, real and imaginary part, features (C, H, W): one slice at a time, blocks and windows in loops.
Nothing of the package is used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

Array = NDArray[np.float64]
Weights = dict[str, Array]
Shapes = dict[str, tuple[int, ...]]


def shapes(width: int, groups: int, depth: int, heads: int, blocks: tuple[int, int, int]) -> Shapes:
    """The checkpoint's tensors by name, but for masks and indices, which follow from the image."""
    out: Shapes = {}

    def put(name: str, *shape: int) -> None:
        out[f"{name}.weight"], out[f"{name}.bias"] = shape, shape[:1]

    def residual(name: str) -> None:
        put(f"{name}.conv1", width, width, 3, 3)
        put(f"{name}.conv2", width, width, 3, 3)

    put("conv2d.conv_L1", width, 2, 3, 3)
    residual("conv2d.blk_L1.0")
    residual("conv2d.blk_L1.1")
    put("conv_first", width, 2, 3, 3)
    put("conv_second", width, width, 3, 3)
    put("conv_third", width, width, 3, 3)
    put("patch_embed.norm", width)
    for group in range(groups):
        for block in range(depth):
            at = f"layers.{group}.residual_group.blocks.{block}"
            put(f"{at}.norm1", width)
            out[f"{at}.attn.relative_position_bias_table"] = (225, heads)
            put(f"{at}.attn.qkv", 3 * width, width)
            put(f"{at}.attn.proj", width, width)
            put(f"{at}.norm2", width)
            put(f"{at}.mlp.fc1", 2 * width, width)
            put(f"{at}.mlp.fc2", width, 2 * width)
        put(f"layers.{group}.conv", width, width, 3, 3)
    put("norm", width)
    put("conv_after_RSTB", width, width, 3, 3)
    put("MAB.SAB.conv_shared.0", width, 2 * width, 3, 3)
    put("MAB.SAB.conv_gamma", width, width, 3, 3)
    put("MAB.SAB.conv_beta", width, width, 3, 3)
    for merging in ("JRFAB", "JRFAB_same_scale"):
        for part in ("down_a", "up_a", "down_b", "up_b"):
            put(f"MAB.{merging}.conv_{part}", width, width, 3, 3)
        put(f"MAB.{merging}.conv_cat", width, 2 * width, 3, 3)
    for factor, count in zip((1, 2, 4), blocks, strict=True):
        for block in range(count):
            residual(f"MAB.blk_x{factor}.{block}")
    put("MAB.conv_out", 2, width, 3, 3)
    return out


def run(s: Weights, target_lr: Array, auxiliary_lr: Array, auxiliary: Array, scale: int) -> Array:
    """The whole network: values v in, values v out, (v + 1) / 2 between; zero padding comes after that mapping."""
    target, low, high = ((v + 1) / 2 for v in (target_lr, auxiliary_lr, auxiliary))
    levels: list[Array] = []
    for name, stride in (("conv_first", 1), ("conv_second", 2), ("conv_third", 2))[: {2: 2, 4: 3}[scale]]:
        high = transformer(s, conv(s, name, high, stride))
        levels.insert(0, high)
    target, low = transformer(s, shallow(s, target)), transformer(s, shallow(s, low))
    return 2 * conv(s, "MAB.conv_out", aggregated(s, target, matched(target, low, levels))) - 1


# --- layers


def conv(s: Weights, name: str, x: Array, stride: int = 1) -> Array:
    """3 x 3, padded with one zero all round."""
    weight, (_, h, w) = s[f"{name}.weight"], x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    total = np.zeros((len(weight), h // stride, w // stride))
    for i, j in np.ndindex(3, 3):
        total += np.tensordot(weight[:, :, i, j], padded[:, i : i + h : stride, j : j + w : stride], 1)
    return total + s[f"{name}.bias"][:, None, None]


def doubling_conv(s: Weights, name: str, x: Array) -> Array:
    """Transposed 3 x 3, stride 2, to twice the size: pixel i goes to 2 i - 1, 2 i and 2 i + 1."""
    weight, (_, h, w) = s[f"{name}.weight"], x.shape
    total = np.zeros((weight.shape[1], 2 * h + 1, 2 * w + 1))
    for i, j in np.ndindex(3, 3):
        total[:, i : i + 2 * h : 2, j : j + 2 * w : 2] += np.tensordot(weight[:, :, i, j].T, x, 1)
    return total[:, 1:, 1:] + s[f"{name}.bias"][:, None, None]


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def residual(s: Weights, name: str, x: Array) -> Array:
    return x + conv(s, f"{name}.conv2", relu(conv(s, f"{name}.conv1", x)))


def shallow(s: Weights, x: Array) -> Array:
    x = relu(conv(s, "conv2d.conv_L1", x))
    return residual(s, "conv2d.blk_L1.1", residual(s, "conv2d.blk_L1.0", x))


# --- transformer; tokens are (h, w, C)


def transformer(s: Weights, x: Array) -> Array:
    tokens = layer_norm(s, "patch_embed.norm", x.transpose(1, 2, 0))
    for group in range(sum(name.endswith(".conv.weight") for name in s if name.startswith("layers."))):
        y, at = tokens, f"layers.{group}.residual_group.blocks"
        for block in range(sum(name.startswith(f"{at}.") and name.endswith("norm1.weight") for name in s)):
            name = f"{at}.{block}"
            y = y + attention(s, f"{name}.attn", layer_norm(s, f"{name}.norm1", y), 4 * (block % 2))
            hidden = linear(s, f"{name}.mlp.fc1", layer_norm(s, f"{name}.norm2", y))
            y = y + linear(s, f"{name}.mlp.fc2", hidden * (1 + erf(hidden / np.sqrt(2))) / 2)
        tokens = tokens + conv(s, f"layers.{group}.conv", y.transpose(2, 0, 1)).transpose(1, 2, 0)
    return x + conv(s, "conv_after_RSTB", layer_norm(s, "norm", tokens).transpose(2, 0, 1))


def layer_norm(s: Weights, name: str, x: Array) -> Array:
    normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return normed * s[f"{name}.weight"] + s[f"{name}.bias"]


def linear(s: Weights, name: str, x: Array) -> Array:
    return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]


def attention(s: Weights, name: str, x: Array, shift: int) -> Array:
    """In windows of 8 x 8 that begin at ``shift``, round the edge; but only among tokens that are neighbours in the image."""
    h, w, width = x.shape
    table = s[f"{name}.relative_position_bias_table"]
    heads = table.shape[1]
    place = np.array(list(np.ndindex(8, 8)))
    apart = place[:, None] - place[None] + 7
    bias = table[apart[..., 0] * 15 + apart[..., 1]]
    out = np.zeros_like(x)
    for top, left in np.ndindex(h // 8, w // 8):
        rows, columns = 8 * top + shift + place[:, 0], 8 * left + shift + place[:, 1]
        where = (rows % h, columns % w)
        beyond = 2 * (rows // h) + columns // w
        strangers = beyond[:, None] != beyond[None]
        q, k, v = np.split(linear(s, f"{name}.qkv", x[where]), 3, axis=-1)
        mixed = []
        for part in np.split(np.arange(width), heads):
            logits = q[:, part] @ k[:, part].T / np.sqrt(width // heads) + bias[..., len(mixed)]
            weight = np.exp(logits - logits.max(-1, keepdims=True)) * ~strangers
            mixed.append(weight / weight.sum(-1, keepdims=True) @ v[:, part])
        out[where] = linear(s, f"{name}.proj", np.concatenate(mixed, -1))
    return out


# --- matching


def matched(target: Array, low: Array, levels: Sequence[Array]) -> list[Array]:
    """Per level, features (C, f*h, f*w) found in the auxiliary for every block of the target, times their similarity."""
    out = [np.zeros_like(level) for level in levels]
    for block in np.ndindex(target.shape[1] // 8, target.shape[2] // 8):
        corner = region_corner(target, low, block)
        index, similarity = fine(target, block, region_of(low, corner))
        for found, level in zip(out, levels, strict=True):
            f = level.shape[1] // low.shape[1]
            values = transferred(region_of(level, corner, f), index, f) * enlarged(similarity, f)
            found[:, 8 * f * block[0] :, 8 * f * block[1] :][:, : 8 * f, : 8 * f] = values
    return out


def rimmed_block(target: Array, block: tuple[int, int]) -> Array:
    """(C, 10, 10): a block with the pixels around it, the map's edge repeated."""
    padded = np.pad(target, ((0, 0), (1, 1), (1, 1)), mode="edge")
    return padded[:, 8 * block[0] :, 8 * block[1] :][:, :10, :10]


def best_position(target: Array, low: Array, block: tuple[int, int]) -> tuple[int, int]:
    """Where in the auxiliary the middle of a block looks most alike: cosines of 3 x 3 samples 1, 2 and 3 pixels apart, summed."""
    own, (_, h, w) = rimmed_block(target, block), low.shape
    total = np.zeros((h, w))
    for d in (1, 2, 3):
        wide = np.pad(low, ((0, 0), (d, d), (d, d)))
        product, energy, own_energy = np.zeros((h, w)), np.zeros((h, w)), 0.0
        for i, j in np.ndindex(3, 3):
            theirs, mine = wide[:, i * d : i * d + h, j * d : j * d + w], own[:, 5 + (i - 1) * d, 5 + (j - 1) * d]
            product += np.tensordot(mine, theirs, 1)
            energy += (theirs**2).sum(0)
            own_energy += float((mine**2).sum())
        total += product / np.sqrt(energy * own_energy)
    row, column = divmod(int(total.argmax()), w)
    return row, column


def region_corner(target: Array, low: Array, block: tuple[int, int]) -> tuple[int, int]:
    """The first row and column of the 15 x 15 pixels around the best position, moved to lie inside the map; 0 in a smaller map."""
    row, column = (
        min(max(best - 7, 0), max(n - 15, 0))
        for best, n in zip(best_position(target, low, block), low.shape[1:], strict=True)
    )
    return row, column


def region_of(level: Array, corner: tuple[int, int], f: int = 1) -> Array:
    """(C, 15 f, 15 f), or less where the map is smaller."""
    return level[:, f * corner[0] :, f * corner[1] :][:, : 15 * f, : 15 * f]


def fine(target: Array, block: tuple[int, int], region: Array) -> tuple[NDArray[np.int64], Array]:
    """For each of a block's 8 x 8 pixels the most similar 3 x 3 patch of a region: its row and column (8, 8, 2), and the cosine."""
    own, (_, rows, columns) = rimmed_block(target, block), region.shape
    places = list(np.ndindex(rows - 2, columns - 2))
    patches = np.stack([region[:, y : y + 3, x : x + 3].ravel() for y, x in places])
    patches /= np.linalg.norm(patches, axis=1, keepdims=True)
    index, similarity = np.zeros((8, 8, 2), np.int64), np.zeros((8, 8))
    for y, x in np.ndindex(8, 8):
        mine = own[:, y : y + 3, x : x + 3].ravel()
        scores = patches @ mine / np.linalg.norm(mine)
        index[y, x], similarity[y, x] = places[int(scores.argmax())], scores.max()
    return index, similarity


def transferred(region: Array, index: NDArray[np.int64], f: int) -> Array:
    """(C, 8 f, 8 f): the 3 f x 3 f patches found for each pixel laid over each other, f pixels apart; means where they overlap."""
    total, hits = np.zeros((len(region), 10 * f, 10 * f)), np.zeros((10 * f, 10 * f))
    for y, x in np.ndindex(8, 8):
        a, b = index[y, x]
        total[:, f * y : f * (y + 3), f * x : f * (x + 3)] += region[:, f * a : f * (a + 3), f * b : f * (b + 3)]
        hits[f * y : f * (y + 3), f * x : f * (x + 3)] += 1
    return (total / hits)[:, f:-f, f:-f]


def enlarged(similarity: Array, f: int) -> Array:
    """(8 f, 8 f) of one block's (8, 8): linear between, corner on corner."""
    along = np.zeros((8 * f, 8))
    for i, at in enumerate(np.linspace(0, 7, 8 * f)):
        k = min(int(at), 6)
        along[i, k], along[i, k + 1] = k + 1 - at, at - k
    return along @ similarity @ along.T


# --- aggregation


def aggregated(s: Weights, target: Array, found: Sequence[Array]) -> Array:
    """Features before the last convolution, from the target's and those matched at 1, 2 (, 4) times their size."""
    x = merged(s, "MAB.JRFAB_same_scale", target, adapted(s, target, found[0]))
    x = chain(s, "MAB.blk_x1", x)
    for factor, reference in zip((2, 4), found[1:], strict=False):
        x = merged(s, "MAB.JRFAB", x, adapted(s, doubled(x), reference))
        x = chain(s, f"MAB.blk_x{factor}", x)
    return x


def chain(s: Weights, name: str, x: Array) -> Array:
    for block in range(sum(n.startswith(f"{name}.") and n.endswith("conv1.weight") for n in s)):
        x = residual(s, f"{name}.{block}", x)
    return x


def doubled(x: Array) -> Array:
    """Bilinear, to twice the size: the centres of new pixels at quarters of the old, edges repeated."""
    for axis in (1, 2):
        n = x.shape[axis]
        at = np.clip((np.arange(2 * n) + 0.5) / 2 - 0.5, 0, n - 1)
        before = np.minimum(at.astype(int), n - 1)
        after = np.minimum(before + 1, n - 1)
        weight = (at - before).reshape([-1 if a == axis else 1 for a in range(3)])
        x = x.take(before, axis) * (1 - weight) + x.take(after, axis) * weight
    return x


def adapted(s: Weights, target: Array, reference: Array) -> Array:
    """SAB."""
    style = relu(conv(s, "MAB.SAB.conv_shared.0", np.concatenate((target, reference))))
    gamma = conv(s, "MAB.SAB.conv_gamma", style) + target.std((1, 2), ddof=1, keepdims=True)
    beta = conv(s, "MAB.SAB.conv_beta", style) + target.mean((1, 2), keepdims=True)
    spread = np.sqrt(reference.var((1, 2), keepdims=True) + 1e-5)
    return (reference - reference.mean((1, 2), keepdims=True)) / spread * gamma + beta


def merged(s: Weights, name: str, low: Array, high: Array) -> Array:
    """JRFAB; in its same-scale form plain convolutions take the place of those that halve and double."""
    same = name.endswith("same_scale")

    def down(part: str) -> Array:
        return relu(conv(s, f"{name}.conv_{part}", high, 1 if same else 2))

    def up(part: str, x: Array) -> Array:
        return relu(conv(s, f"{name}.conv_{part}", x) if same else doubling_conv(s, f"{name}.conv_{part}", x))

    u = up("up_a", down("down_a") - low) + high
    v = up("up_b", low - down("down_b") + low)
    return relu(conv(s, f"{name}.conv_cat", np.concatenate((u, v))))
