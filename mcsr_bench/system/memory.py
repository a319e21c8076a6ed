"""Memory of a process that trains: what was freed is kept for the next step."""

from __future__ import annotations

import ctypes
import platform

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of malloc.h
_LARGEST_INT = (1 << 31) - 1


def keep_freed_memory() -> bool:
    """Have the C library reuse the memory of large arrays for the rest of this process; returns whether it does. glibc alone.

    Otherwise arrays over 32 MiB are given back to the system when they are freed, and each step of a training gets its memory anew,
    page by page: a sixth of a step of mcmrsr.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_MMAP_THRESHOLD, 1 << 30) and library.mallopt(_TRIM_THRESHOLD, _LARGEST_INT))
