"""Places to write to: checked before any work, and what a full disk is told as.

Pure Python.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import platform
import re
import shutil
import tempfile

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# HDF5, TensorFlow and other processes put it into words of their own.
_WORDS = re.compile(
    "|".join([*map(os.strerror, sorted(_FULL)), r"\berrno = (%d|%d|%d)\b"])
    % tuple(sorted(_FULL))
)
# Bytes of a path that the names of a run's own files may need.
_OWN_NAMES = 80


class DiskFullError(OSError):
    """There is no space left for a file. The same call continues once there is."""

    def __init__(self, path: str | os.PathLike | None):
        super().__init__(
            f"There is no space left to write '{path}'. Free some space, or raise the "
            "limit on the size of files; then the same command continues."
        )


def full_disk(error, path=None):
    """What to say of an error if a full disk caused it.

    Args:
        error: an exception; those it was raised from are looked at, too.
        path: what was being written, if the error does not name it.

    Returns:
        A `DiskFullError`, or None.
    """
    seen, full = [], False
    while error is not None and error not in seen:
        if isinstance(error, DiskFullError):
            return error
        full = full or getattr(error, "errno", None) in _FULL
        full = full or bool(_WORDS.search(str(error)))
        path = path or getattr(error, "filename", None)
        seen.append(error)
        error = error.__cause__ or error.__context__
    return DiskFullError(path or "a file") if full else None


@contextlib.contextmanager
def writing(path):
    """Raises a DiskFullError for a full disk while `path` is written."""
    try:
        yield
    except Exception as error:
        if full := full_disk(error, path):
            raise full from error
        raise


@contextlib.contextmanager
def staging_folder(parent, word):
    """A temporary folder in `parent`, as on the same disk moving is one rename.

    Those that killed processes of this machine left behind are removed first.

    Args:
        parent: an existing folder.
        word: what is staged; part of the folder's name.
    """
    parent, own = pathlib.Path(parent), f".{word}-{platform.node()}-"
    for left in parent.iterdir():
        found = re.fullmatch(rf"{re.escape(own)}(\d+)-\w+", left.name)
        if found and is_gone(int(found[1])):
            shutil.rmtree(left, ignore_errors=True)
    prefix = f"{own}{os.getpid()}-"
    with tempfile.TemporaryDirectory(dir=parent, prefix=prefix) as folder:
        yield pathlib.Path(folder)


def is_gone(process: int) -> bool:
    """Whether there is no such process; False where that cannot be asked."""
    if os.name != "posix":
        return False
    try:
        os.kill(process, 0)  # sends nothing
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False
    return False


def folder_problem(path) -> str | None:
    """Why a folder cannot be made or written to; None if it can. Makes nothing."""
    text = os.fspath(path)
    if not text:
        return "the name is empty"
    if "\0" in text:
        return "the name holds a null character"
    whole = place = pathlib.Path(os.path.abspath(text))
    try:
        while not place.exists():
            place = place.parent
    except OSError as error:
        return error.strerror.lower()
    if not place.is_dir():
        return f"'{place}' is a file"
    if not os.access(place, os.W_OK | os.X_OK):
        return f"'{place}' may not be written to"
    if hasattr(os, "pathconf"):
        longest = max(map(_bytes, whole.relative_to(place).parts), default=0)
        if longest > os.pathconf(place, "PC_NAME_MAX"):
            return "a name in it is too long"
        if _bytes(whole) + _OWN_NAMES > os.pathconf(place, "PC_PATH_MAX"):
            return "it is too long"
    return None


def _bytes(path):
    return len(os.fsencode(path))
