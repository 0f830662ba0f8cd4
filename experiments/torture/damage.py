"""Damages every file of a run directory in three ways."""

import os
import shutil

from experiments.torture import process
from experiments.torture.case import Case, refused, same
from experiments.torture.subject import difference

_BROKEN = 16  # bytes


def _cut(path):
    os.truncate(path, path.stat().st_size // 2)


def _empty(path):
    os.truncate(path, 0)


def _overwrite(path):
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + _BROKEN] = b"\xff" * _BROKEN
    path.write_bytes(content)


WAYS = {"cut in half": _cut, "emptied": _empty, "overwritten in the middle": _overwrite}


def cases(subject, rng, folder):
    """Damages each file of an interrupted run, then repeats its command.

    Required is either an error that names the file, after which the run continues with
    the restored file, or the result of the undisturbed run.

    Yields:
        `Case`.
    """
    start, broken = subject.interrupted, folder / "run"
    files = [path.relative_to(start) for path in sorted(start.rglob("*"))]
    for name in files:
        if (start / name).is_dir() or not (start / name).stat().st_size:
            continue
        for way, harm in WAYS.items():
            shutil.rmtree(broken, ignore_errors=True)
            shutil.copytree(start, broken)
            harm(broken / name)
            title = f"{name} {way}"
            ended = process.run(subject.train(broken))
            if ended.code == 0:
                yield same(title, difference(broken, subject.trained))
                continue
            found = refused(title, ended, name.name)
            yield found
        if ended.code and found.right:
            shutil.copy2(start / name, broken / name)
            ended = process.run(subject.train(broken))
            if ended.code:
                wrong = f"after it is restored: {ended.error}"
                yield Case(f"{name} restored", wrong, False)
            else:
                yield same(f"{name} restored", difference(broken, subject.trained))
