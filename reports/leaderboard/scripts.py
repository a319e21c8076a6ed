"""Data as classic scripts: a page that was opened as a file may not fetch, and may load a script.

Each is one call, ``mcsr.loaded("NAME", JSON.parse("..."))``. Parsed JSON has no prototypes and no code, whatever it says.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from mcsr_bench.errors import one_line
from mcsr_bench.system import files


def write_script(to: Path, name: str, value: Any) -> Path:
    """``data/NAME.js`` in the site; text shows its control characters instead of obeying them, and NaN becomes null."""
    path = to / "data" / f"{name}.js"
    text = json.dumps(plain(value), separators=(",", ":"), allow_nan=False)
    call = f"mcsr.loaded({json.dumps(name)},JSON.parse({_quoted(text)}));\n"
    files.write_text(path, call, lasting=False)
    return path


def _quoted(text: str) -> str:
    """As a string of JavaScript, in ASCII."""
    return json.dumps(text).replace("<", "\\u003c")  # so that not even a careless inclusion ends a script


def plain(value: Any) -> Any:
    """A value as JSON has it, of finite numbers and text that nothing acts on."""
    if isinstance(value, dict):
        return {one_line(str(key)): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, str):
        return "\n".join(map(one_line, value.split("\n")))
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value
