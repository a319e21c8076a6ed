"""This process as on macOS, as far as Linux can be made to. On PYTHONPATH: every Python that is started begins with it."""

import multiprocessing
import os
import platform
import subprocess  # noqa: F401 - it chooses by the platform when it is imported
import sys
import sysconfig

for name in ("sched_getaffinity", "process_cpu_count"):
    if hasattr(os, name):
        delattr(os, name)
sysconfig.get_config_vars()  # of the Python that runs
multiprocessing.set_start_method("spawn")
platform.system = lambda: "Darwin"
platform.machine = lambda: "arm64"
sys.platform = "darwin"
