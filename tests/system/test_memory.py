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


END_OF_THE_HEAP = """
import ctypes
import numpy as np
from mcsr_bench.system import memory
if not memory.keep_freed_memory():
    raise SystemExit("no glibc")
end = ctypes.CDLL(None).sbrk
end.restype = ctypes.c_void_p
arrays = [np.empty(700 << 20, np.uint8) for _ in range(5)]  # never written to: it takes no memory
with_arrays = end(0)
arrays.clear()
kept = end(0)
memory.keep_freed_memory()
print(with_arrays - kept, kept - end(0))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_a_large_step_keeps_all_its_memory_and_the_next_trial_starts_without() -> None:
    done = subprocess.run([sys.executable, "-c", END_OF_THE_HEAP], capture_output=True, text=True, check=False)
    if "no glibc" in done.stderr:
        pytest.skip("another C library than glibc")
    freed, given_back = map(int, done.stdout.split())
    assert freed == 0
    assert given_back >= 5 * (700 << 20)


def test_another_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from mcsr_bench.system import memory

    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    assert not memory.keep_freed_memory()
