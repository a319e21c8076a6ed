"""What is built: all built-in plugins, also without symbolic links; or nothing, and a sentence says why."""

import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from hatchling.build import build_sdist, build_wheel

ROOT = Path(__file__).parents[2]
KINDS = ("datasets", "methods", "reports")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout as git leaves it where there are no symbolic links: files that hold the way; with the current folder in it."""
    root = tmp_path / "checkout"
    (root / "mcsr_bench").mkdir(parents=True)
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore", "mcsr_bench/__init__.py"):
        shutil.copy(ROOT / name, root / name)
    for kind in KINDS:
        shutil.copytree(ROOT / kind, root / kind, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        (root / "mcsr_bench" / kind).write_text(f"../{kind}")
    (root / "reports" / "reference").mkdir(exist_ok=True)
    (root / "reports" / "reference" / "quick.json").write_text("{}")  # reported numbers, which need no card
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def plugin_files(root):
    return {p.relative_to(root).as_posix() for kind in KINDS for p in (root / kind).rglob("*") if p.is_file()}


def in_wheel(path):
    with zipfile.ZipFile(path) as wheel:
        return {name for name in wheel.namelist() if name.startswith("mcsr_bench/")}


@pytest.mark.parametrize("links", ["files", "links", "none"])
def test_a_wheel_holds_every_plugin_whatever_the_links_of_its_checkout_are(checkout, out, links):
    for kind in KINDS:
        place = checkout / "mcsr_bench" / kind
        if links != "files":
            place.unlink()
        if links == "links":
            os.symlink(f"../{kind}", place)
    want = {f"mcsr_bench/{name}" for name in plugin_files(checkout)} | {"mcsr_bench/__init__.py"}
    assert in_wheel(out / build_wheel(str(out))) == want


@pytest.mark.parametrize("links", ["files", "links"])
def test_a_wheel_from_an_sdist_is_the_wheel_of_the_checkout(checkout, out, links, monkeypatch):
    if links == "links":  # as in a checkout on Linux: the build before this one left out what it saw twice
        for kind in KINDS:
            (checkout / "mcsr_bench" / kind).unlink()
            os.symlink(f"../{kind}", checkout / "mcsr_bench" / kind)
    wheel = (out / build_wheel(str(out))).rename(out / "from-checkout.whl")
    with tarfile.open(out / build_sdist(str(out))) as sdist:
        sdist.extractall(out, filter="data")
    [unpacked] = [path for path in out.iterdir() if path.is_dir()]
    assert {f"{kind}/" in " ".join(plugin_files(unpacked)) for kind in KINDS} == {True}
    monkeypatch.chdir(unpacked)
    assert (out / build_wheel(str(out))).read_bytes() == wheel.read_bytes()


@pytest.mark.parametrize("build", [build_sdist, build_wheel])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", ["missing", "empty", "without a card"])
def test_nothing_is_built_without_a_folder_of_plugins(checkout, out, build, kind, damage):
    if damage == "without a card":
        for card in (checkout / kind).glob("*/card.toml"):
            card.unlink()
    else:
        shutil.rmtree(checkout / kind)
    if damage == "empty":
        (checkout / kind / "removed").mkdir(parents=True)  # git leaves the byte code of what it removes
    what = "has no card.toml" if damage == "without a card" else f"folder of the built-in {kind} is {damage}"
    with pytest.raises(ValueError, match=rf"{kind}.*: .*{what}.*nothing was built"):
        build(str(out))
    assert list(out.iterdir()) == []


def test_an_sdist_that_lost_a_plugin_on_the_way_is_removed(checkout, out):
    with (checkout / ".gitignore").open("a") as ignored:
        ignored.write("sms/\n")  # by chance: the name of a folder of results, say
    with pytest.raises(ValueError, match=r"tar\.gz would lack 1 files of plugins, among them datasets/sms/card\.toml"):
        build_sdist(str(out))
    assert list(out.iterdir()) == []
