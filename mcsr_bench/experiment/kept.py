"""``experiment.json``: what was asked of a folder, and what its first run fixed for every later command."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from mcsr_bench.errors import UserError, explain
from mcsr_bench.experiment.grid import ExperimentSpec, points
from mcsr_bench.experiment.layout import layouts, references
from mcsr_bench.results.bundle import check_version
from mcsr_bench.results.naming import label
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.system import files


def read_experiment(run: Path) -> ExperimentSpec:
    """What was asked of a folder. UserError when it is no folder of a run, or cannot be read.

    Its plugins are left out: a folder may come from anyone, and names no code to run (`RunFolder.plugins` says what it names).
    """
    path = RunFolder(run).experiment
    if not run.is_dir():
        raise UserError(f"{run}: no such folder of results")
    if not path.is_file():
        raise UserError(f"{run}: no {path.name} there; is it the folder of a run?")
    try:
        values = files.read_json(path)
        check_version(path, values, unsaid=1)
        spec = ExperimentSpec.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: not a readable experiment: {explain(error)}") from None
    except ValueError as error:
        raise UserError(f"{path}: not a readable experiment: {str(error).splitlines()[0]}") from None
    return spec.model_copy(update={"data": spec.data.model_copy(update={"plugins": ()})})


def merged(spec: ExperimentSpec) -> ExperimentSpec:
    """The spec with the methods, suites and plugins of earlier runs in its folder, and the references that the first one fixed.

    A suite that is new in the folder fixes its own. UserError where other references are asked for than those that are fixed, or
    a method that is not there.
    """
    earlier = read_experiment(spec.out) if RunFolder(spec.out).experiment.is_file() else None
    fixed = dict(earlier.references) if earlier else {}
    if earlier and not earlier.suites:
        fixed.setdefault("", earlier.against)
    tables = _tables(spec)
    for suite, (_, labels) in tables.items():
        asked = (
            [name for name in spec.against if name in (*labels, *fixed.get(suite, ()))] if spec.against_given else []
        )
        if asked and set(asked) != set(fixed.get(suite, asked)):
            raise UserError(
                f"--against {','.join(spec.against)}: {spec.out} has {', '.join(fixed[suite])} from its first run, before looking; "
                "`report --against` compares with another reference, which it calls exploratory"
            )
    rows = [name for _, labels in tables.values() for name in labels]
    known = {*rows, *(name for names in fixed.values() for name in names)}
    if spec.against_given and (missing := [name for name in spec.against if name not in known]):
        raise UserError(
            f"--against {missing[0]}: that method is not part of this run ({', '.join(dict.fromkeys(rows))})"
        )
    suites = tuple(dict.fromkeys((*(earlier.suites if earlier else ()), *spec.suites)))
    methods = tuple(dict.fromkeys((*(earlier.methods if earlier else ()), *spec.methods)))
    methods = ("all",) if "all" in methods else methods
    new = {suite: chosen for suite, (chosen, _) in tables.items()}
    named = tuple(dict.fromkeys((*RunFolder(spec.out).plugins(), *map(files.absolute, spec.data.plugins))))
    data = spec.data.model_copy(update={"plugins": named})
    return spec.model_copy(update={"data": data, "suites": suites, "methods": methods, "references": new | fixed})


def _tables(spec: ExperimentSpec) -> dict[str, tuple[tuple[str, ...], list[str]]]:
    """By suite ("" without one): what p-values compare with as far as this spec says, and the labels of the rows."""
    if not spec.suites:
        labels = list(dict.fromkeys(label(point.method, point.variant) for point in points(spec)))
        return {"": (references(spec.against, labels), labels)}
    return {one.name: (one.against, [label(row.method, row.variant) for row in one.rows]) for one in layouts(spec)}
