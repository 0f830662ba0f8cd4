"""Gives hostile files to the commands, which must refuse them or stay unharmed."""

import shutil

from experiments.torture import hostile_files, process
from experiments.torture.case import Case

_MORE_MEGABYTES = 500  # more than the same command with a good file
_MORE_SECONDS = 60


def cases(subject, rng, folder):
    """Gives every hostile file to a command that reads such files.

    Yields:
        `Case`.
    """
    good = process.run(subject.prune(folder / "good"))
    trained = process.run(subject.train(folder / "trained"))
    most = max(good.megabytes, trained.megabytes) + _MORE_MEGABYTES
    longest = max(good.seconds, trained.seconds) + _MORE_SECONDS
    for number, (title, make) in enumerate(hostile_files.FILES.items()):
        place = folder / f"{number:02}"
        outside = place / "outside"
        outside.mkdir(parents=True)
        (outside / "kept.txt").write_text("kept")
        command = make(subject, place, outside)
        before = _listing(outside)
        ended = process.run(command)
        yield _judged(title, ended, _listing(outside) != before, most, longest)
        shutil.rmtree(place)


def _judged(title, ended, reached, most, longest):
    """The case of one hostile file."""
    fault = ended.fault()
    if fault == "accepted" and title in hostile_files.HARMLESS:
        fault = None
    if reached:
        fault = "reached a file outside its folder"
    elif ended.megabytes > most:
        fault = f"took {ended.megabytes:,.0f} MB of memory (allowed: {most:,.0f})"
    elif ended.seconds > longest:
        fault = f"took {ended.seconds:.0f} s (allowed: {longest:.0f})"
    outcome = f"refused: {ended.error}" if ended.code else "harmless"
    return Case(title, fault or outcome, fault is None)


def _listing(folder):
    """Name and content of every file of a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }
