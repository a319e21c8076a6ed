"""``python -m mcsr_bench``: the same as the command ``mcsr-bench``."""

from mcsr_bench.cli import main

main()
