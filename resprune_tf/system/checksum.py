"""A checksum of arrays, to tell data and weights apart."""

import zlib

import numpy as np

# Machines round a seed's weights differently by less than this share of their norm.
_ROUNDING = 1e-6


def checksum(arrays, value=0):
    """CRC-32 of the bytes of all arrays in their order, an int.

    Args:
        arrays: of NumPy.
        value: checksum to go on from.
    """
    for array in arrays:
        value = zlib.crc32(np.ascontiguousarray(array), value)
    return value


def weights_agree(old: list[float], new: list[float]) -> bool:
    """Whether two `"weights"` of `model_identity` are equal but for rounding."""
    limit = _ROUNDING * abs(old[0])
    return len(old) == len(new) and all(
        abs(a - b) <= limit for a, b in zip(old, new, strict=True)
    )
