"""`new_method`: what it writes passes the conformance suite, what it refuses is said in a sentence, and the docs hold."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mcsr_bench import UserError
from mcsr_bench.conformance import check_method
from mcsr_bench.conformance.synthetic import smooth_batch
from mcsr_bench.plugin import registry
from mcsr_bench.plugin.cards import MethodCard
from mcsr_bench.plugin.scaffold import new_method

ROOT = Path(__file__).parents[1]
DOC = (ROOT / "docs" / "add-a-method.md").read_text(encoding="utf-8")
FILES = ["README.md", "__init__.py", "card.toml", "network.py"]


def forget_plugins() -> None:
    for kind in (registry.methods, registry.datasets, registry.reports):
        kind.cache_clear()
    for module in [m for m in sys.modules if m.startswith("mcsr_bench_plugin_my")]:
        del sys.modules[module]


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    forget_plugins()
    yield
    forget_plugins()


def failures(name: str) -> list[str]:
    return [f"{o.check}: {o.detail}" for o in check_method(name) if o.status == "fail"]


def blocks(language: str, text: str = DOC) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def table(header: str) -> list[list[str]]:
    """The rows of the table of the docs with that first column, as cells."""
    [body] = re.findall(rf"^\| {header} \|.*\n\|[-|]+\n((?:\|.*\n)+)", DOC, re.MULTILINE)
    return [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in body.splitlines()]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_what_is_written_passes_as_it_is(tmp_path: Path) -> None:
    written = new_method("mynet", tmp_path / "not" / "there")
    folder = tmp_path / "not" / "there" / "mynet"
    assert sorted(f.name for f in folder.iterdir()) == sorted([*FILES, "test_mynet.py"])
    assert sorted(written) == sorted(folder.iterdir())
    assert [f.name for f in folder.parent.iterdir()] == ["mynet"]
    assert not any("{{" in f.read_text() for f in written)
    registry.add_plugins(folder.parent)
    outcomes = {o.check: o.status for o in check_method("mynet")}
    assert {check for check, status in outcomes.items() if status != "pass"} <= {"gpu"}


def test_its_own_test_passes_from_anywhere(tmp_path: Path) -> None:
    new_method("my-own-net", tmp_path / "my")
    out = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path / "my" / "my_own_net"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
    )
    assert "3 passed" in out.stdout, out.stdout + out.stderr


def test_a_hyphen_becomes_an_underscore_in_the_folder_alone(tmp_path: Path) -> None:
    written = new_method("my-own-net", tmp_path)
    assert {f.parent.name for f in written} == {"my_own_net"}
    assert "test_my_own_net.py" in {f.name for f in written}
    registry.add_plugins(tmp_path)
    card = registry.methods().card("my-own-net")
    assert (card.title, card.class_name) == ("My own net", "MyOwnNet")


@pytest.mark.parametrize(
    "name", ["none", "true", "batch", "network", "settings", "tensor", "torch-method", "class", "x"]
)
def test_a_name_that_means_something_else_in_python_works(tmp_path: Path, name: str) -> None:
    new_method(name, tmp_path)
    registry.add_plugins(tmp_path)
    outcomes = {o.check: o for o in check_method(name)}
    assert outcomes["loads"].status == outcomes["parameters"].status == "pass", outcomes


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("MyNet", "a name begins with a lower-case letter"),
        ("2fast", "a name begins with a lower-case letter"),
        ("my_net", "a name begins with a lower-case letter"),
        ("my net", "a name begins with a lower-case letter"),
        ("../net", "a name begins with a lower-case letter"),
        ("net\n", "a name begins with a lower-case letter"),
        ("", "a name begins with a lower-case letter"),
        ("sanet", "there is a method of that name"),
        ("brain-sim", "there is a dataset of that name"),
        ("all", "the word means all methods"),
    ],
)
def test_a_name_that_cannot_be_had_is_refused(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        new_method(name, tmp_path / "my")
    assert "\n" not in str(caught.value).replace(name, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "file", "broken link"])
def test_what_is_there_is_not_touched(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "mynet"
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_text("mine")
    else:
        path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"mynet is there already; choose another name or folder$"):
        new_method("mynet", tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^--to \S+: \S+/file/my/mynet cannot be written: Not a directory$"):
        new_method("mynet", tmp_path / "file" / "my")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(UserError, match=r"cannot be written: Permission denied$"):
        new_method("mynet", tmp_path)


def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full after the second file."""
    write, count = Path.write_text, [0]

    def full(self: Path, *args: Any, **kwargs: Any) -> int:
        count[0] += 1
        if count[0] > 2:
            raise OSError(28, "No space left on device")
        return write(self, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UserError, match=r"cannot be written: No space left on device$"):
        new_method("mynet", tmp_path)
    assert list(tmp_path.iterdir()) == []


