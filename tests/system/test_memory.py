"""Memory that a step frees is there for the next one."""

from __future__ import annotations

import subprocess
import sys

import pytest

ALLOCATE = """
import resource, sys
import numpy as np
from mcsr_bench.system import memory
if sys.argv[1] == "kept":
    sys.exit("no glibc") if not memory.keep_freed_memory() else None
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(1 << 24)
before = faults()
for _ in range(5):
    np.ones(1 << 24)
print(faults() - before)
"""


def page_faults(how: str) -> int:
    """Of five arrays of 128 MiB, one after the other, when there was one before."""
    done = subprocess.run([sys.executable, "-c", ALLOCATE, how], capture_output=True, text=True, check=False)
    if "no glibc" in done.stderr:
        pytest.skip("another C library than glibc")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_pages_are_not_asked_for_again() -> None:
    assert page_faults("kept") < page_faults("as it is") / 10


def test_another_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from mcsr_bench.system import memory

    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    assert not memory.keep_freed_memory()
