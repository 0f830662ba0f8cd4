"""Checks of folders, sizes of files, and one error for all kinds of full disks.

This module imports the standard library only.
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
# HDF5, TensorFlow and subprocesses report a full disk only in the text of a message.
_WORDS = re.compile(
    "|".join([*map(os.strerror, sorted(_FULL)), r"\berrno = (%d|%d|%d)\b"])
    % tuple(sorted(_FULL))
)
# Bytes of a path to reserve for the names of files in a run directory.
_OWN_NAMES = 80


class DiskFullError(OSError):
    """There is no space left for a file. It is an OSError.

    A pruning run continues if the call is repeated after space was freed.
    """

    def __init__(self, path: str | os.PathLike | None):
        super().__init__(
            f"There is no space left to write '{path}'. Free some space, or raise the "
            "limit on the size of files. Then repeat the call or command."
        )


def full_disk(error, path=None):
    """Converts an error to a `DiskFullError` if a full disk caused it.

    Args:
        error: an exception; the exceptions that caused it are examined too.
        path: file that was being written, if the error does not name it.

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
def staging_folder(parent):
    """A temporary folder of an export in `parent`: moving files on a disk is atomic.

    Folders that killed processes of this machine left behind are removed first.

    Args:
        parent: an existing folder.
    """
    parent, own = pathlib.Path(parent), f".export-{platform.node()}-"
    for left in parent.iterdir():
        found = re.fullmatch(rf"{re.escape(own)}(\d+)-\w+", left.name)
        if found and is_gone(int(found[1])):
            shutil.rmtree(left, ignore_errors=True)
    prefix = f"{own}{os.getpid()}-"
    with tempfile.TemporaryDirectory(dir=parent, prefix=prefix) as folder:
        yield pathlib.Path(folder)


def is_gone(process: int) -> bool:
    """Whether a process does not exist; False if this cannot be determined."""
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
    """Why a folder cannot be created or written to; None if it can. Creates nothing."""
    text = os.fspath(path)
    if not text:
        return "the name is empty"
    if "\0" in text:
        return "the name contains a null character"
    whole = place = pathlib.Path(os.path.abspath(text))
    try:
        while not place.exists():
            place = place.parent
    except OSError as error:
        return error.strerror.lower()
    if not place.is_dir():
        return f"'{place}' is a file"
    if not os.access(place, os.W_OK | os.X_OK):
        return f"there is no permission to write to '{place}'"
    if hasattr(os, "pathconf"):
        longest = max(map(_bytes, whole.relative_to(place).parts), default=0)
        if longest > os.pathconf(place, "PC_NAME_MAX"):
            return "a name in it is too long"
        if _bytes(whole) + _OWN_NAMES > os.pathconf(place, "PC_PATH_MAX"):
            return "it is too long"
    return None


def size_of(path) -> int:
    """Size in bytes of a file, or of all files in a folder.

    Args:
        path: `pathlib.Path` of an existing file or folder.
    """
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _bytes(path):
    return len(os.fsencode(path))
