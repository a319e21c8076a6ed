"""This process as on macOS, as far as Linux can be made to (not sys.platform, and not for torch, which chooses the files that it
loads by them).

On PYTHONPATH: every Python that is started begins with it.
"""

import multiprocessing
import os
import platform
import sys

for name in ("sched_getaffinity", "process_cpu_count"):
    if hasattr(os, name):
        delattr(os, name)
multiprocessing.set_start_method("spawn")

_system, _machine = platform.system, platform.machine


def _by_torch() -> bool:
    return str(sys._getframe(2).f_globals.get("__name__")).partition(".")[0] == "torch"


platform.system = lambda: _system() if _by_torch() else "Darwin"
platform.machine = lambda: _machine() if _by_torch() else "arm64"
