"""mcsr-bench: the benchmark suite for multi-contrast MR image super-resolution.

The public names load what they need when first used, so that importing the package costs nothing. A public function compares its
arguments with its type hints first, see `mcsr_bench.system.arguments`.
"""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mcsr_bench.api import (
        RunResults,
        check_data,
        predict,
        prepare,
        profile,
        report,
        run,
        stress,
        tune,
        write_folds,
    )
    from mcsr_bench.audit.export import export
    from mcsr_bench.audit.leaderboard import leaderboard
    from mcsr_bench.audit.merge import merge
    from mcsr_bench.audit.regress import IncompleteRunError, regress, write_numbers
    from mcsr_bench.audit.regress_outcome import Regression
    from mcsr_bench.audit.verify import verify
    from mcsr_bench.catalogue import info, listing
    from mcsr_bench.conformance import check
    from mcsr_bench.data.raw.conversion import convert
    from mcsr_bench.data.raw.pair_writer import write_pair
    from mcsr_bench.errors import UserError
    from mcsr_bench.experiment.evaluating import evaluate
    from mcsr_bench.fetching.by_name import AccessError, fetch
    from mcsr_bench.plugin.batch import Batch, Prediction
    from mcsr_bench.plugin.case import Case, Finding, Slice
    from mcsr_bench.plugin.dataset import Dataset
    from mcsr_bench.plugin.loading import load_dataset
    from mcsr_bench.plugin.method import Method, Settings, TorchMethod, TrainingSettings, Update
    from mcsr_bench.plugin.report import Report, Site
    from mcsr_bench.plugin.scaffold import new_method
    from mcsr_bench.plugin.split import DatasetSettings, PatientSplitSettings, Split, split_by_patient, split_patients
    from mcsr_bench.results.identity import schema
    from mcsr_bench.results.load import Results, load_results
    from mcsr_bench.results.table import Cell, Table
    from mcsr_bench.results.verdict import Verdict
    from mcsr_bench.weights.importing import MismatchError, import_weights
    from mcsr_bench.weights.loading import load_method

_HOME = {
    "api": (
        *(
            "RunResults",
            "check_data",
            "predict",
            "prepare",
            "profile",
            "report",
            "run",
            "stress",
            "tune",
            "write_folds",
        ),
    ),
    "audit.export": ("export",),
    "audit.leaderboard": ("leaderboard",),
    "audit.merge": ("merge",),
    "audit.regress": ("IncompleteRunError", "regress", "write_numbers"),
    "audit.regress_outcome": ("Regression",),
    "audit.verify": ("verify",),
    "catalogue": ("info", "listing"),
    "conformance": ("check",),
    "data.raw.conversion": ("convert",),
    "data.raw.pair_writer": ("write_pair",),
    "errors": ("UserError",),
    "experiment.evaluating": ("evaluate",),
    "fetching.by_name": ("AccessError", "fetch"),
    "plugin.batch": ("Batch", "Prediction"),
    "plugin.case": ("Case", "Finding", "Slice"),
    "plugin.dataset": ("Dataset",),
    "plugin.loading": ("load_dataset",),
    "plugin.method": ("Method", "Settings", "TorchMethod", "TrainingSettings", "Update"),
    "plugin.report": ("Report", "Site"),
    "plugin.scaffold": ("new_method",),
    "plugin.split": ("DatasetSettings", "PatientSplitSettings", "Split", "split_by_patient", "split_patients"),
    "results.identity": ("schema",),
    "results.load": ("Results", "load_results"),
    "results.table": ("Cell", "Table"),
    "results.verdict": ("Verdict",),
    "weights.importing": ("MismatchError", "import_weights"),
    "weights.loading": ("load_method",),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "AccessError",
    "Batch",
    "Case",
    "Cell",
    "Dataset",
    "DatasetSettings",
    "Finding",
    "IncompleteRunError",
    "Method",
    "MismatchError",
    "PatientSplitSettings",
    "Prediction",
    "Regression",
    "Report",
    "Results",
    "RunResults",
    "Settings",
    "Site",
    "Slice",
    "Split",
    "Table",
    "TorchMethod",
    "TrainingSettings",
    "Update",
    "UserError",
    "Verdict",
    "check",
    "check_data",
    "convert",
    "evaluate",
    "export",
    "fetch",
    "import_weights",
    "info",
    "leaderboard",
    "listing",
    "load_dataset",
    "load_method",
    "load_results",
    "merge",
    "new_method",
    "predict",
    "prepare",
    "profile",
    "regress",
    "report",
    "run",
    "schema",
    "split_by_patient",
    "split_patients",
    "stress",
    "tune",
    "verify",
    "write_folds",
    "write_numbers",
    "write_pair",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'mcsr_bench' has no attribute '{name}'")
    found = getattr(importlib.import_module(f"mcsr_bench.{_MODULE[name]}"), name)
    if not inspect.isfunction(found):
        return found
    from mcsr_bench.system.arguments import checked

    return checked(found)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
