"""Copies the records of a run into records/, to be committed.

    python -m experiments.record runs/demo records/digits/demo-seed0 [--models]

An unfinished run can be recorded, too. Its finished rounds are copied, and a later call
replaces them when the run has more rounds. The record of a finished run has the trained
models of round 0, of the selected and of the last round, and all models if they take at
most 1 MB; that of an unfinished run has none. With --models, both have the models of
all rounds, and an unfinished run can continue from its record. Exports are left out,
because flags.txt reproduces them, and so is the report, which `resprune report
RECORD_DIR` writes. The new files are listed in records/SHA256SUMS.
"""

import argparse
import json
import pathlib
import re
import shutil
import sys

from experiments.pages import manifest
from experiments.pages.library import RunRecords
from experiments.pages.scales import check_scale

_TEXT = (
    "flags.txt",
    "run.json",
    "environment.json",
    "sessions.jsonl",
    "rounds.jsonl",
    "history.jsonl",
)
# Files that a finished run has in addition.
_KEPT = (*_TEXT, "final.json")
# A measurement that some runs have.
_MEASURED = "unit_norms.json"
# Size in bytes up to which a finished record keeps the models of all rounds.
SMALL = 1_000_000
_RUN_PATH = re.compile(
    "(--(?:run_dir|start_from|twin_of|teacher_from|epochs_of|compute_of)=).*/([^/\n]+)"
)


def keep(run_dir, record, models=False):
    """Copies the records of a run, finished or not.

    Args:
        run_dir: folder of the run.
        record: folder of the record. It is replaced as a whole if it belongs to the
            same run and has fewer rounds.
        models: whether to keep the models of all rounds.

    Raises:
        ValueError: if the run has finished no round, if the name of the record states
            another scale than the flags of the run, if the record belongs to another
            run, or if it has at least as many rounds.
    """
    run_dir, record = pathlib.Path(run_dir), pathlib.Path(record)
    finished = (run_dir / "final.json").is_file()
    names = _KEPT if finished else _TEXT
    missing = [name for name in names if not (run_dir / name).is_file()]
    if missing:
        raise ValueError(
            f"'{run_dir}' has no records to keep: it has no {', '.join(missing)}. "
            "Continue the run until a round, or the whole run, is finished."
        )
    run = RunRecords.read(run_dir)
    check_scale(record, run.scale)
    new, old = (record.with_name(f".{word}-{record.name}") for word in ("new", "old"))
    if old.exists() and not record.exists():  # a call was killed between two renames
        old.rename(record)
    if record.exists():
        _check_replaced(run_dir, record)
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for name in names:
        shutil.copyfile(run_dir / name, new / name)
    _shorten_run_paths(new)
    for folder in (record, run_dir):  # either can contain the measurement
        if (folder / _MEASURED).is_file():
            shutil.copyfile(folder / _MEASURED, new / _MEASURED)
    for name in _models(run_dir, run, models):
        (new / "models").mkdir(exist_ok=True)
        shutil.copyfile(run_dir / name, new / name)
    if record.exists():
        record.rename(old)
    new.rename(record)
    shutil.rmtree(old, ignore_errors=True)
    manifest.note(record)


def _models(run_dir, run, all_rounds):
    """Names of the models to keep, among those that the run still has."""
    names = {line["round"]: line.get("model") for line in run.rounds}
    sizes = {
        number: (run_dir / name).stat().st_size
        for number, name in names.items()
        if name and (run_dir / name).is_file()
    }
    kept = set(names)
    if not all_rounds:
        if not run.final:
            return []
        if sum(sizes.values()) > SMALL:
            kept = {0, run.selected["round"], max(names)}
    return [names[number] for number in sorted(kept & set(sizes))]


def _shorten_run_paths(record):
    """Shortens the paths of runs in the flags to `runs/NAME`, as on any machine."""
    path = record / "flags.txt"
    flags = path.read_text(encoding="utf-8")
    path.write_text(_RUN_PATH.sub(r"\1runs/\2", flags), encoding="utf-8")


def progress(folder):
    """Number of finished rounds of a run or a record, and whether it is finished."""
    folder = pathlib.Path(folder)
    rounds = folder / "rounds.jsonl"
    count = len(rounds.read_text().splitlines()) if rounds.is_file() else 0
    return count, (folder / "final.json").is_file()


def _check_replaced(run_dir, record):
    if _settings(run_dir) != _settings(record):
        raise ValueError(
            f"'{record}' exists and belongs to another run than '{run_dir}': their "
            "run.json differ. Choose another name for the record."
        )
    if progress(run_dir) <= progress(record):
        raise ValueError(
            f"'{record}' exists and has at least as many rounds as '{run_dir}'. A "
            "record is replaced only when its run has more rounds."
        )


def _settings(folder):
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


def main(argv):
    parser = argparse.ArgumentParser(
        prog="python -m experiments.record",
        description="Copies the records of a run into records/, to be committed.",
    )
    parser.add_argument(
        "run_dir", metavar="RUN_DIR", help="run directory, such as runs/demo"
    )
    parser.add_argument(
        "record",
        metavar="RECORD_DIR",
        help="record to write or replace, such as records/digits/demo-seed0",
    )
    parser.add_argument(
        "--models",
        action="store_true",
        help="keep the models of all rounds; an unfinished run can then be continued",
    )
    arguments = parser.parse_args(argv)
    try:
        keep(arguments.run_dir, arguments.record, arguments.models)
    except ValueError as error:
        sys.exit(f"error: {error}")
    rounds, finished = progress(arguments.record)
    state = f"{rounds} rounds" + ("" if finished else ", run not finished")
    print(f"{arguments.record}: written ({state}); `make reproduce` updates the pages")


if __name__ == "__main__":
    main(sys.argv[1:])
