"""Keep ``tests/revisions.json``: per built-in method and dataset the hash of its code, its revision, and what it computes.

``python tests/helpers/revisions.py`` after a change. A revision is in the key of every result, a built-in plugin's code is not:
code that computes other numbers needs a new revision, or old and new results are mixed. So the file takes a changed plugin only
with a new revision, or if it computes what is in the file: predictions, losses and gradients of a method, the images of the first
case of a dataset, as its helpers write it. Options of a dataset and branches of a method that these do not reach are the author's.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FILE = HERE.parent / "revisions.json"
CLOSE = 1e-4
"""What golden numbers may differ by, relative to the largest of them: machines differ in the last bits."""

Entry = dict[str, Any]
"""code, revision, golden."""


def plugins() -> dict[str, Path]:
    """The folders with code of the built-in methods and datasets, by "methods/edsr" and so on."""
    found = sorted(path.parent for kind in ("methods", "datasets") for path in ROOT.glob(f"{kind}/*/__init__.py"))
    return {f"{folder.parent.name}/{folder.name}": folder for folder in found}


def code_hash(folder: Path, shared: Path = ROOT / "mcsr_bench" / "nn") -> str:
    """A hash of the syntax trees below a folder, and of the shared blocks of networks where it imports those.

    Comments, formatting and docstrings do not count.
    """
    trees = {path.relative_to(folder).as_posix(): tree(path) for path in sorted(folder.rglob("*.py"))}
    if any(f"mcsr_bench.{shared.name}" in str(found) for found in trees.values()):
        trees |= {f"{shared.name}/{path.name}": tree(path) for path in sorted(shared.glob("*.py"))}
    return hashlib.sha256(json.dumps(trees).encode()).hexdigest()


def tree(path: Path) -> Any:
    """The syntax tree of a file as lists, without docstrings; what one version of Python adds empty to a tree is left out."""

    def plain(node: Any) -> Any:
        if isinstance(node, list):
            return [plain(item) for item in node]
        if not isinstance(node, ast.AST):
            return repr(node)
        fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            fields["body"] = [item for item in node.body if not _is_text(item)]
        return [type(node).__name__, {name: plain(value) for name, value in fields.items() if name != "type_comment"}]

    return plain(ast.parse(path.read_text(encoding="utf-8")))


def _is_text(node: ast.stmt) -> bool:
    """Whether a statement is a lone string: a docstring, also of an attribute."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def revision(name: str) -> int:
    """Of a plugin: of a method in its card, of a dataset in its class, which is what enters keys."""
    from mcsr_bench.plugin.registry import datasets, methods

    kind, _, folder = name.partition("/")
    if kind == "methods":
        return methods().card(folder).revision
    return int(datasets().load(folder.replace("_", "-")).revision)


def golden(name: str) -> list[float]:
    """What the code of a plugin computes, as numbers."""
    kind, _, folder = name.partition("/")
    return of_method(folder) if kind == "methods" else of_dataset(folder.replace("_", "-"))


def of_method(name: str) -> list[float]:
    """Of moved weights: a prediction at every scale and preset; losses and gradients of a step at the smallest size."""
    from mcsr_bench.conformance.subject import Subject, perturb
    from mcsr_bench.conformance.synthetic import smooth_batch
    from mcsr_bench.plugin.loading import SMOKE
    from mcsr_bench.plugin.method import TorchMethod
    from mcsr_bench.weights.loading import load_method

    subject = Subject(name)
    out: list[float] = []
    for scale, preset in [(s, SMOKE) for s in subject.scales] + [
        (subject.scale, p) for p in sorted(subject.card.presets)
    ]:
        side = subject.lr_side(scale)
        method = load_method(name, scale, preset, seed=0)
        if isinstance(method, TorchMethod):
            for number, module in enumerate(method.training_modules().values()):
                perturb(module, seed=number)
        for image in subject.predict(smooth_batch(1, (side, side), scale), method).values():
            out += numbers(image.detach().numpy())
        if isinstance(method, TorchMethod) and preset == SMOKE:
            out += step(method, smooth_batch(2, (side, side), scale, training=True))
    return out


