"""This process as on macOS, as far as Linux can be made to: torch takes sys.platform for the files it loads. On PYTHONPATH: every Python that is started begins with it."""

import multiprocessing
import os
import platform

for name in ("sched_getaffinity", "process_cpu_count"):
    if hasattr(os, name):
        delattr(os, name)
multiprocessing.set_start_method("spawn")
platform.system = lambda: "Darwin"
platform.machine = lambda: "arm64"
