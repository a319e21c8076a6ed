"""The images behind a sheet (Fig. 5): LR, auxiliary, SR of every method, HR, a zoomed inset, error maps with one shared scale.

Slices are chosen by rule, never by eye: the median, the worst and the best patient of the reference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from mcsr_bench.data.store import StoredVolume, Volume, open_store
from mcsr_bench.errors import DamagedFileError, UnreadFileError, UserError
from mcsr_bench.plugin.predicted import magnitude
from mcsr_bench.plugin.report import number
from mcsr_bench.protocol import get_protocol
from mcsr_bench.regions import Regions
from mcsr_bench.results.bundle import Bundle, TrialRecord
from mcsr_bench.results.load import Results
from mcsr_bench.results.predictions import stored_predictions
from mcsr_bench.system import frames

from ..sheets import STANDARD_METRICS, Sheet
from .drawing import Drawing, Undrawn
from .style import SETTINGS

Rule = Literal["median", "worst", "best"]
RULES: tuple[Rule, ...] = ("median", "worst", "best")
_PER_LINE = 6
_CELL = 1.75
"""Inches of a panel's width, with what is around it."""
_GRAY, _ERROR = "gray", "magma"
_BOX = "#56b4e9"
_ZOOM = 4
"""The inset shows 1 / 4 of each side."""

Image = NDArray[np.float64]


@dataclass(frozen=True)
class Chosen:
    """The slice that a rule picks."""

    reference: TrialRecord
    patient: str
    volume: StoredVolume
    position: int


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
    auxiliary: Image
    truth: Image
    panels: tuple[Panel, ...]
    box: tuple[int, int, int, int]
    """Top, left, height, width of the inset."""
    caption: str


def comparisons(sheet: Sheet, results: Results, rules: tuple[Rule, ...] = RULES) -> Iterator[Drawing | Undrawn]:
    """One figure per dataset and rule; one `Undrawn` per dataset where the prepared data or predictions were cleared away."""
    for dataset in sheet.datasets:
        name = f"comparison-{dataset}-{sheet.name}"
        for rule in rules:
            try:
                shown = comparison(sheet, results, dataset, rule)
            except (DamagedFileError, UnreadFileError):
                raise
            except UserError as error:  # tables do not need these files, pictures do
                patients = " and ".join(filter(None, (", ".join(rules[:-1]), rules[-1])))
                yield Undrawn(name, f"Images: {sheet.data(dataset)}, {sheet.scale}x, {patients} patient", f"{error}.")
                break
            if shown is None:
                continue
            data = pd.DataFrame([{"panel": p.name, "psnr": p.psnr, "ssim": p.ssim} for p in shown.panels])
            data[["box_top", "box_left", "box_height", "box_width"]] = shown.box
            suffix = "" if rule == "median" else f"-{rule}"
            sharp = math.ceil(1.1 * shown.truth.shape[1] / _CELL)  # no pixel of an image is lost in full size
            yield Drawing(f"{name}{suffix}", shown.title, shown.caption, draw(shown), data, max(Drawing.dpi, sharp))


