"""The picture of brain-sim in the documentation: ``python -m mcsr_bench.datasets.brain_sim.picture FILE.png``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mcsr_bench.errors import UserError
from mcsr_bench.kspace import truncate, zero_fill
from mcsr_bench.system.files import replacing

from .simulate import generate_subject

_SUBJECTS = (0, 5, 7, 18)
_SLICE_OF = (0, 1, 2, 3)  # another level in every row
_SCALE = 4
_MARGIN = 1 / 13  # share of air that is cut off on every side
_CAPTION = """\
brain-sim: simulated brains, not patient data. Anatomy derived from the ICBM152 2009a T1 template (via nilearn); folding,
skull, scalp and lesions are random and each subject's own. Spin-echo contrasts, complex k-space of {size} x {size}.
LR: the central {low} x {low} samples of k-space, zero-filled; its PSNR is over the subject's volume, peak = volume maximum.
Phase is shown where there is signal, from -π to π."""


def draw(path: Path, size: int = 128) -> None:
    """Draw some subjects (magnitude of both contrasts, zero-filled LR, phase) into an image file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    titles = ("T1w (auxiliary)", "T2w (target)", f"T2w LR, {_SCALE}x, zero-filled", "phase of T1w", "phase of T2w")
    figure, axes = plt.subplots(
        len(_SUBJECTS),
        len(titles),
        figsize=(2.6 * len(titles), 2.6 * len(_SUBJECTS) + 0.95),
        facecolor="black",
        squeeze=False,
    )
    for row, (subject, which) in enumerate(zip(_SUBJECTS, _SLICE_OF, strict=True)):
        images = generate_subject(subject, size=size)
        t1, t2 = images["T1w"], images["T2w"]
        low = _zero_filled(t2)
        window1, window2 = np.percentile(np.abs(t1), 97), np.percentile(np.abs(t2), 99.7)
        grey: list[tuple[NDArray[np.float32], float]] = [
            (np.abs(t1[which]), float(window1)),
            (np.abs(t2[which]), float(window2)),
            (np.abs(low[which]), float(window2)),
        ]
        for column, (image, window) in enumerate(grey):
            axes[row, column].imshow(_cut(image), cmap="gray", vmin=0, vmax=window)
        for column, image in ((3, t1[which]), (4, t2[which])):
            seen = np.abs(image) > 0.1 * np.abs(image).max()
            phase = np.ma.masked_where(~seen, np.angle(image))
            axes[row, column].imshow(_cut(phase), cmap="twilight", vmin=-np.pi, vmax=np.pi, interpolation="nearest")
        note = f"PSNR {_psnr(np.abs(low), np.abs(t2)):.1f} dB"
        axes[row, 2].text(0.03, 0.03, note, color="white", fontsize=10, transform=axes[row, 2].transAxes)
        axes[row, 0].text(
            0.03, 0.03, f"subject {subject}", color="white", fontsize=10, transform=axes[row, 0].transAxes
        )
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, color="white", fontsize=12)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.text(0.01, 0.012, _CAPTION.format(size=size, low=size // _SCALE), color="white", fontsize=10, va="bottom")
    top = 1.15 / figure.get_figheight()
    figure.subplots_adjust(left=0.005, right=0.995, top=0.97, bottom=top, wspace=0.02, hspace=0.02)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=80, facecolor="black", metadata={"Software": None})
    plt.close(figure)


def _cut(image: NDArray[Any]) -> NDArray[Any]:
    margin = int(_MARGIN * len(image))
    return image[margin:-margin, margin:-margin]


def _zero_filled(images: NDArray[np.complex64]) -> NDArray[np.complex64]:
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
