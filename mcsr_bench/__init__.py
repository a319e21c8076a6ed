"""mcsr-bench: the benchmark suite for multi-contrast MR image super-resolution.

The public names load what they need when first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mcsr_bench.api import evaluate, run
    from mcsr_bench.data.raw.pair_writer import write_pair
    from mcsr_bench.errors import UserError
    from mcsr_bench.plugin.batch import Batch, Prediction
    from mcsr_bench.plugin.case import Case, Finding, Slice
    from mcsr_bench.plugin.dataset import Dataset
    from mcsr_bench.plugin.loading import load_dataset, load_method
    from mcsr_bench.plugin.method import Method, Settings, TorchMethod, TrainingSettings, Update
    from mcsr_bench.plugin.report import Cell, Report, Table
    from mcsr_bench.plugin.split import DatasetSettings, PatientSplitSettings, Split, split_by_patient, split_patients
    from mcsr_bench.results.load import Results, load_results

_HOME = {
    "api": ("evaluate", "run"),
    "data.raw.pair_writer": ("write_pair",),
    "errors": ("UserError",),
    "plugin.batch": ("Batch", "Prediction"),
    "plugin.case": ("Case", "Finding", "Slice"),
    "plugin.dataset": ("Dataset",),
    "plugin.loading": ("load_dataset", "load_method"),
    "plugin.method": ("Method", "Settings", "TorchMethod", "TrainingSettings", "Update"),
    "plugin.report": ("Report",),
    "plugin.split": ("DatasetSettings", "PatientSplitSettings", "Split", "split_by_patient", "split_patients"),
    "results.load": ("Results", "load_results"),
    "results.table": ("Cell", "Table"),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Batch",
    "Case",
    "Cell",
    "Dataset",
    "DatasetSettings",
    "Finding",
    "Method",
    "PatientSplitSettings",
    "Prediction",
    "Report",
    "Results",
    "Settings",
    "Slice",
    "Split",
    "Table",
    "TorchMethod",
    "TrainingSettings",
    "Update",
    "UserError",
    "evaluate",
    "load_dataset",
    "load_method",
    "load_results",
    "run",
    "split_by_patient",
    "split_patients",
    "write_pair",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'mcsr_bench' has no attribute '{name}'")
    return getattr(importlib.import_module(f"mcsr_bench.{_MODULE[name]}"), name)