# docs/add-a-method.md


def test_the_commands_of_the_docs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """In their order; a training run is of preset smoke on the toy dataset."""
    monkeypatch.chdir(tmp_path)
    ran = []
    for line in "".join(blocks("sh")).splitlines():
        program, verb, *arguments = shlex.split(line)
        assert program == "mcsr-bench"
        ran.append(verb)
        if verb == "run":
            arguments += ["--dataset", "toy", "--plugins", str(ROOT / "tests" / "toys"), "--jobs", "1"]
            arguments += [] if "--preset" in arguments else ["--preset", "smoke"]
        out = here(verb, *arguments)
        assert out.returncode == 0, out.stdout + out.stderr
        if verb == "check":
            assert "16 checks of 1 plugin, 0 failed" in out.stdout
        if verb == "run":
            assert re.search(r"mynet +│ +\d", out.stdout)
    assert ran == ["new", "check", "run", "run"]


def test_the_python_of_the_docs(tmp_path: Path) -> None:
    batch, critic = blocks("python")
    exec(compile(batch, "add-a-method.md", "exec"), {})
    card, _ = blocks("toml")
    assert "my/mycritic/__init__.py" in DOC
    assert "my/mycritic/card.toml" in DOC
    folder = tmp_path / "mycritic"
    folder.mkdir()
    (folder / "__init__.py").write_text(critic)
    (folder / "card.toml").write_text(card)
    registry.add_plugins(tmp_path)
    assert failures("mycritic") == []


def test_the_batch_of_the_docs() -> None:
    batch = smooth_batch(3, (8, 12), scale=2, training=True)
    rows = table("property")
    assert len(rows) == 12
    for name, shape, dtype, _ in rows:
        value = getattr(batch, *names(name))
        assert tuple(value.shape) == {"(B, h, w)": (3, 8, 12), "(B, H, W)": (3, 16, 24)}[shape], name
        assert str(value.dtype) == f"torch.{dtype}", name


def test_the_keys_of_the_docs() -> None:
    known = {field.alias or name for name, field in MethodCard.model_fields.items()}
    keys = [key for row in table("key") for key in names(row[0])]
    assert len(keys) > 12
    assert set(keys) <= known


def test_the_checks_of_the_docs() -> None:
    assert [names(row[0]) for row in table("check")] == [[o.check] for o in check_method("bicubic")]


def test_the_files_of_the_docs(tmp_path: Path) -> None:
    assert sorted(n for row in table("file") for n in names(row[0])) == sorted(
        f.name for f in new_method("mynet", tmp_path)
    )


@pytest.mark.parametrize("source", ["docs", "README"])
def test_as_a_package(tmp_path: Path, source: str) -> None:
    """Laid out as the printed pyproject.toml says, and installed by hand: what pip would write, without the network."""
    written = new_method("mynet", tmp_path / "site")
    text = DOC if source == "docs" else (written[0].parent / "README.md").read_text()
    project = tomllib.loads(blocks("toml", text)[-1])
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["mynet"]
    assert project["project"]["dependencies"] == ["mcsr-bench"]
    [(group, points)] = project["project"]["entry-points"].items()
    info = tmp_path / "site" / "mynet-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mynet\nVersion: 0.1.0\n")
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    code = (
        "from mcsr_bench import load_method\n"
        "from mcsr_bench.plugin.registry import methods\n"
        "print(methods().plugins()['mynet'].module, load_method('mynet', 2, 'quick').card.name)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
    )
    assert out.stdout == "mynet mynet\n", out.stdout + out.stderr
