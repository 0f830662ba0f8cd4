"""What data take in memory, said before they are read. Pure Python."""

import sys

from resprune_cli.options.usage import WrongUse

_TOLD = 1e9  # bytes from which on a reader may wonder what takes so long


def check_memory(what, size):
    """Tells of large data, on standard error, and refuses what cannot be held.

    Args:
        what: what the data are called.
        size: bytes that they take in memory.

    Raises:
        WrongUse: if that is more than the machine has.
    """
    whole = machine_bytes()
    if whole is not None and size > whole:
        raise WrongUse(
            f"{what} takes {size / 1e9:.1f} GB in memory; this machine has "
            f"{whole / 1e9:.1f} GB. Of a folder of images, --examples N reads N alone; "
            "make an .npz file of fewer examples."
        )
    if size >= _TOLD:
        print(f"{what} takes {size / 1e9:.1f} GB in memory.", file=sys.stderr)


def machine_bytes():
    """Bytes of memory that the machine has, or None if it does not tell."""
    from resprune_tf.system import memory

    return memory.machine_bytes()
