"""Processors and memory of the machine, and memory that a process keeps."""

import ctypes
import gc
import os
import platform
import sys

# Parameters of mallopt: their numbers in glibc's malloc.h, and their new values.
_KEPT = {
    "M_MMAP_THRESHOLD": (-3, 2**30),  # smaller blocks come from the heap
    "M_TRIM_THRESHOLD": (-1, 2**31 - 1),  # free bytes before the heap shrinks
    "M_TOP_PAD": (-2, 2**28),  # bytes by which the heap grows
}


def keep_memory() -> bool:
    """Makes this process keep freed memory, which may speed up training on a CPU.

    TensorFlow allocates and frees activations of tens of MB in every step. The C
    library of Linux returns such blocks to the system and requests them again. On some
    processors the resulting page faults take up to a quarter of a training step; on
    others, and with huge pages, hardly any time. After this call the process keeps
    freed blocks, so its memory does not decrease below its peak.

    Call it once, before the first training step. The commands of this package do so.

    Returns:
        True if the settings were changed; False if the C library is not glibc, as on
        macOS or Alpine Linux.

    Source: <https://man7.org/linux/man-pages/man3/mallopt.3.html>

    >>> keep_memory()
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all([mallopt(number, value) == 1 for number, value in _KEPT.values()])


def machine_bytes() -> int | None:
    """Memory of the machine in bytes; None if it is unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def processors() -> int:
    """Number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Release:
    """Frees memory that trainings since its creation have left behind.

    TensorFlow registers the gradient of every traced `tf.custom_gradient`, such as that
    of SiLU, for good, and with it the graph and the weights of its model. A graph does
    not need the registration after it has been traced.
    """

    def __init__(self):
        self._known = frozenset(_gradients())

    def __call__(self):
        """Frees the memory. Call it after the models of those trainings are deleted."""
        gradients = _gradients()
        for name in {*gradients} - self._known:
            if name.startswith("CustomGradient-"):
                del gradients[name]
        # Models and their compiled functions form reference cycles. Python collects
        # cycles by the number of objects, and these are few but large.
        gc.collect()


def _gradients():
    """TensorFlow's registry of gradients, a dict; empty without TensorFlow."""
    ops = sys.modules.get("tensorflow.python.framework.ops")
    registry = getattr(ops, "gradient_registry", None)
    return getattr(registry, "_registry", {})
