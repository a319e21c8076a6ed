"""Score against size and arithmetic, with the Pareto front."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter

from mcsr_bench.results.load import Results

from ..efficiency import counted
from ..ranking import PSNR
from ..sheets import Sheet
from ..table import title
from .drawing import Drawing
from .scores import note
from .style import PAGE, SETTINGS, Palette, canvas, log_axis

_FEWEST = 3


def front(cost: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Which points nothing beats: no other one costs at most as much and scores at least as high, and is better in one."""
    kept = []
    for i in range(len(cost)):
        no_worse = (cost <= cost[i]) & (score >= score[i])
        better = (cost < cost[i]) | (score > score[i])
        kept.append(not (no_worse & better).any())
    return np.array(kept, bool)


def pareto(sheet: Sheet, results: Results, palette: Palette) -> Iterator[Drawing]:
    """PSNR against parameters and against multiply-accumulates at HR 320, for at least three trained methods."""
    if sheet.layout.kind != "table" or sheet.role != "target" or PSNR not in sheet.metrics:
        return
    for dataset in sheet.datasets:
        rows, flat = [], []
        for row in sheet.rows:
            trials = sheet.trials(dataset, row.method, row.variant)
            entry = sheet.entries.get((dataset, row.method, row.variant))
            if entry is None:
                continue
            found = counted(trials[0].record)
            if found is None:
                if not trials[0].record.card.get("trains", True):
                    flat.append((row.label, entry.mean[PSNR]))
                continue
            rows.append(
                {"label": row.label, "psnr": entry.mean[PSNR], "parameters": found.parameters, "macs": found.macs}
            )
        if len(rows) < _FEWEST:
            continue
        data = pd.DataFrame(rows)
        for key in ("parameters", "macs"):
            data[f"front_{key}"] = front(data[key].to_numpy(float), data["psnr"].to_numpy(float))
        figure, axes = canvas(PAGE, 2.8, 1, 2)
        with mpl.rc_context(SETTINGS):  # type: ignore[arg-type]
            for ax, (key, name) in zip(
                axes, (("parameters", "parameters"), ("macs", "multiply-accumulates, HR 320")), strict=True
            ):
                ax.set_xscale("log")
                log_axis(ax.xaxis, data[key].min(), data[key].max(), EngFormatter(sep=""))
                edge = data[data[f"front_{key}"]].sort_values(key)
                ax.step(edge[key], edge["psnr"], where="post", color="#999999", linewidth=1, zorder=1)
                for label, x, y in zip(data["label"], data[key], data["psnr"], strict=True):
                    ax.plot(x, y, palette.marker(label), color=palette.colour(label), zorder=3)
                _names(ax, data[key].to_numpy(float), data["psnr"].to_numpy(float), list(data["label"]))
                if flat:
                    best = max(flat, key=lambda one: one[1])
                    ax.axhline(best[1], color="#bbbbbb", linestyle=":", linewidth=1)
                    ax.annotate(
                        best[0],
                        (0.01, best[1]),
                        xycoords=("axes fraction", "data"),
                        ha="left",
                        va="bottom",
                        fontsize=6.5,
                    )
                ax.set_xlabel(name)
                ax.margins(0.18, 0.15)
            axes[0].set_ylabel("PSNR (dB)")
        caption = (
            f"{title(sheet, 'score against size and arithmetic')} on {sheet.data(dataset)}; grey line: the Pareto front. "
            f"{note(sheet)} Dotted: the best interpolation."
        )
        yield Drawing(
            f"pareto-{dataset}-{sheet.name}",
            f"Score against cost: {sheet.data(dataset)}, {sheet.scale}x",
            caption,
            figure,
            data,
        )


def _names(ax: mpl.axes.Axes, x: np.ndarray, y: np.ndarray, labels: list[str]) -> None:
    """Labels beside the points, moved up or down until none overlaps another; those of networks of one size keep their order."""
    span_x, span_y = np.ptp(np.log10(x)) or 1.0, np.ptp(y) or 1.0
    u, v = np.log10(x) / span_x, y / span_y
    taken = list(zip(u, v, strict=True))  # the points themselves
    for at in sorted(set(u)):
        column = [i for i in np.argsort(-y, kind="stable") if u[i] == at]
        heights = [_free(at, v[i], taken) for i in column] if len(column) == 1 else _apart(v[column], v.min() - 0.12)
        for i, height in zip(column, heights, strict=True):
            taken.append((at + 0.1, height))
            ax.annotate(
                labels[i],
                (x[i], height * span_y),
                xytext=(5, 0),
                textcoords="offset points",
                fontsize=6.5,
                va="center",
                path_effects=[withStroke(linewidth=2, foreground="white")],  # a line behind does not strike it through
            )


def _free(u: float, v: float, taken: list[tuple[float, float]]) -> float:
    """A height for the label of a point (u, v) where nothing is: beside it; else above or below, a little farther each time."""
    steps = (0.0, 0.05, -0.05, 0.1, -0.1, 0.15, -0.15, 0.2, -0.2)
    others = [place for place in taken if place != (u, v)]
    return next(
        (v + s for s in steps if all(not (-0.02 < a - u < 0.3 and abs(v + s - b) < 0.045) for a, b in others)), v
    )


def _apart(heights: np.ndarray, lowest: float, gap: float = 0.07) -> np.ndarray:
    """Falling heights, moved down where they are too near, and up again where that would leave the axes."""
    out = heights.astype(float)
    for k in range(1, len(out)):
        out[k] = min(out[k], out[k - 1] - gap)
    out[-1] = max(out[-1], lowest)
    for k in range(len(out) - 2, -1, -1):
        out[k] = max(out[k], out[k + 1] + gap)
    return out
