"""All ratios of `benchmarks/README.md`, taken in one run: ``tox -e ratios``; ``-- --quick`` tries it in minutes and writes nothing.

One thread, CPU time, medians of interleaved repeats. Run it on a machine that has nothing else to do.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import torch
from measured import data, engine, gpu, growth, memory, methods, page, scoring

from mcsr_bench.system.memory import keep_freed_memory

SECTIONS = {
    "methods": methods,
    "memory": memory,
    "data": data,
    "scoring": scoring,
    "engine": engine,
    "growth": growth,
    "gpu": gpu,
}
TO = page.ROOT / "benchmarks" / "README.md"
HEAD = """# Ratios

Read the ratios, not the seconds: both sides of each were measured in one run on one thread, in turns, so that they hold on other
machines where seconds do not. A goal stands beside the figure that it is for, and where it is missed, that is said.

`tox -e ratios` makes this page.

"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes and few repeats: its figures mean nothing")
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"of {','.join(SECTIONS)}")
    parser.add_argument(
        "--to", type=Path, help="the page; by default benchmarks/README.md, and with --quick or --only none"
    )
    asked = parser.parse_args()
    names = asked.only.split(",")
    whole = names == list(SECTIONS) and not asked.quick
    torch.set_num_threads(1)
    keep_freed_memory()  # as a worker does
    sections = []
    for name in names:
        sections.append(SECTIONS[name].section(asked.quick))
        print(f"\n{sections[-1]}", flush=True)
    text = HEAD + "\n".join([page.machine(), *sections])
    to = asked.to or (TO if whole else None)
    if to is not None:
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
