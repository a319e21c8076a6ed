"""This process as on macOS, as far as Linux can be made to (not sys.platform: torch chooses the files that it loads by it).

On PYTHONPATH: every Python that is started begins with it.
"""

import multiprocessing
import os
import platform

for name in ("sched_getaffinity", "process_cpu_count"):
    if hasattr(os, name):
        delattr(os, name)
multiprocessing.set_start_method("spawn")
platform.system = lambda: "Darwin"
platform.machine = lambda: "arm64"
