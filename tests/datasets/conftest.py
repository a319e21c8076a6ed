"""Fixtures of the tests of the fastmri plugin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mcsr_bench.datasets.fastmri import FastMRI, FastMRISettings


@pytest.fixture
def first_pair(fastmri_files: ModuleType) -> tuple[str, str]:
    """(PD, FS-PD) names of the first published train pair."""
    names: tuple[str, str] = fastmri_files.published("train")[0]
    return names


@pytest.fixture
def own_lists(fastmri_files: ModuleType, tmp_path: Path) -> Callable[..., FastMRI]:
    """A dataset with own lists: 3 train pairs, 1 test pair; ``train`` and ``test`` replace the lists' text."""

    def build(train: str | bytes = "", test: str | bytes = "", **settings: Any) -> FastMRI:
        root = tmp_path / "own"
        for i in range(4):
            fastmri_files.write_pair(root, (f"a{i}", f"b{i}"), patient_id=f"p{i}", seed=i, slices=1)
        for name, text in (("train", train or "a0,b0,0.1\na1.h5,b1.h5\n\na2,b2\n"), ("test", test or "a3,b3,0.5\n")):
            (tmp_path / f"{name}.csv").write_bytes(text.encode() if isinstance(text, str) else text)
        return FastMRI(
            "fastmri",
            FastMRISettings(train_pairs=f"{tmp_path}/train.csv", test_pairs=f"{tmp_path}/test.csv", **settings),
            root,
        )

    return build
