"""The build hook: the built-in plugins of ``methods/``, ``datasets/`` and ``reports/`` go into the package, or nothing is built.

A checkout has them at the top and linked into ``mcsr_bench/``. A build takes them from the top, so that it needs no symbolic links,
and compares what it built with what lies there: a package without its plugins installs without a word and can do nothing.
"""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

KINDS = ("datasets", "methods", "reports")
CARD = "card.toml"
DATA = "reports/reference"
"""The one folder beside the plugins that is none: reported numbers, which `mcsr-bench regress` compares with."""


def plugin_files(root: Path) -> set[str]:
    """The files of all built-in plugins, relative to ``root``. ValueError for a folder that is missing, empty, or has no card."""
    files: set[str] = set()
    for kind in KINDS:
        folder = root / kind
        if not folder.is_dir():
            raise ValueError(f"{folder}: the folder of the built-in {kind} is missing; nothing was built")
        plugins = {path.name: _files(path) for path in sorted(folder.iterdir()) if path.is_dir()}
        plugins = {name: found for name, found in plugins.items() if found}  # what git leaves of a removed one is empty
        if not plugins:
            raise ValueError(f"{folder}: the folder of the built-in {kind} is empty; nothing was built")
        for name, found in plugins.items():
            if folder / name / CARD not in found and f"{kind}/{name}" != DATA:
                raise ValueError(f"{folder / name}: has no {CARD}, so that nobody would find it; nothing was built")
            files |= {path.relative_to(root).as_posix() for path in found}
    return files


def _files(folder: Path) -> set[Path]:
    """What is not left there by a tool: neither byte code nor hidden."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path for path in found if not any(p.startswith((".", "__py")) for p in path.relative_to(folder).parts[:-1])}


def packed(artifact: Path) -> set[str]:
    """The names in a wheel or an sdist, without the folder that an sdist has around everything."""
    if artifact.suffix == ".whl":
        with zipfile.ZipFile(artifact) as wheel:
            return set(wheel.namelist())
    with tarfile.open(artifact) as sdist:
        return {member.name.partition("/")[2] for member in sdist if member.isfile()}


class PluginHook(BuildHookInterface[Any]):
    """See the module."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Put the plugins into the package of a wheel; an editable installation finds them by the links of its checkout."""
        plugin_files(Path(self.root))
        if self.target_name == "wheel" and version == "standard":
            build_data["force_include"].update({str(Path(self.root, kind)): f"mcsr_bench/{kind}" for kind in KINDS})

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove an artifact that lacks a plugin's file. ValueError with the first of them."""
        if version == "editable":
            return
        prefix = "mcsr_bench/" if self.target_name == "wheel" else ""
        artifact = Path(artifact_path)
        missing = {prefix + name for name in plugin_files(Path(self.root))} - packed(artifact)
        if missing:
            artifact.unlink()
            raise ValueError(f"{artifact.name} would lack {len(missing)} files of plugins, among them {min(missing)}")
