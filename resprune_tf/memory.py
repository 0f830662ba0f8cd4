"""The memory of the machine, and what a process keeps between two training steps."""

import ctypes
import os
import platform

# Parameters of mallopt, from glibc's malloc.h, and the values that they are given.
_KEPT = {
    "M_MMAP_THRESHOLD": (-3, 2**30),  # smaller blocks come from the heap
    "M_TRIM_THRESHOLD": (-1, 2**31 - 1),  # bytes free at its top before it shrinks
    "M_TOP_PAD": (-2, 2**28),  # bytes it grows by at a time
}


def keep_memory() -> bool:
    """Lets this process keep the memory that its operations free.

    TensorFlow allocates and frees each activation, tens of MB, in every step. The C
    library of Linux returns such blocks to the system and requests them again. On some
    processors the resulting page faults take up to a quarter of a training step; on
    others, as with huge pages, next to nothing. After this call freed blocks stay in
    the process, whose memory does not shrink below its peak.

    Call it once, before the first training step. The commands of this package do.

    Returns:
        Whether anything was set: False where the C library is not glibc, as on macOS
        or Alpine Linux.

    Source: https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all([mallopt(number, value) == 1 for number, value in _KEPT.values()])


def machine_bytes() -> int | None:
    """Bytes of memory that the machine has, or None if it does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
