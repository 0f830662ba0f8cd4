"""A checksum of arrays, to identify data and weights."""

import zlib

import numpy as np

# Weights of the same seed differ between machines by less than this share of the norm.
_ROUNDING = 1e-6


def checksum(arrays, value=0):
    """CRC-32 of the bytes of all arrays in order, an int.

    Args:
        arrays: NumPy arrays.
        value: initial value of the checksum.
    """
    for array in arrays:
        value = zlib.crc32(np.ascontiguousarray(array), value)
    return value


def weights_agree(old: list[float], new: list[float]) -> bool:
    """Whether two `"weights"` of `model_identity` agree to within rounding."""
    limit = _ROUNDING * abs(old[0])
    return len(old) == len(new) and all(
        abs(a - b) <= limit for a, b in zip(old, new, strict=True)
    )
