"""The picture of brain-sim in the documentation: ``python -m mcsr_bench.datasets.brain_sim.picture FILE.png``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mcsr_bench.errors import UserError
from mcsr_bench.kspace import truncate, zero_fill
from mcsr_bench.plugin.case import Case
from mcsr_bench.system.files import replacing

from . import BrainSim, BrainSimSettings
from .likeness import REAL, detail, ellipse, shared_detail

Image = NDArray[Any]

_SHOWN = (0, 5, 7, 18)
_SLICE_OF = (0, 1, 2, 3)  # another level in every row
_SCALE = 4
_MARGIN = 1 / 13  # share of air that is cut off on every side
_TITLES = (
    "T1w (auxiliary)",
    "T2w (target)",
    f"T2w LR, {_SCALE}x, zero-filled",
    "detail of T1w",
    "detail of T2w",
    "phase of T1w",
    "phase of T2w",
)
_CAPTION = """\
brain-sim: simulated brains, not patient data. Anatomy derived from the ICBM152 2009a T1 template (via nilearn); folding, skull,
scalp and lesions are random and each subject's own. Spin-echo contrasts, T1w with inversion and fat saturation; complex k-space
of {size} x {size}. LR: the central {low} x {low} samples of k-space, zero-filled; its PSNR is over the subject's volume,
peak = volume maximum.

Detail: the magnitude less that of the zero-filled LR, in an ellipse inside the brain. I is the mutual information (nats) of the
two details over the subject's volume, r their correlation. Right: all {subjects} subjects, each with its own residual motion
between the contrasts, beside one real patient (open_ms 07; T1 and T2 aligned, skull removed), measured in the same way.
Mean of the subjects: {mean}. Real patient: {real}.

Phase is shown where there is signal, from -π to π."""


def draw(path: Path, size: int = 128, subjects: int = 60) -> None:
    """Draw four subjects (contrasts, zero-filled LR, detail, phase), and the shared detail of ``subjects``, into an image file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    data = BrainSim("brain-sim", BrainSimSettings(size=size))
    cases = data.cases()
    volumes = {number: _volume(data, cases[number]) for number in sorted({*_SHOWN, *range(subjects)})}
    shared = {number: shared_detail(*volume) for number, volume in volumes.items()}
    figure, axes = plt.subplots(
        len(_SHOWN),
        len(_TITLES),
        figsize=(2.2 * len(_TITLES), 2.2 * len(_SHOWN) + 3.1),
        facecolor="black",
        squeeze=False,
    )
    for row, number, which in zip(axes, _SHOWN, _SLICE_OF, strict=True):
        _draw_subject(row, *volumes[number], which)
        _write(row[0], f"subject {number}")
        _write(row[4], _in_words(shared[number]))
    for axis, title in zip(axes[0], _TITLES, strict=True):
        axis.set_title(title, color="white", fontsize=12)
    top = 3.0 / figure.get_figheight()
    figure.subplots_adjust(left=0.005, right=0.995, top=0.97, bottom=top, wspace=0.02, hspace=0.02)
    points = np.array([shared[number] for number in range(subjects)])
    _draw_shared(figure.add_axes((0.735, 0.055, 0.25, 0.78 * top)), points)
    mean, real = _in_words(points.mean(axis=0)), _in_words(REAL)
    caption = _CAPTION.format(size=size, low=size // _SCALE, subjects=subjects, mean=mean, real=real)
    figure.text(0.008, 0.9 * top, caption, color="white", fontsize=10.5, va="top", linespacing=1.35)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=80, facecolor="black", metadata={"Software": None})
    plt.close(figure)


def _volume(data: BrainSim, case: Case) -> tuple[Image, Image]:
    target, auxiliary = (np.stack(images) for images in zip(*data.read(case), strict=True))
    return target, auxiliary


def _in_words(shared: Sequence[float]) -> str:
    return f"I = {shared[0]:.2f}, r = {shared[1]:.2f}".replace("-", "\N{MINUS SIGN}")


def _draw_subject(row: Image, target: Image, auxiliary: Image, which: int) -> None:
    """One row of images: slice ``which`` of a target and an auxiliary volume."""
    low = _zero_filled(target)
    window1, window2 = np.percentile(np.abs(auxiliary), 99.5), np.percentile(np.abs(target), 99.7)
    for axis, image, window in ((row[0], auxiliary, window1), (row[1], target, window2), (row[2], low, window2)):
        axis.imshow(_cut(np.abs(image[which])), cmap="gray", vmin=0, vmax=window)
    _write(row[2], f"PSNR {_psnr(np.abs(low), np.abs(target)):.1f} dB")
    inside = ellipse(*target.shape[1:])
    for axis, images in ((row[3], auxiliary), (row[4], target)):
        high = np.ma.masked_where(~inside, detail(images, _SCALE)[which])
        window = 2.5 * high.std()
        half = np.count_nonzero(inside.any(axis=1)) // 2 + 2
        middle = slice(len(high) // 2 - half, len(high) // 2 + half)
        axis.imshow(high[middle, middle], cmap="gray", vmin=-window, vmax=window)
    for axis, image in ((row[5], auxiliary[which]), (row[6], target[which])):
        seen = np.abs(image) > 0.1 * np.abs(image).max()
        phase = np.ma.masked_where(~seen, np.angle(image))
        axis.imshow(_cut(phase), cmap="twilight", vmin=-np.pi, vmax=np.pi, interpolation="nearest")
    for axis in row:
        axis.set_axis_off()


def _draw_shared(axis: Any, points: NDArray[np.float64]) -> None:
    """Mutual information over correlation: (subjects, 2) beside the real one."""
    axis.set_facecolor("black")
    axis.plot(points[:, 1], points[:, 0], "o", color="#7fc7ff", markersize=4, label="brain-sim")
    axis.plot(REAL[1], REAL[0], "*", color="#ffb000", markersize=15, label="real patient")
    axis.set(xlim=(-1, 0), ylim=(0, 1))
    axis.set_xlabel("correlation r of the details", color="white")
    axis.set_ylabel("mutual information I (nats)", color="white")
    axis.tick_params(colors="white")
    for spine in axis.spines.values():
        spine.set_color("white")
    axis.legend(loc="upper right", facecolor="black", edgecolor="none", labelcolor="white", fontsize=10)


def _write(axis: Any, text: str) -> None:
    box = {"facecolor": "black", "alpha": 0.7, "pad": 1, "linewidth": 0}
    axis.text(0.03, 0.03, text, color="white", fontsize=10, bbox=box, transform=axis.transAxes)


def _cut(image: Image) -> Image:
    margin = int(_MARGIN * len(image))
    return image[margin:-margin, margin:-margin]


def _zero_filled(images: Image) -> Image:
    H, W = images.shape[-2:]
    return zero_fill(truncate(torch.from_numpy(images), (H // _SCALE, W // _SCALE)), (H, W)).numpy()


def _psnr(image: NDArray[np.floating], reference: NDArray[np.floating]) -> float:
    error = np.mean((image.astype(np.float64) - reference.astype(np.float64)) ** 2)
    return float(10 * np.log10(float(reference.max()) ** 2 / error))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m mcsr_bench.datasets.brain_sim.picture FILE.png")
    try:
        draw(Path(sys.argv[1]))
    except UserError as mistake:
        sys.exit(str(mistake))
