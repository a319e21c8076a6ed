"""Whether a training collapsed: a learning rate that is too large can undo within steps what thousands before have learned."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pandas as pd

FALL: Final = 1.0
"""dB of validation PSNR that the end may be below the best. Where the rate ends at zero, a sound training ends near its best."""


def collapse_notes(log: Path) -> list[str]:
    """What a reader of the scores must know of a training whose log (``training.csv``) this is; nothing of a sound one.

    The weights are those of the best validation, so that the scores alone may not show a collapse.
    """
    if not log.is_file():
        return []
    table = pd.read_csv(log)
    if "validation_psnr" not in table:
        return []
    seen = table.dropna(subset="validation_psnr")
    if seen.empty or (last := seen.iloc[-1]).validation_psnr >= seen.validation_psnr.max() - FALL:
        return []
    best = seen.loc[seen.validation_psnr.idxmax()]
    return [
        f"its training collapsed: validation PSNR fell from {best.validation_psnr:.1f} dB at step {best.step:.0f} to "
        f"{last.validation_psnr:.1f} at the end (step {last.step:.0f}); these are the weights of step {best.step:.0f}, and a "
        "smaller learning rate may score more"
    ]
