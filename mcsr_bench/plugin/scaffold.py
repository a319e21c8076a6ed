"""Begin a plugin from a template that passes the conformance suite as it is."""

from __future__ import annotations

import datetime
import os
import re
import shutil
import tempfile
from pathlib import Path

import jinja2

from mcsr_bench.errors import UserError
from mcsr_bench.plugin.registry import datasets, methods

_TEMPLATES = Path(__file__).parent / "templates"
_TAKEN_CLASSES = {"Annotated", "Batch", "False", "Field", "Network", "None", "Settings", "Tensor", "True"} | {
    "TorchMethod",
    "TrainingSettings",
}
"""Python's words, and what the template's ``__init__.py`` imports or defines."""


def new_method(name: str, to: str | Path) -> list[Path]:
    """Write ``to``/NAME/ (a hyphen becomes an underscore): card, network, method, test and README; returns the files.

    name: what users will type; lower-case letters, digits and hyphens. ``to`` is made when it is not there. The folder appears
    complete or not at all. Raises UserError for a name that is malformed or taken, a folder that exists, a place that cannot be
    written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,63}", name):
        raise UserError(
            f"new method {name}: a name begins with a lower-case letter; at most 63 lower-case letters, digits and hyphens follow"
        )
    if name == "all":
        raise UserError(f"new method {name}: the word means all methods; choose another name")
    for kind, registry in (("method", methods()), ("dataset", datasets())):
        if name in registry.plugins():  # a dataset's too: `check NAME` and `--set NAME.KEY=VALUE` mean one or the other
            where = registry.plugins()[name].folder
            raise UserError(f"new method {name}: there is a {kind} of that name ({where}); choose another name")
    folder = name.replace("-", "_")
    to = Path(to)
    final = to / folder
    if final.exists() or final.is_symlink():
        raise UserError(f"--to {to}: {final} is there already; choose another name or folder")
    words = {
        "name": name,
        "folder": folder,
        "title": name.replace("-", " ").capitalize(),
        "class_name": _class_name(name),
        "year": datetime.date.today().year,
    }
    return _write(_TEMPLATES / "method", words, to, final)


def _class_name(name: str) -> str:
    camel = "".join(part.capitalize() for part in name.split("-"))
    return f"{camel}Method" if camel in _TAKEN_CLASSES else camel


def _write(templates: Path, words: dict[str, object], to: Path, final: Path) -> list[Path]:
    """Fill in every template, beside ``final`` first, then moved there in one step."""
    loader = jinja2.Environment(  # nosec B701
        loader=jinja2.FileSystemLoader(templates),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    written = []
    temporary: Path | None = None
    try:
        to.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".tmp", dir=to))
        for template in sorted(loader.list_templates(extensions=["jinja"])):
            file = template.removesuffix(".jinja").replace("NAME", final.name)
            (temporary / file).write_text(loader.get_template(template).render(words), encoding="utf-8")
            written.append(final / file)
        temporary.chmod(0o755)
        os.replace(temporary, final)
    except OSError as error:
        raise UserError(f"--to {to}: {final} cannot be written: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return written
