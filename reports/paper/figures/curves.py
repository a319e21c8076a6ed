"""Training curves: validation PSNR and training loss over steps."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import pandas as pd
from matplotlib.ticker import StrMethodFormatter

from mcsr_bench.results.load import Results, training_log

from ..sheets import Sheet
from ..table import title
from .drawing import Drawing
from .scores import note
from .style import PAGE, SETTINGS, Palette, canvas, log_axis


def curves(sheet: Sheet, results: Results, palette: Palette) -> Iterator[Drawing]:
    """Every trained trial of a sheet, one line per seed."""
    if sheet.role != "target":
        return
    for dataset in sheet.datasets:
        parts = []
        for row in sheet.rows:
            for bundle in sheet.trials(dataset, row.method, row.variant):
                if bundle.wrote(bundle.training_log):
                    parts.append(training_log(bundle).assign(label=row.label, seed=bundle.record.seed))
        if not parts:
            continue
        data = pd.concat(parts, ignore_index=True)
        figure, axes = canvas(PAGE, 2.6, 1, 2)
        with mpl.rc_context(SETTINGS):  # type: ignore[arg-type]
            named: set[str] = set()
            for (key, _), one in data.groupby(["label", "seed"], sort=False):
                label = str(key)
                colour, line = palette.colour(label), palette.line(label)
                seen = one.dropna(subset=["validation_psnr"])
                first = label if label not in named else None
                named.add(label)
                axes[0].plot(
                    seen["step"],
                    seen["validation_psnr"],
                    color=colour,
                    linestyle=line,
                    marker=palette.marker(label),
                    label=first,
                )
                axes[1].plot(one["step"], one["loss"], color=colour, linestyle=line, linewidth=0.9)
            axes[0].set_ylabel("validation PSNR (dB)")
            axes[1].set_ylabel("training loss")
            axes[1].set_yscale("log")
            log_axis(axes[1].yaxis, data["loss"].min(), data["loss"].max(), StrMethodFormatter("{x:g}"))
            for ax in axes:
                ax.set_xlabel("step")
            figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
        data_name = sheet.data(dataset)
        caption = (
            f"{title(sheet, 'training')} on {data_name}: losses of different methods cannot be compared. {note(sheet)}"
        )
        yield Drawing(f"curves-{dataset}-{sheet.name}", f"Training: {data_name}, {sheet.scale}x", caption, figure, data)
