"""Splits, cards and checkpoints from anyone: a sentence each, nothing runs, and no plugin takes another down."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import mcsr_bench as mb
from mcsr_bench.data.manifest import read_split
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.published import published_numbers
from mcsr_bench.system.files import file_name
from mcsr_bench.weights.loading import load_method
from mcsr_bench.weights.tensors import load_weights, read_info, save_tensors

DEEP = "[" * 100_000 + "]" * 100_000
ESC = "x\x1b]0;owned\x07\u202etxt"

SPLITS: dict[str, tuple[str, str]] = {
    "nested lists": (DEEP, "nested too deeply"),
    "nested but parsable": ('{"train": ' + "[" * 90 + "]" * 90 + "}", "nested too deeply"),
    "17 MB": ('"' + "x" * 17_000_000 + '"', "larger than"),
    "NaN": ('{"train": NaN}', "not a finite number"),
    "a list": ("[]", "not a manifest of a split"),
    "a number of 10 000 digits": ("1" * 10_000, "integer string conversion"),
    "a patient with ESC": (
        json.dumps({"rule": "r", "train": [ESC], "validation": [], "test": []}),
        r"patient 'x\\+x1b.* of train is not in dataset",
    ),
    "a dataset with ESC": (
        json.dumps({"dataset": ESC, "rule": "r", "train": [], "validation": [], "test": []}),
        r"is of dataset 'x\\x1b",
    ),
    "a long value": (json.dumps({"rule": ["x" * 100_000]}), r"rule: .{0,300}$"),
}


@pytest.mark.parametrize("name", SPLITS)
def test_a_split_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    text, sentence = SPLITS[name]
    (tmp_path / "split.json").write_text(text, encoding="utf-8")
    dataset = mb.load_dataset("brain-sim", size=32)
    with pytest.raises(UserError, match=sentence) as raised:
        read_split(tmp_path / "split.json", dataset, dataset.cases())
    assert str(raised.value).isprintable()


CARD = """
name = "evil"
title = "A plugin"
class = "Evil"
authors = "A"
venue = "V"
year = 2026
contrasts = "single"
track = "magnitude"
trains = false
"""
GOOD = CARD.replace("evil", "good")
CODE = (
    "from mcsr_bench import Method\nclass Evil(Method):\n    def predict(self, batch): return batch.auxiliary.abs()\n"
)


def card(text: str) -> Callable[[Path], None]:
    return lambda folder: void((folder / "card.toml").write_text(text, encoding="utf-8"))


def code(text: str) -> Callable[[Path], None]:
    return lambda folder: void((folder / "__init__.py").write_text(text, encoding="utf-8"))


def void(_: object) -> None:
    pass


def with_parent(folder: Path) -> None:
    """A requirement within a package that must not be imported to look for it."""
    package = folder.parents[1] / "importable" / "evil_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('ran')\n")
    card(CARD + 'requires = ["evil_package.part", ".x", ""]\n')(folder)


def pipe(folder: Path) -> None:
    """A module and code that never end, and no card of ours."""
    os.mkfifo(folder / "more.py")
    card("name = 1\n")(folder)


CARDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "100 000 nested lists": (card(CARD + f"assumptions = {DEEP}"), "nested too deeply"),
    "nested tables": (card(CARD + "presets." + ".a" * 5000 + " = 1"), "card.toml"),
    "nested but parsable": (card(CARD + "presets.quick.a" + ".a" * 90 + " = 1"), "nested too deeply"),
    "17 MB": (card(CARD + "#" + "x" * 17_000_000), "larger than"),
    "not UTF-8": (lambda folder: void((folder / "card.toml").write_bytes(b"\xff\xfe")), "card.toml"),
    "a name with ESC": (card(CARD.replace('"evil"', r'"x\u001b[31m"')), "name: "),
    "a name that climbs": (card(CARD.replace('"evil"', '"../../x"')), "name: "),
    "a name that is a list": (card(CARD.replace('"evil"', '["x"]')), "name: "),
    "a name that is taken": (card(CARD.replace('"evil"', '"zerofill"')), "is taken by"),
    "no kind of ours": (card(CARD + 'kind = "virus"\n'), "kind: "),
    "a kind that is a list": (card(CARD + 'kind = ["method"]\n'), "kind: "),
    "a requirement in a package": (with_parent, "needs the Python module '.x'"),
    "a pipe as a module": (pipe, "name: "),
    "code that nests": (code("x = " + "(" * 100_000), "__init__.py"),
    "code with a NUL": (code("x = 1\0"), "__init__.py"),
    "numbers elsewhere": (
        card('kind = "report"\nname = "evil"\ntitle = "t"\nclass = "Evil"\npublished_numbers = "/etc/passwd"\n'),
        "published_numbers names",
    ),
}


def two_plugins(tmp_path: Path) -> Path:
    """A folder with a good plugin and one to be spoilt."""
    for name, text in (("good", GOOD), ("evil", CARD)):
        folder = tmp_path / "plugins" / name
        folder.mkdir(parents=True)
        card(text)(folder)
        code(CODE)(folder)
    return tmp_path / "plugins"


@pytest.mark.parametrize("name", CARDS)
def test_a_bad_plugin_disables_itself_and_nobody_else(
    tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    plugins = two_plugins(tmp_path)
    spoil, reason = CARDS[name]
    monkeypatch.syspath_prepend(tmp_path / "importable")
    spoil(plugins / "evil")
    rows = {row["name"]: row for kind in ("methods", "datasets") for row in mb.listing(kind, plugins)}
    assert rows["good"]["available"]
    assert rows["sanet"]["available"]
    assert len(published_numbers()) > 0
    if "published" not in reason:
        [bad] = [row for row in rows.values() if "evil" in row["name"] + str(row["reason"])]
        assert not bad["available"]
        assert reason in bad["reason"]
    if "ESC" in name:  # for the others the command would print the same rows
        out = here("list", "methods", "--plugins", plugins)
        assert out.returncode == 0
        assert all(line.isprintable() for line in out.stdout.splitlines())
    assert mb.load_method("good", 2, plugins=plugins).card.name == "good"


IMPORTS = {
    "it ends the process": ("raise SystemExit(0)\n", "cannot be imported: SystemExit"),
    "it recurses": ("def f(): f()\nf()\n", "cannot be imported: RecursionError"),
    "no class": ("Evil = 3\n", "is not a class"),
    "a message with ESC": (f"raise ValueError({ESC!r})\n", r"\\x1b"),
}


@pytest.mark.parametrize("name", IMPORTS)
def test_code_that_fails_is_a_sentence(tmp_path: Path, name: str) -> None:
    text, sentence = IMPORTS[name]
    plugins = two_plugins(tmp_path)
    code(text)(plugins / "evil")
    with pytest.raises(UserError, match=sentence) as raised:
        mb.load_method("evil", 2, plugins=plugins)
    assert str(raised.value).isprintable()


def saved(content: Any) -> bytes:
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


def rewritten(data: bytes, index: bytes | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A checkpoint with another index, or compressed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, index if index and name.endswith("data.pkl") else old.read(name))
    return out.getvalue()


def shared_member(data: bytes) -> bytes:
    """Two entries for the same bytes: the members are larger than the file."""
    out = io.BytesIO(rewritten(data))
    with zipfile.ZipFile(out, "a") as archive:
        for _ in range(50):
            archive.filelist.append(max(archive.filelist, key=lambda m: m.file_size))
        archive._didModify = True  # type: ignore[attr-defined]
    return out.getvalue()


def doubling() -> bytes:
    """Text that is encoded as hexadecimal, over and over: 12 MB of memory more with each two dozen bytes of the file."""
    step = b"c_codecs\nencode\n"
    body = b"X" + (8).to_bytes(4, "little") + b"a" * 8
    for codec in ["latin1", *["hex"] * 30]:
        body = step + body + b"X" + len(codec).to_bytes(4, "little") + codec.encode() + b"\x86R"
    return b"\x80\x02" + body + b"."


def cyclic() -> dict[str, Any]:
    inner: dict[str, Any] = {"w": torch.zeros(2)}
    inner["again"] = [inner]
    return {"state_dict": inner, "w": torch.zeros(2)}


def nested() -> dict[str, Any]:
    inner: list[Any] = []
    for _ in range(400):
        inner = [inner, inner]
    return {"w": torch.zeros(2), "deep": inner}


def header(length: int, text: bytes = b"{}") -> bytes:
    return length.to_bytes(8, "little") + text.ljust(length)


TENSORS = {"w": torch.zeros(64, 64)}
CHECKPOINTS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "compressed": ("pth", lambda: rewritten(saved(TENSORS), None, zipfile.ZIP_DEFLATED), "is compressed"),
    "members that share bytes": ("pth", lambda: shared_member(saved(TENSORS)), "larger than the file"),
    "text that doubles": ("pth", lambda: rewritten(saved(TENSORS), doubling()), "_codecs.encode"),
    "text that doubles, old format": ("pth", doubling, "_codecs.encode"),
    "a length without bytes": (
        "pth",
        lambda: rewritten(saved(TENSORS), b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."),
        "bytearray",
    ),
    "a tensor larger than its values": ("pth", lambda: saved({"w": torch.zeros(1).expand(2**40)}), "than the values"),
    "a mapping in itself": ("pth", lambda: saved(cyclic()), "none of its tensors is known"),
    "lists without end": ("pth", lambda: saved(nested()), "none of its tensors is known"),
    "a name with ESC": ("pth", lambda: saved({ESC: torch.zeros(2)}), "none of its tensors is known"),
    "code": ("pth", lambda: pickle.dumps(print, protocol=2), "print"),
    "cut": ("pth", lambda: saved(TENSORS)[:-100], "truncated"),
    "an endless header": ("safetensors", lambda: header(20_000_000), "header has 20000000 bytes"),
    "a header beyond the file": ("safetensors", lambda: (2**62).to_bytes(8, "little") + b"{}", "safetensors"),
    "nothing": ("safetensors", lambda: b"", "safetensors"),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_is_refused_in_a_sentence(tmp_path: Path, here: Any, name: str) -> None:
    kind, make, sentence = CHECKPOINTS[name]
    path = tmp_path / f"theirs.{kind}"
    path.write_bytes(make())
    out = here("import-weights", "edsr", path, "--to", tmp_path / "bundle")
    assert out.returncode == 2
    assert sentence in out.stderr
    assert out.stderr.startswith("mcsr-bench: ")
    assert all(line.isprintable() for line in (out.stdout + out.stderr).splitlines())
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "cache") == [path.name]


def test_notes_in_weights_are_read_with_care(tmp_path: Path) -> None:
    for number, note in enumerate((DEEP, '{"scale": NaN}', "[]", "x" * 100)):
        path = tmp_path / f"{number}.safetensors"
        save_file({"w": torch.zeros(2)}, path, metadata={"mcsr-bench": note})
        assert read_info(path) is None
        with pytest.raises(UserError, match="damaged"):
            load_weights(load_method("zerofill", 2, "quick"), path)


def test_weights_that_are_much_larger_than_the_network_are_not_read(tmp_path: Path) -> None:
    method = load_method("edsr", 2, "quick", width=4, blocks=1)
    path = tmp_path / "weights.safetensors"
    save_tensors(path, method.state(), {})
    load_weights(method, path)
    with path.open("r+b") as handle:
        handle.truncate(2**40)
    with pytest.raises(UserError, match=f"has {2**40} bytes, and the network has"):
        load_weights(method, path)


@pytest.mark.parametrize(
    "text", ["../../x", "/etc", "", ".", "..", "con", "T2*", "a b", "é", ESC, "x" * 500, "a\0b", "\ud800"]
)
def test_any_text_becomes_one_safe_name_of_its_own(text: str) -> None:
    made = file_name(text)
    assert made == file_name(made)
    assert Path(made).name == made
    assert made.isascii()
    assert made.isprintable()
    assert not set('/\\:*?"<>| ') & set(made)
    assert made != file_name(f"{text}?")
    assert len(made) < 150


def test_names_of_ours_stay_as_they_are() -> None:
    for name in ("x2-small-mcsr-1-complex-fs-pd", "curves-brain-sim@1a2b3c4d-x4", "alpha=0.3", "T2w"):
        assert file_name(name) == name


MEMORY = """
import resource, sys
from pathlib import Path
import torch
import mcsr_bench as mb
from mcsr_bench.results.bundle import BundleFiles
here = Path(sys.argv[1])
kept = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for call in (
    lambda: mb.import_weights("edsr", here / "bomb.pth", here / "bundle"),
    lambda: BundleFiles(here).read_record(),
    lambda: mb.load_results(here),
    lambda: mb.listing("methods", here),
):
    try:
        call()
    except mb.UserError as error:
        print(str(error)[:200])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - kept)
"""


@pytest.mark.slow
def test_the_worst_need_no_memory(tmp_path: Path) -> None:
    """Files that become gigabytes when they are read: a compressed member, and records and cards that are mostly holes."""
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/version", b"3")
        with archive.open("archive/data/0", "w") as member:
            for _ in range(48):
                member.write(bytes(1 << 24))
    (tmp_path / "evil").mkdir()
    for path in (tmp_path / "trial.json", tmp_path / "experiment.json", tmp_path / "evil" / "card.toml"):
        with path.open("wb") as handle:
            handle.truncate(3 << 30)
    out = subprocess.run(
        [sys.executable, "-c", MEMORY, tmp_path], capture_output=True, text=True, timeout=300, check=True
    )
    *said, grown = out.stdout.splitlines()
    assert len(said) == 3
    assert int(grown) < 400_000  # KiB