def chosen_slice(sheet: Sheet, results: Results, dataset: str, rule: Rule = "median") -> Chosen | None:
    """The middle slice of the first volume of the reference's median (worst, best) patient by PSNR; None without a trial.

    The reference is the sheet's first one, else its first trial. UserError when the prepared data are gone.
    """
    trials = [r for r in sheet.records if r.dataset_label == dataset]
    if not trials:
        return None
    reference = next((r for name in sheet.references for r in trials if r.method_label == name), trials[0])
    scores = results.volumes
    scores = scores[
        (scores["dataset"] == dataset)
        & (scores["scale"] == sheet.scale)
        & (scores["protocol_hash"] == sheet.protocol_hash)
        & (scores["preset"] == sheet.preset)
        & (scores["method"] == reference.method)
        & (scores["variant"] == reference.variant)
        & (scores["contrast"] == sheet.contrast)
    ]
    order = scores.groupby("patient_id")[STANDARD_METRICS[0]].mean().sort_values(kind="stable").index
    patient = order[{"median": (len(order) - 1) // 2, "worst": 0, "best": len(order) - 1}[rule]]
    volume_id = str(sorted(scores[scores["patient_id"] == patient]["volume_id"])[0])
    store = open_store(reference.data.store)
    store.compare([volume_id])
    volume = store.volumes[volume_id]
    return Chosen(reference, str(patient), volume, len(volume.slice_index) // 2)


def comparison(sheet: Sheet, results: Results, dataset: str, rule: Rule = "median") -> Comparison | None:
    """The images of one dataset of a sheet; None when no trial is there. UserError when the prepared data are gone."""
    chosen = chosen_slice(sheet, results, dataset, rule)
    if chosen is None:
        return None
    volume, position = chosen.volume, chosen.position
    panels = []
    for row in sheet.rows:
        trials = sheet.trials(dataset, row.method, row.variant)
        if trials:  # the smallest seed represents the method
            panels.append(_panel(trials[0], volume, position, sheet.role, row.label))
    data = chosen.reference.data
    protocol = get_protocol(sheet.protocol)
    images = (
        (volume.target, volume.target_lr, volume.auxiliary)
        if sheet.role == "target"
        else (volume.auxiliary, volume.auxiliary_lr, volume.target)
    )
    one = slice(position, position + 1)
    scored = protocol.scoring_reference(np.asarray(images[0][one]), np.asarray(images[1][one]))
    truth = _magnitude(scored[0])
    shown = next((p for p in panels if p.name == _label(sheet, chosen.reference)), panels[0])
    return Comparison(
        title=f"Images: {sheet.data(dataset)}, {sheet.scale}x, {rule} patient",
        low=_magnitude(images[1][position]) / protocol.lr_gain(sheet.scale),
        auxiliary=_magnitude(images[2][position]),
        truth=truth,
        panels=tuple(panels),
        box=inset(np.abs(shown.image - truth), _inside(images[0], position)),
        caption=(
            f"{sheet.contrast} at {sheet.scale}x with {data.auxiliary if sheet.role == 'target' else data.target} beside it. "
            f"Patient {chosen.patient} (the {rule} of {_label(sheet, chosen.reference)} by PSNR, {volume.volume_id}), slice "
            f"{volume.slice_index[position]} (the middle one). Inset: where {shown.name} errs most inside the object. Errors are "
            "|SR - HR|, all on one scale. Numbers are PSNR (dB) / SSIM of this slice with the volume's maximum."
            + ("" if data.real else " Simulated, not real data.")
        ),
    )


def inset(error: Image, inside: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Top, left, height and width of the window, a quarter of each side, with most squared error inside the object."""
    h, w = max(error.shape[0] // _ZOOM, 1), max(error.shape[1] // _ZOOM, 1)
    energy = np.pad(np.cumsum(np.cumsum(error**2 * inside, 0), 1), ((1, 0), (1, 0)))
    sums = energy[h:, w:] - energy[:-h, w:] - energy[h:, :-w] + energy[:-h, :-w]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(top), int(left), h, w


def lines_of(n: int) -> tuple[int, int]:
    """Into how many lines n panels go, and how many are in a line: as few lines as there can be, of equal length."""
    lines = -(-n // _PER_LINE)
    return lines, -(-n // lines)


def draw(shown: Comparison) -> Figure:
    """LR over auxiliary at the left, the methods in lines with their errors below, HR over the error scale at the right.

    No line has more than six methods, and all have as many as each other, but for the last one: ten methods are 5 + 5.
    """
    H, W = shown.truth.shape
    n_lines, n_columns = lines_of(len(shown.panels))
    size = (_CELL * (n_columns + 2), (_CELL * H / W + 0.36) * 2 * n_lines + 0.35)
    with mpl.rc_context(SETTINGS):  # type: ignore[arg-type]
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03, wspace=0.01, hspace=0.01))
        grid = figure.add_gridspec(2 * n_lines, n_columns + 2)
        white = float(np.percentile(shown.truth, 99.7)) or 1.0
        errors = [np.abs(panel.image - shown.truth) for panel in shown.panels]
        worst = max(float(np.percentile(error, 99.5)) for error in errors) or 1.0
        low_name = f"LR {shown.low.shape[0]} x {shown.low.shape[1]}"
        _show(figure.add_subplot(grid[0, 0]), shown.low, _GRAY, white, low_name)
        _show(
            figure.add_subplot(grid[1, 0]),
            shown.auxiliary,
            _GRAY,
            float(np.percentile(shown.auxiliary, 99.7)),
            "auxiliary",
        )
        truth = figure.add_subplot(grid[0, n_columns + 1])
        _show(truth, shown.truth, _GRAY, white, "HR")
        _zoom(truth, shown.truth, shown.box, white)
        for k, (panel, error) in enumerate(zip(shown.panels, errors, strict=True)):
            line, column = divmod(k, n_columns)
            upper = figure.add_subplot(grid[2 * line, column + 1])
            _show(upper, panel.image, _GRAY, white, panel.name)
            _zoom(upper, panel.image, shown.box, white)
            lower = figure.add_subplot(grid[2 * line + 1, column + 1])
            _show(
                lower,
                error,
                _ERROR,
                worst,
                f"{number(panel.psnr, '.2f')} / {number(panel.ssim, '.3f')}",
                weight="normal",
            )
        legend = figure.add_subplot(grid[1, n_columns + 1])
        legend.axis("off")
        scale = ScalarMappable(Normalize(0, worst / white * 100), _ERROR)
        bar = figure.colorbar(scale, cax=legend.inset_axes((0.05, 0.1, 0.12, 0.8)))
        bar.set_label("error, % of HR white")
    return figure


def _show(axes: Axes, image: Image, colours: str, top: float, title: str, *, weight: str = "bold") -> None:
    axes.imshow(image, cmap=colours, vmin=0, vmax=top, interpolation="nearest")
    axes.set_title(title, fontsize=9, pad=3, fontweight=weight)
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _zoom(axes: Axes, image: Image, box: tuple[int, int, int, int], top: float) -> None:
    """The box outlined, and its content enlarged in the corner farthest from it."""
    y, x, h, w = box
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), w, h, fill=False, edgecolor=_BOX, linewidth=0.8))
    right, below = x + w / 2 < image.shape[1] / 2, y + h / 2 < image.shape[0] / 2
    inner = axes.inset_axes((0.58 if right else 0.0, 0.0 if below else 0.58, 0.42, 0.42))
    inner.imshow(image[y : y + h, x : x + w], cmap=_GRAY, vmin=0, vmax=top, interpolation="nearest", aspect="auto")
    inner.grid(visible=False)
    inner.set_xticks([])
    inner.set_yticks([])
    for spine in inner.spines.values():
        spine.set(visible=True, color=_BOX, linewidth=0.8)


def _panel(bundle: Bundle, volume: StoredVolume, position: int, role: str, name: str) -> Panel:
    """UserError when the predictions were cleared away."""
    if not bundle.predictions.is_file():
        raise UserError(f"{bundle.predictions}: no predictions there")
    with stored_predictions(bundle) as predictions:
        image = magnitude(predictions.read(volume.volume_id, position)[role])
    rows = frames.read_csv(bundle.checked(bundle.slices), ("patient_id", "volume_id", "role", "contrast"))
    row = rows[
        (rows["volume_id"] == volume.volume_id)
        & (rows["slice_index"] == volume.slice_index[position])
        & (rows["role"] == role)
    ]
    if row.empty:
        raise DamagedFileError(bundle.slices, f"lacks slice {volume.slice_index[position]} of {volume.volume_id}")
    row = row.iloc[0]
    return Panel(name, image, float(row[STANDARD_METRICS[0]]), float(row[STANDARD_METRICS[1]]))


def _inside(images: Volume, position: int) -> NDArray[np.bool_]:
    volume = np.abs(np.asarray(images)).astype(np.float64)
    return np.asarray(Regions.of(volume).foreground[position], bool)


def _label(sheet: Sheet, record: TrialRecord) -> str:
    return sheet.label(record.method, record.variant)


def _magnitude(image: NDArray[np.complexfloating]) -> Image:
    return np.asarray(np.abs(image), np.float64)
