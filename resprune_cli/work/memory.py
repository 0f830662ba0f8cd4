"""Checks the memory that data need before they are read."""

import sys

from resprune_cli.options.usage import WrongUse
from resprune_tf.system.memory import machine_bytes

_LARGE = 1e9  # bytes; reading more takes long, so the size is printed


def check_memory(what, size):
    """Prints the size of large data on standard error.

    Args:
        what: name of the data.
        size: number of bytes that they need in memory.

    Raises:
        WrongUse: if the machine has less memory.
    """
    whole = machine_bytes()
    if whole is not None and size > whole:
        raise WrongUse(
            f"{what} needs {size / 1e9:.1f} GB of memory, but this machine has "
            f"{whole / 1e9:.1f} GB. For a folder of images, give --examples N to read "
            "only N images. Otherwise make an .npz file with fewer examples."
        )
    if size >= _LARGE:
        print(f"{what} needs {size / 1e9:.1f} GB of memory.", file=sys.stderr)
