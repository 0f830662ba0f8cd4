"""The memory that a process keeps between two training steps."""

import ctypes
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
    library of Linux gives such blocks back to the system and asks for them anew, and
    the page faults that follow can take a fifth of the time of a training step on a
    processor. Afterwards they stay in the heap of the process, which therefore remains
    as large as it ever was.

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