def step(method: Any, batch: Any) -> list[float]:
    """The losses of a training step, and the sum of the absolute gradients that they leave."""
    losses: list[float] = []

    def update(_: str, loss: torch.Tensor) -> None:
        losses.append(loss.item())
        loss.backward()

    torch.manual_seed(0)
    method.training_step(batch, update)
    left = [p.grad for module in method.training_modules().values() for p in module.parameters()]
    return [*losses, float(sum(gradient.abs().double().sum() for gradient in left if gradient is not None))]


def of_dataset(name: str) -> list[float]:
    """The images of the first case of a small copy of the dataset, written by the helpers of its tests."""
    sys.path[:0] = [str(HERE)]
    import fastmri_files
    import m4raw_files
    import nifti_files
    import pair_files

    from mcsr_bench.plugin.loading import load_dataset

    write: dict[str, Callable[[Path], Any]] = {
        "fastmri": lambda root: fastmri_files.write_tree(root, 2, 2),
        "fastmri-brain": lambda root: fastmri_files.brain_tree(root, 4),
        "m4raw": lambda root: m4raw_files.write_tree(root, 4, slices=2, coils=2, shape=(32, 32)),
        "mcsr-pair": lambda root: pair_files.write_folder(root, 4, slices=2),
        "nifti": lambda root: nifti_files.folder(root),
    }
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        settings = {} if name in write else {"size": 64}
        if name in write:
            write[name](root)
        dataset = load_dataset(name, root if name in write else None, **settings)
        return [value for pair in dataset.read(dataset.cases()[0]) for image in pair for value in numbers(image)]


def numbers(image: Any) -> list[float]:
    """A few of an image: mean, spread, and some of its values."""
    values = np.asarray(image, np.complex128).ravel()
    some = values[:: max(1, values.size // 5)]
    return [float(x) for z in (values.mean(), *some) for x in (z.real, z.imag)] + [float(values.std())]


def same(one: list[float], two: list[float]) -> bool:
    """Whether golden numbers are equal but for the last bits."""
    if len(one) != len(two):
        return False
    return bool(np.allclose(one, two, rtol=CLOSE, atol=CLOSE * max(map(abs, one), default=0.0)))


def updated(name: str, before: Entry | None, code: str, now: int, compute: Callable[[str], list[float]]) -> Entry | str:
    """The entry of a plugin with this code and revision, or why it cannot have one."""
    if before is not None and (code, now) == (before["code"], before["revision"]):
        return before
    values = [float(f"{value:.9g}") for value in compute(name)]
    if before is not None and now <= before["revision"] and not same(before["golden"], values):
        return (
            f"{name}: its code has changed and computes other numbers, and its revision is still {now}: raise it, and say in "
            "CHANGELOG.md what moved and by how much"
        )
    golden_ = before["golden"] if before is not None and same(before["golden"], values) else values
    return {"code": code, "revision": now, "golden": golden_}


def stale(entries: Mapping[str, Entry]) -> list[str]:
    """The plugins whose entry is not that of today, or that have none, and entries without plugin."""
    folders = plugins()
    today = {name: (code_hash(folder), revision(name)) for name, folder in folders.items()}
    known = {name: (entry["code"], entry["revision"]) for name, entry in entries.items()}
    return sorted(name for name in {*today, *known} if today.get(name) != known.get(name))


def main() -> int:
    """Write the file; 1 and a sentence for each plugin that needs a new revision."""
    before: dict[str, Entry] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
    entries, refused = {}, []
    for name, folder in plugins().items():
        found = updated(name, before.get(name), code_hash(folder), revision(name), golden)
        if isinstance(found, str):
            refused.append(found)
            found = before[name]
        entries[name] = found
    lines = [f" {json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(entries.items())]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print("\n".join(refused) or f"{FILE}: written", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    raise SystemExit(main())
