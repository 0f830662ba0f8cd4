"""The memory of the machine, and what a process keeps between steps and trainings."""

import ctypes
import gc
import os
import platform
import sys

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


class Release:
    """Frees what the trainings since it was made have left behind.

    TensorFlow keeps the gradient of every `tf.custom_gradient` that was traced, such as
    that of a SiLU, in a registry that only grows, and with it the graph and the weights
    of its model. A graph that has been traced needs it no more.
    """

    def __init__(self):
        self._known = frozenset(_gradients())

    def __call__(self):
        """Call it when nothing refers to the models of those trainings any more."""
        gradients = _gradients()
        for name in {*gradients} - self._known:
            if name.startswith("CustomGradient-"):
                del gradients[name]
        # Models and their compiled functions refer to each other. Python looks for such
        # cycles by the number of objects, and these are few and large.
        gc.collect()


def _gradients():
    """TensorFlow's registry of gradients, a dict; empty where there is none."""
    ops = sys.modules.get("tensorflow.python.framework.ops")
    registry = getattr(ops, "gradient_registry", None)
    return getattr(registry, "_registry", {})
