"""A checksum of arrays, to tell data and weights apart."""

import zlib

import numpy as np


def checksum(arrays, value=0):
    """CRC-32 of the bytes of all arrays in their order, an int.

    Args:
        arrays: of NumPy.
        value: checksum to go on from.
    """
    for array in arrays:
        value = zlib.crc32(np.ascontiguousarray(array), value)
    return value
