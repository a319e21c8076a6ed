"""The public face: names, signatures, what importing costs, what a user's type checker sees."""

import importlib
import importlib.util
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import mcsr_bench as mb
from mcsr_bench.cli import app

PACKAGE = Path(mb.__file__).parent
ROOT = Path(__file__).parents[1]
FUNCTIONS = sorted(name for name in mb.__all__ if inspect.isfunction(getattr(mb, name)))
OPEN = {"load_method": "settings", "load_dataset": "settings", "load_results": "folders"}
"""A method's and a dataset's settings by name, and any number of folders."""
COMMANDS = {"list": "listing", "new": "new_method"}
"""Where a command's function has another name: `list` is Python's, and only methods can be begun."""


def test_dir_shows_the_public_names_and_none_hides_a_module():
    assert [name for name in dir(mb) if not name.startswith("_")] == sorted(mb.__all__) == list(mb.__all__)
    modules = {p.stem for p in PACKAGE.glob("*.py")} | {p.name for p in PACKAGE.iterdir() if p.is_dir()}
    assert not modules & set(mb.__all__)
    with pytest.raises(AttributeError, match="no attribute 'rum'"):
        _ = mb.rum


def test_every_command_has_a_public_function():
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert {COMMANDS.get(name, name.replace("-", "_")) for name in commands} <= set(FUNCTIONS)
    assert {
        "check_data",
        "evaluate",
        "load_dataset",
        "load_method",
        "load_results",
        "write_folds",
        "write_pair",
    } <= set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_signature_says_it_all(name):
    function = getattr(mb, name)
    signature = inspect.signature(function)
    several = {p.name for p in signature.parameters.values() if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    assert several == ({OPEN[name]} if name in OPEN else set())
    assert [p.name for p in signature.parameters.values() if p.annotation is p.empty] == []
    assert signature.return_annotation is not signature.empty
    assert len(inspect.getdoc(function) or "") > 40
    assert inspect.get_annotations(function, eval_str=True)  # names that a program can look up, too


def test_a_command_and_its_function_take_the_same():
    """What a command passes on is what its function takes; the rest of the command's options is about printing."""
    printing = {"as_json", "check", "context", "folds", "to"}
    for command, function in ((c, COMMANDS.get(c, c.replace("-", "_"))) for c in ("run", "prepare", "tune", "stress")):
        options = set(
            inspect.signature(importlib.import_module(f"mcsr_bench.cli.{command}").__dict__[command]).parameters
        )
        taken = set(inspect.signature(getattr(mb, function)).parameters)
        assert {"settings" if o == "changes" else o for o in options - printing} <= taken


def test_importing_and_listing_the_names_costs_nothing():
    code = (
        "import sys, json, mcsr_bench; dir(mcsr_bench); mcsr_bench.UserError; mcsr_bench.listing; mcsr_bench.new_method\n"
        "print(json.dumps([m for m in ('torch', 'numpy', 'pandas') if m in sys.modules]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == []


PROGRAM = '''
from pathlib import Path

from torch import Tensor, nn

import mcsr_bench as mb
from mcsr_bench import Batch, TorchMethod


class Mine(TorchMethod):
    """A user's method."""

    def build_network(self) -> nn.Module:
        return nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, batch: Batch) -> Tensor:
        output: Tensor = self.network(batch.target_lr_magnitude[:, None])
        return output[:, 0]

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return (output - batch.target_magnitude).abs().mean()


def look(batch: Batch) -> Tensor:
    return batch.auxiliary.abs()


results = mb.run(["zerofill", "bicubic"], "brain-sim", 4, preset="quick", out=Path("runs/two"), jobs=2)
print(len(results.trials), results.tables[0].title, results.files[0].name)
print(mb.load_results("runs/two").bundles[0].record.status)
print(len(mb.evaluate(look, dataset="brain-sim", scale=4)))
method: mb.Method = mb.load_method("sanet", 2, preset="small", groups=1)
print(method.card.title)
'''


def mypy(folder: Path, program: str) -> tuple[int, str]:
    (folder / "program.py").write_text(program)
    (folder / "mypy.ini").write_text("[mypy]\n")  # a user's: nothing of this project's
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir=cache", "program.py"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    return ran.returncode, ran.stdout + ran.stderr


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
@pytest.mark.skipif(
    PACKAGE.parent == ROOT, reason="mypy does not follow an editable installation; tox installs a wheel"
)
def test_a_users_type_checker_sees_the_types(tmp_path):
    assert (PACKAGE / "py.typed").is_file()
    code, said = mypy(tmp_path, PROGRAM)
    assert code == 0, said
    wrong = 'mb.run("zerofill", scale="four")\nmb.run(metods="zerofill")\nmb.stress(3)\n'
    code, said = mypy(tmp_path, f"import mcsr_bench as mb\n{wrong}")
    assert code == 1
    assert '"scale" to "run" has incompatible type "str"' in said
    assert 'Unexpected keyword argument "metods" for "run"' in said
    assert 'Argument 1 to "stress" has incompatible type "int"' in said
