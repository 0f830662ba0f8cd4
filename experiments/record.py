"""Keeps the text of a finished run under records, to be committed.

    python -m experiments.record runs/demo records/digits/demo-seed0

Models and exports stay behind: flags.txt makes them again. Existing records are not
replaced.
"""

import pathlib
import shutil
import sys

from experiments.run_records import Run
from experiments.scales import check_name

_KEPT = (
    "flags.txt",
    "run.json",
    "environment.json",
    "sessions.jsonl",
    "rounds.jsonl",
    "history.jsonl",
    "final.json",
    "report.html",
)
# Kept where they are: not every run has been measured further.
_OPTIONAL = ("unit_norms.json",)


def keep(run_dir, record):
    """Copies the records of a finished run.

    Raises:
        ValueError: if the run is unfinished, the record exists, or its name states
            another scale than the flags of the run.
    """
    run_dir, record = pathlib.Path(run_dir), pathlib.Path(record)
    missing = [name for name in _KEPT if not (run_dir / name).is_file()]
    if missing:
        raise ValueError(
            f"'{run_dir}' is no finished run: it has no {', '.join(missing)}."
        )
    check_name(record, Run.read(run_dir).scale)
    if record.exists():
        raise ValueError(f"'{record}' exists; records are not replaced.")
    record.mkdir(parents=True)
    measured = [name for name in _OPTIONAL if (run_dir / name).is_file()]
    for name in (*_KEPT, *measured):
        shutil.copyfile(run_dir / name, record / name)


def main(argv):
    if len(argv) != 2:
        sys.exit("usage: python -m experiments.record RUN_DIR RECORD_DIR")
    try:
        keep(*argv)
    except ValueError as error:
        sys.exit(f"error: {error}")
    print(f"{argv[1]}: kept; `make reproduce` rebuilds the pages")


if __name__ == "__main__":
    main(sys.argv[1:])
