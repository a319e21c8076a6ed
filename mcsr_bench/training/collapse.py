"""Whether a training collapsed: a learning rate that is too large can undo within steps what thousands before have learned."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pandas as pd

FALL: Final = 2.0
"""dB of validation PSNR below the best until then. Sound trainings waver by tenths."""


def collapse_notes(log: Path) -> list[str]:
    """What a reader of the scores must know of a training whose log (``training.csv``) this is; nothing of a sound one.

    The weights are those of the best validation, so that the scores alone may not show a collapse. One before the first validation
    is not seen.
    """
    if not log.is_file():
        return []
    table = pd.read_csv(log)
    if "validation_psnr" not in table:
        return []
    seen = table.dropna(subset="validation_psnr").reset_index(drop=True)
    fall = seen.validation_psnr.cummax() - seen.validation_psnr
    if not (fall > FALL).any():
        return []
    worst = int(fall.idxmax())
    before, after = seen.loc[seen.validation_psnr[:worst].idxmax()], seen.loc[worst]
    kept = seen.loc[seen.validation_psnr.idxmax()]
    return [
        f"its training collapsed: validation PSNR fell from {before.validation_psnr:.1f} dB at step {before.step:.0f} to "
        f"{after.validation_psnr:.1f} at step {after.step:.0f}; its weights are the best, of step {kept.step:.0f}, and a smaller "
        "learning rate may give better ones"
    ]
