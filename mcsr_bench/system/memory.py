"""Memory of a process that trains: what was freed is kept for the next step."""

from __future__ import annotations

import ctypes
import platform

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of malloc.h
_LARGEST_INT = (1 << 31) - 1
_NEVER = -1


def keep_freed_memory() -> bool:
    """Have the C library reuse freed memory, also of large arrays, from here on; returns whether it does. glibc alone.

    What was freed before goes back to the system: it may be the memory of a larger training. Otherwise arrays over 32 MiB, and
    what is free beyond 128 KiB at the end of the heap, go back at once, and each step of a training gets its memory anew, page by
    page: a sixth of a step of mcmrsr.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    library.malloc_trim(0)
    return bool(library.mallopt(_MMAP_THRESHOLD, _LARGEST_INT) and library.mallopt(_TRIM_THRESHOLD, _NEVER))
