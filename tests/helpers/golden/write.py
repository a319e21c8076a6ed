"""Write ``values.py``: what `images` and `scores` compute, beside the revisions of today. The engine computes none of it.

``python tests/helpers/golden/write.py``, after a revision was raised and the independent computation says what it now means.
"""

import json
import sys
from pathlib import Path
from textwrap import fill

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent)]

from golden import images, scores  # noqa: E402

from mcsr_bench.data import sampler as sampling  # noqa: E402
from mcsr_bench.metrics import METRICS  # noqa: E402
from mcsr_bench.protocol import REVISIONS  # noqa: E402

INDENT = {
    "initial_indent": " " * 8,
    "subsequent_indent": " " * 12,
    "break_long_words": False,
    "break_on_hyphens": False,
}
HEAD = '''"""The golden values by (what they belong to, its revision), written by ``write.py``: computed without the engine.

A comparison has no revision: it is computed when a report is made and stored with no result.
"""

# fmt: off
GOLDEN: dict[tuple[str, int | None], dict[str, object]] = {
'''


def main() -> None:
    """Write the file."""
    computed = images.computed() | scores.computed()
    revisions = {**REVISIONS, "batches": sampling.REVISION, **{m.id: m.revision for m in METRICS.values()}}
    lines = []
    for name, values in computed.items():
        entries = [fill(f'"{key}": {json.dumps(value)},', 120, **INDENT) + "\n" for key, value in values.items()]
        lines.append(f'    ("{name}", {revisions.get(name)}): {{\n{"".join(entries)}    }},\n')
    (HERE / "values.py").write_text(HEAD + "".join(lines) + "}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
