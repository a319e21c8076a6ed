"""What a method looks at (Fig. 7) and selects (Fig. 3): its attention maps and the features behind them, from stored weights."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mcsr_bench.data.store import StoredVolume
from mcsr_bench.errors import DamagedFileError, UnreadFileError, UserError
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.loading import method_of
from mcsr_bench.plugin.method import Method
from mcsr_bench.protocol import get_protocol
from mcsr_bench.results.bundle import Bundle, TrialRecord
from mcsr_bench.results.load import Results
from mcsr_bench.weights.tensors import load_weights

from ..sheets import Sheet
from .comparison import chosen_slice
from .drawing import Drawing, Undrawn
from .scores import note
from .style import PAGE, SETTINGS, canvas

Maps = dict[str, NDArray[np.float64]]
_PRIORS, _FEATURES = ("prior_high", "prior_low"), ("high", "low")


def maps(sheet: Sheet, results: Results) -> Iterator[Drawing | Undrawn]:
    """For the first trial on each dataset whose method hands out pairs of maps per stage ("prior_high_1", "prior_low_1", ...).

    An `Undrawn` where it could, but its weights or the prepared data were cleared away.
    """
    if sheet.role != "target":
        return
    for dataset in sheet.datasets:
        for bundle in (b for b in sheet.bundles if b.record.dataset_label == dataset):
            name = sheet.label(bundle.record.method, bundle.record.variant)
            try:
                found = _maps(bundle, sheet, results) if bundle.record.card.get("contrasts") == "multi" else None
            except (DamagedFileError, UnreadFileError):
                raise
            except UserError as error:
                yield Undrawn(
                    f"attention-{dataset}-{sheet.name}",
                    f"Attention and features of {name}: {dataset}, {sheet.scale}x",
                    f"{error}.",
                )
                break
            if found is None:
                continue
            volume, position, images = found
            yield from _drawings(sheet, bundle.record, volume, position, images)
            break


def _maps(bundle: Bundle, sheet: Sheet, results: Results) -> tuple[StoredVolume, int, Maps] | None:
    """The maps of the median patient's middle slice, each (H, W): a mean over channels of absolute values.

    None where the method hands out none, or is not here any more. UserError where weights or prepared data were cleared away.
    """
    record = bundle.record
    try:
        method = method_of(record.method, record.scale, record.preset, record.settings)
    except UserError:
        return None
    if type(method).maps is Method.maps:
        return None
    if not bundle.weights.is_file():
        raise UserError(f"{bundle.weights}: no weights there; run with --fresh trains them again")
    chosen = chosen_slice(sheet, results, record.dataset_label)
    load_weights(method, bundle.checked(bundle.weights), key=record.key)
    if chosen is None:
        return None
    volume, position = chosen.volume, chosen.position
    one = slice(position, position + 1)
    batch = Batch.of(
        target_lr=torch.from_numpy(np.array(volume.target_lr[one])),
        auxiliary=torch.from_numpy(np.array(volume.auxiliary[one])),
        auxiliary_lr=torch.from_numpy(np.array(volume.auxiliary_lr[one])),
        scale=record.scale,
        protocol=get_protocol(record.protocol),
        joint=record.joint,
    )
    images = {name: np.asarray(m[0].abs().mean(0), np.float64) for name, m in method.maps(batch).items() if m.ndim == 4}
    complete = all(any(name.startswith(f"{kind}_") for name in images) for kind in _PRIORS)
    return (volume, position, images) if complete else None


def _drawings(
    sheet: Sheet, record: TrialRecord, volume: StoredVolume, position: int, images: Maps
) -> Iterator[Drawing]:
    stages = sorted({int(name.rpartition("_")[2]) for name in images if name.startswith("prior_high_")})
    truth = np.abs(np.asarray(volume.target[position])).astype(np.float64)
    name = sheet.label(record.method, record.variant)
    where = f"{volume.volume_id}, slice {volume.slice_index[position]} (the median patient's middle slice)"
    for kinds, file, what in (
        (_PRIORS, "attention", "attention to high-intensity regions (above) and to the rest (below), 0 to 1"),
        (
            _FEATURES,
            "features",
            "features selected in high-intensity regions (above) and in the rest (below): mean over channels",
        ),
    ):
        if not all(f"{kind}_{stage}" in images for kind in kinds for stage in stages):
            continue
        H, W = truth.shape
        columns = len(stages) + 1
        cell = min(PAGE / columns, 1.6)
        figure, axes = canvas(cell * columns, 2 * (cell * H / W + 0.2), 2, columns)
        with mpl.rc_context(SETTINGS):  # type: ignore[arg-type]
            axes[0].imshow(truth, cmap="gray", vmin=0, vmax=np.percentile(truth, 99.7))
            axes[0].set_title("HR")
            for row, kind in enumerate(kinds):
                shown = [images[f"{kind}_{stage}"] for stage in stages]
                top = 1.0 if file == "attention" else max(float(np.percentile(s, 99.7)) for s in shown) or 1.0
                for k, image in enumerate(shown):
                    ax = axes[row * columns + 1 + k]
                    shown_as = ax.imshow(image, cmap="viridis", vmin=0, vmax=top)
                    ax.set_title(f"stage {stages[k]}, {('bright', 'rest')[row]}")
                bar = figure.colorbar(
                    shown_as, cax=axes[columns].inset_axes((0.1, 0.9 - 0.5 * row, 0.8, 0.08)), orientation="horizontal"
                )
                bar.set_label(("bright", "rest")[row])
            for ax in axes:
                ax.axis("off")
        rows = [
            {
                "map": f"{kind}_{s}",
                "mean": images[f"{kind}_{s}"].mean(),
                "min": images[f"{kind}_{s}"].min(),
                "max": images[f"{kind}_{s}"].max(),
            }
            for kind in kinds
            for s in stages
        ]
        caption = f"{name} on {record.shown_dataset}, {where}: {what}. {note(sheet)}"
        label = f"{file}-{record.dataset_label}-{sheet.name}"
        yield Drawing(
            label,
            f"{file.capitalize()} of {name}: {record.dataset_label}, {sheet.scale}x",
            caption,
            figure,
            pd.DataFrame(rows),
        )
