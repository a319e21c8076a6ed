"""Small folders of NIfTI volumes for the tests of the nifti plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from mcsr_bench.datasets.nifti import NIfTI, NIfTISettings
from mcsr_bench.errors import UserError
from mcsr_bench.protocol import MCSR_1

SHAPE = (10, 12, 8)
LPS = np.diag([-2.0, -2.0, 3.0, 1.0])


def dataset(root: Path | None, **settings: Any) -> NIfTI:
    """The dataset, not listed yet."""
    return NIfTI("nifti", NIfTISettings(**settings), root)


def save(path: Path, values: NDArray[Any] | None = None, affine: NDArray[Any] = LPS, seed: int = 0) -> Path:
    """A volume; by default random numbers of SHAPE."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if values is None:
        values = np.random.default_rng(seed).uniform(1, 100, SHAPE).astype(np.float32)
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def folder(root: Path, patients: int = 4, suffix: str = ".nii.gz", **options: Any) -> Path:
    """T1 and T2 of each of so many patients, random numbers; returns the folder."""
    for i in range(patients):
        for j, contrast in enumerate(("T1", "T2")):
            save(root / f"p{i}_{contrast}{suffix}", seed=2 * i + j, **options)
    return root


def refused(data: NIfTI, *words: str) -> str:
    """The sentence that refuses a dataset or its split; it has all the words."""
    with pytest.raises(UserError) as error:
        data.split(data.cases(), MCSR_1)
    text = str(error.value)
    for word in words:
        assert word in text, text
    assert r"\n" not in text  # how UserError shows a line break
    return text
