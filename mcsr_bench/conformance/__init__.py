"""The conformance suite, which authors run on their plugin and CI runs on every built-in (``mcsr-bench check``).

Methods are checked on smooth random images from a seed: no data are needed. What has no stated tolerance holds bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mcsr_bench.errors import UserError, unknown_name
from mcsr_bench.plugin.registry import datasets, methods, scoped_plugins

from .learning import Learning
from .outcome import Outcome, run_checks
from .predicting import Predicting
from .reading import Reading
from .subject import Subject

__all__ = ["Outcome", "check", "check_all", "check_dataset", "check_method"]

_COMPARED = ("loads", "shapes", "deterministic")
_NEEDS = {
    "shapes": ("loads",),
    "finite": ("loads", "shapes"),
    "deterministic": ("loads",),
    "batch": _COMPARED,
    "target": _COMPARED,
    "auxiliary": _COMPARED,
    "phase": _COMPARED,
    "parameters": ("loads",),
    "trains": ("loads", "shapes"),
    "gradient": ("trains",),
    "background": ("trains",),
    "learns": ("trains",),
    "resumes": ("trains",),
    "saves": ("trains", *_COMPARED),
    "gpu": _COMPARED,
}
_DATA_NEEDS = {
    "card": ("loads",),
    "cases": ("loads",),
    "reads": ("cases",),
    "repeats": ("cases",),
    "agrees": ("cases", "reads", "repeats"),
    "split": ("cases",),
    "fingerprint": ("cases",),
}


def check_method(name: str, settings: Mapping[str, Any] | None = None) -> list[Outcome]:
    """Every check of a method; settings: what differs from preset ``quick``, to check a variant.

    UserError for an unknown plugin or setting; a plugin that is disabled fails ``loads``.
    """
    if name not in methods().plugins():
        raise unknown_name("method", name, methods().plugins(), methods().hint())
    subject = Subject(name, dict(settings or {}))
    subject.refuse_bad_arguments()
    predicting, learning = Predicting(subject), Learning(subject)
    return run_checks(
        {
            "loads": predicting.loads,
            "shapes": predicting.shapes,
            "finite": predicting.finite,
            "deterministic": predicting.deterministic,
            "batch": predicting.batch,
            "target": predicting.target,
            "auxiliary": predicting.auxiliary,
            "phase": predicting.phase,
            "parameters": predicting.parameters,
            "trains": learning.trains,
            "gradient": learning.gradient,
            "background": learning.background,
            "learns": learning.learns,
            "resumes": learning.resumes,
            "saves": learning.saves,
            "gpu": predicting.gpu,
        },
        _NEEDS,
        methods().folder(name),
    )


def check_dataset(
    name: str, data_root: str | Path | None = None, settings: Mapping[str, Any] | None = None
) -> list[Outcome]:
    """Every check of a dataset. UserError for an unknown name or setting, or a missing data root: the checks cannot run then."""
    if name not in datasets().plugins():
        raise unknown_name("dataset", name, datasets().plugins(), datasets().hint())
    root = None if data_root is None else Path(data_root)
    reading = Reading(name, root, dict(settings or {}))
    reading.refuse_bad_arguments()
    return run_checks(reading.checks(), _DATA_NEEDS, datasets().folder(name))


def check_all() -> dict[str, list[Outcome]]:
    """`check_method` of every built-in method, by name, disabled ones included."""
    found = methods().plugins().values()
    usable = methods().names()
    own = [p.name for p in found if p.module.startswith("mcsr_bench.methods.")]
    return {name: check_method(name) for name in sorted(own, key=lambda n: (usable.index(n) if n in usable else -1, n))}


def check(
    what: str,
    *,
    data_root: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    plugins: str | Path | Iterable[str | Path] = (),
) -> dict[str, list[Outcome]]:
    """Does a plugin keep the contract? ``all`` (every built-in method), a method or a dataset by name: outcomes by plugin.

    data_root: the folder of a dataset's files. settings: what differs from preset ``quick`` or the dataset's card. plugins: folders
    whose sub-folders are plugins, known for this call alone. An outcome's ``status`` is "pass", "fail" or "skip". UserError when
    there is neither method nor dataset of that name, or no such setting.
    """
    with scoped_plugins(plugins):
        if data_root is not None and what not in datasets().plugins():
            raise UserError(f"--data-root {data_root}: is for a dataset, and '{what}' is none")
        if what == "all":
            return check_all()
        if what in methods().plugins():
            return {what: check_method(what, settings)}
        if what in datasets().plugins():
            return {what: check_dataset(what, data_root, settings)}
        known = [*methods().plugins(), *datasets().plugins()]
        raise unknown_name("method or dataset", what, known, methods().hint())
