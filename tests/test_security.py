"""Nothing that is read can run: no pickle, no shell, no evaluated text. The code is searched for it, and every reader is tried."""

import ast
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from mcsr_bench.data import encoding
from mcsr_bench.data.raw import hdf5, nifti
from mcsr_bench.data.raw.pair_file import validate
from mcsr_bench.errors import UserError
from mcsr_bench.predicting import volumes
from mcsr_bench.system import files, frames
from mcsr_bench.weights.tensors import load_tensors, read_foreign, read_info

ROOT = Path(__file__).parents[1]
RUNS_CODE = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle", "yaml", "pty"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
READS_OBJECTS = {"pd.read_pickle", "pandas.read_pickle", "pd.read_hdf", "eval", "exec"}


def trees():
    for folder in ("mcsr_bench", "methods", "datasets", "reports"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.relative_to(ROOT).parts[1] not in ("methods", "datasets", "reports"):
                yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def dangers(tree):
    """Imports and calls that can run what they are given."""
    for node in ast.walk(tree):
        imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (name for name in imported if name.split(".")[0] in RUNS_CODE)
        if not isinstance(node, ast.Call):
            continue
        name, given = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
        if name in SHELLS | READS_OBJECTS or name.startswith(("os.exec", "os.spawn")):
            yield name
        elif name == "torch.load" and given.get("weights_only") != "True":
            yield f"{name} without weights_only=True"
        elif (
            name in ("np.load", "numpy.load", "np.save", "np.lib.format.read_array")
            and given.get("allow_pickle") != "False"
        ):
            yield f"{name} without allow_pickle=False"
        elif given.get("shell", "False") != "False":
            yield f"{name} with a shell"
        elif name.startswith("subprocess.") and not isinstance(node.args[0], ast.List | ast.Tuple):
            yield f"{name} of one text"


def test_no_code_can_run_what_it_reads():
    assert [(path, danger) for path, tree in trees() for danger in dangers(tree)] == []


@pytest.mark.parametrize(
    "planted",
    [
        *(
            "import pickle",
            "from joblib import load",
            "torch.load(a)",
            "torch.load(a, weights_only=False)",
            "np.load(a)",
        ),
        *(
            "subprocess.run('ls')",
            "subprocess.run(['ls'], shell=True)",
            "os.system('ls')",
            "pd.read_pickle(a)",
            "eval(a)",
        ),
    ],
)
def test_what_is_searched_for_is_found(planted):
    assert len(list(dangers(ast.parse(planted)))) == 1


class Trap:
    """What makes a folder as it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def _raise(problems):
    if problems:
        raise UserError(problems[0])


READERS = {
    "weights.safetensors": load_tensors,
    "header.safetensors": read_info,
    "theirs.safetensors": read_foreign,
    "theirs.pth": read_foreign,
    "volume.npy": encoding.open_volume,
    "kspace.h5": lambda path: hdf5.opened(path).__enter__(),
    "pair.mcsr.h5": lambda path: _raise(validate(path)),
    "image.h5": lambda path: volumes.read_pair(path, None, 2),
    "image.nii": nifti.inspect,
    "image.nii.gz": nifti.inspect,
    "trial.json": files.read_json,
    "volumes.csv": frames.read_csv,
}


@pytest.mark.filterwarnings("ignore")  # of readers that wonder at what they are given
@pytest.mark.parametrize("name", READERS)
def test_a_trap_in_a_file_does_not_snap(name, tmp_path):
    trap, path = tmp_path / "trap", tmp_path / name
    path.write_bytes(pickle.dumps(Trap(trap), protocol=2))
    if path.suffix == ".npy":
        np.save(path, np.array([Trap(trap)], dtype=object), allow_pickle=True)
    with pytest.raises((UserError, OSError, ValueError)):
        READERS[name](path)
    assert not trap.exists()
    if path.suffix != ".npy":
        pickle.loads(path.read_bytes())  # noqa: S301 - our own
        assert trap.exists(), "the trap is none"
