"""Archives of arrays (`.npz`) whose headers are checked before any array is read."""

import contextlib
import math
import zipfile
from typing import NamedTuple

import numpy as np

_NPY = ".npy"


class Header(NamedTuple):
    """Shape and dtype of an array in an archive, and its size in bytes with header."""

    shape: tuple[int, ...]
    dtype: np.dtype
    nbytes: int


class ArrayFile:
    """An open `.npz` archive.

    Attributes:
        headers: dict from the name of an array to its `Header`.

    Raises:
        ValueError: on entry and by every method: if the file is not an archive or is
            damaged, or an array contains Python objects, which are never read because
            they can run code.
        OSError: if the file cannot be opened.
    """

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        with contextlib.ExitStack() as stack, as_value_error():
            self._archive = stack.enter_context(zipfile.ZipFile(self.path))
            self.headers = {}
            for member in self._archive.infolist():
                name = member.filename.removesuffix(_NPY)
                if name in self.headers:
                    raise ValueError(f"it contains '{name}' twice")
                if member.filename.endswith(_NPY):
                    self.headers[name] = self._header(name, member)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception):
        self._stack.close()

    def _header(self, name, member):
        with self._archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):  # its headers have at most 64 kB
                raise ValueError(
                    f"'{name}' is in version {version[0]} of the npy format, which "
                    "plain arrays do not need. Save it again with np.savez."
                )
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            begin = file.tell()
        if dtype.hasobject:
            raise ValueError(
                "Object arrays cannot be loaded, because they can run code. Convert "
                f"'{name}' to numbers or strings, and save it again."
            )
        needed, stored = math.prod(shape) * dtype.itemsize, member.file_size - begin
        if needed != stored:
            raise ValueError(f"'{name}' is truncated: {stored:,} of {needed:,} bytes")
        return Header(shape, dtype, member.file_size)

    def read(self, name: str) -> np.ndarray:
        """Reads the array with this name, a key of `headers`."""
        with as_value_error(), self._archive.open(name + _NPY) as file:
            return np.lib.format.read_array(file, allow_pickle=False)


@contextlib.contextmanager
def as_value_error():
    """Turns the many errors of damaged archives into a ValueError."""
    try:
        yield
    # Archives raise the last two for encryption and for unknown compressions.
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    except (OSError, ValueError, KeyError):
        raise
    except Exception as error:  # `zlib.error` is derived from Exception only
        raise ValueError(f"{type(error).__name__}: {error}") from error
