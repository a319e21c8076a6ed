"""The images behind a ranking: LR, auxiliary, SR of every method, HR, and error maps with one shared scale."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from mcsr_bench.protocol import get_protocol
from mcsr_bench.results import Results, TrialRecord, trial_folder
from mcsr_bench.store import StoredVolume, open_store

from .sheets import STANDARD_METRICS, Sheet

_PER_LINE = 6
_GRAY, _ERROR = "gray", "magma"

Image = NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """One method's image of the chosen slice."""

    name: str
    image: Image
    psnr: float
    ssim: float


@dataclass(frozen=True)
class Comparison:
    """What a figure shows; all images (H, W) but the LR one (h, w), magnitudes in physical units."""

    title: str
    low: Image
    aux: Image
    truth: Image
    panels: tuple[Panel, ...]
    caption: str


def comparison(sheet: Sheet, results: Results, dataset: str) -> Comparison | None:
    """The images of one dataset of a sheet; None when no trial is there. UserError when the prepared data are gone.

    The slice is chosen by rule: the patient with the median PSNR of the reference (of the first method without one), that
    patient's first volume, its middle slice, the smallest seed.
    """
    trials = [r for r in sheet.records if r.dataset_label == dataset]
    if not trials:
        return None
    reference = next((r for r in trials if r.method_label in sheet.references), trials[0])
    scores = results.volumes
    scores = scores[
        (scores["dataset"] == dataset)
        & (scores["scale"] == sheet.scale)
        & (scores["method"] == reference.method)
        & (scores["variant"] == reference.variant)
        & (scores["contrast"] == sheet.contrast)
    ]
    per_patient = scores.groupby("patient_id")[STANDARD_METRICS[0]].mean().sort_values(kind="stable")
    patient = per_patient.index[(len(per_patient) - 1) // 2]
    volume_id = str(sorted(scores[scores["patient_id"] == patient]["volume_id"])[0])
    volume = open_store(reference.data.store).volumes[volume_id]
    position = len(volume.slice_index) // 2
    order = [(row.method, row.variant) for row in sheet.rows]
    panels: list[Panel] = []
    for record in sorted(trials, key=lambda r: (order.index((r.method, r.variant)), r.seed)):
        if record.seed != min(r.seed for r in trials if r.method_label == record.method_label):
            continue  # the smallest seed stands for the method
        panels.append(_panel(record, results, volume, position, sheet.role, sheet.label(record.method, record.variant)))
    data = reference.data
    gain = get_protocol(sheet.protocol).lr_gain(sheet.scale)
    target, low = (volume.target, volume.target_lr) if sheet.role == "target" else (volume.aux, volume.aux_lr)
    return Comparison(
        title=f"{dataset}, {sheet.scale}x",
        low=_magnitude(low[position]) / gain,
        aux=_magnitude(volume.aux[position]),
        truth=_magnitude(target[position]),
        panels=tuple(panels),
        caption=(
            f"{data.target} at {sheet.scale}x with {data.auxiliary} as auxiliary. Patient {patient} (the median of "
            f"{reference.method_label} by PSNR, {volume_id}), slice {volume.slice_index[position]} (the middle "
            f"one). Errors are |SR - HR|, all on one scale. Numbers are PSNR (dB) / SSIM of this slice with the volume's maximum."
            + ("" if data.real else " Simulated, not real data.")
        ),
    )


def draw(shown: Comparison) -> Figure:
    """LR over auxiliary at the left, the methods in lines of six with their errors below, HR over the error scale at the right."""
    H, W = shown.truth.shape
    n_lines = -(-len(shown.panels) // _PER_LINE)
    n_columns = min(len(shown.panels), _PER_LINE)
    cell = 1.75
    size = (cell * (n_columns + 2), (cell * H / W + 0.36) * 2 * n_lines + 0.35)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03, wspace=0.01, hspace=0.01))
    grid = figure.add_gridspec(2 * n_lines, n_columns + 2)
    white = float(np.percentile(shown.truth, 99.7))
    errors = [np.abs(panel.image - shown.truth) for panel in shown.panels]
    worst = max(float(np.percentile(error, 99.5)) for error in errors) or 1.0
    low_name = f"LR {shown.low.shape[0]} x {shown.low.shape[1]}"
    _show(figure.add_subplot(grid[0, 0]), shown.low, _GRAY, white, low_name)
    _show(figure.add_subplot(grid[1, 0]), shown.aux, _GRAY, float(np.percentile(shown.aux, 99.7)), "auxiliary")
    _show(figure.add_subplot(grid[0, n_columns + 1]), shown.truth, _GRAY, white, "HR")
    for k, (panel, error) in enumerate(zip(shown.panels, errors, strict=True)):
        line, column = divmod(k, _PER_LINE)
        upper = figure.add_subplot(grid[2 * line, column + 1])
        _show(upper, panel.image, _GRAY, white, panel.name)
        lower = figure.add_subplot(grid[2 * line + 1, column + 1])
        _show(lower, error, _ERROR, worst, f"{panel.psnr:.2f} / {panel.ssim:.3f}", weight="normal")
    inset = figure.add_subplot(grid[1, n_columns + 1])
    inset.axis("off")
    scale = ScalarMappable(Normalize(0, worst / white * 100), _ERROR)
    bar = figure.colorbar(scale, cax=inset.inset_axes((0.05, 0.1, 0.12, 0.8)))
    bar.set_label("error, % of HR white", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.suptitle(shown.title, fontsize=10, fontweight="bold")
    return figure


def _show(axes: Axes, image: Image, colours: str, top: float, title: str, *, weight: str = "bold") -> None:
    axes.imshow(image, cmap=colours, vmin=0, vmax=top, interpolation="nearest")
    axes.set_title(title, fontsize=9, pad=3, fontweight=weight)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _panel(
    record: TrialRecord, results: Results, volume: StoredVolume, position: int, contrast: str, name: str
) -> Panel:
    folder = _folder(record, results)
    with h5py.File(folder / "predictions.h5", "r") as file:
        image = _magnitude(file[volume.volume_id][contrast][position])
    rows = results.slices
    row = rows[
        (rows["method"] == record.method)
        & (rows["variant"] == record.variant)
        & (rows["dataset"] == record.dataset_label)
        & (rows["scale"] == record.scale)
        & (rows["seed"] == record.seed)
        & (rows["volume_id"] == volume.volume_id)
        & (rows["slice_index"] == volume.slice_index[position])
    ].iloc[0]
    return Panel(name, image, float(row[STANDARD_METRICS[0]]), float(row[STANDARD_METRICS[1]]))


def _folder(record: TrialRecord, results: Results) -> Path:
    """The trial's bundle, in whichever of the runs it is."""
    candidates = [trial_folder(root, record) for root in results.folders]
    return next(folder for folder in candidates if (folder / "predictions.h5").is_file())


def _magnitude(image: NDArray[np.number]) -> Image:
    return np.asarray(np.abs(image), np.float64)
