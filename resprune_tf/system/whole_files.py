"""Files that are replaced atomically, so that a reader never finds an incomplete one.

Every write goes to a temporary file, which is synced and renamed. This module imports
the standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shutil

from resprune_tf.system.disk import is_gone, writing

# Name of a file that is being written: process number, then the name of the file.
_TEMPORARY = re.compile(r"\.writing-(\d+)-(.+)")


class RunDirectoryError(ValueError):
    """The run directory cannot be used as requested. It is a ValueError."""


@contextlib.contextmanager
def atomic_file(path):
    """Yields a temporary path next to `path`, which replaces `path` on success.

    Raises:
        DiskFullError: if there is no space left, whatever error the writer raises.
    """
    path = pathlib.Path(path)
    # The suffix is preserved, because Keras chooses the file format by it.
    temporary = path.with_name(f".writing-{os.getpid()}-{path.name}")
    try:
        with writing(path):
            yield temporary
            with open(temporary, "rb") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, path)
            _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path, text: str) -> None:
    """Replaces a text file atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path, value) -> None:
    """Replaces a JSON file atomically."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path):
    """Reads a JSON file; None if it does not exist.

    Raises:
        RunDirectoryError: if the file is damaged.
    """
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from None


def write_lines(path, values) -> None:
    """Replaces a file of one JSON value per line, atomically."""
    write_text(path, "".join(json.dumps(value) + "\n" for value in values))


def read_lines(path) -> list[dict]:
    """Reads a file of one JSON object per line; [] if it does not exist.

    Raises:
        RunDirectoryError: if the file is damaged.
    """
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise damaged(path, error) from None
    values = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise damaged(path, error, number) from None
        if not isinstance(value, dict):
            raise damaged(path, "not a JSON object", number)
        values.append(value)
    return values


def remove_left_behind(folder, name=None):
    """Removes temporary files in a folder that terminated processes left behind.

    Args:
        folder: pathlib.Path; it need not exist.
        name: name of the file that was being written; by default any.
    """
    for path in folder.glob(".writing-*"):
        match = _TEMPORARY.fullmatch(path.name)
        if match and name not in (None, match[2]):
            continue
        # Process numbers start again in a new container, so a file with the number of
        # this process is from an earlier one.
        if not match or not (int(match[1]) == os.getpid() or is_gone(int(match[1]))):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


# How to continue without the file, or without its damaged lines.
_WITHOUT = {
    "rounds.jsonl": "delete this line and those after it: the run repeats these rounds",
    "history.jsonl": "delete the file: the report will lack the curves of these rounds",
    "sessions.jsonl": "delete the line: it only states which process worked on the run",
    "final.json": "delete it: the same call writes it again",
    "diverged.json": "delete it: the round that diverged is trained again",
    "state.npz": "delete it: the round that was in training starts again",
    "initial.keras": "delete it: until round 0 is done the same call writes it again, "
    "and later rounds do not need it",
}


def damaged(path, reason, line: int | None = None) -> RunDirectoryError:
    """Returns the error to raise for a damaged file of a run directory.

    Args:
        path: path of the file.
        reason: what is wrong with it.
        line: number of the damaged line, if it has lines.
    """
    path = pathlib.Path(path)
    place = f", line {line}," if line else ""
    reason = str(reason) or type(reason).__name__
    other = _WITHOUT.get(path.name, "choose another run directory")
    if re.fullmatch(r"round-\d+\.keras", path.name):
        other = (
            "delete the line of its round in rounds.jsonl, and those after it: the run "
            "repeats these rounds"
        )
    return RunDirectoryError(
        f"'{path}'{place} is damaged: {reason}. Restore it from a copy, or {other}."
    )
