"""Runs the campaign and records the outcome of every case.

    python -m experiments.torture [--only=KIND,...] [--seed=N] [--out=FILE]

The campaign runs the users' commands while processes are killed, files are damaged,
disks are full or two processes write at once, and with hostile files. It uses small
models and scikit-learn's digits in a temporary folder, and needs Linux. Running a kind
again replaces its cases in the record.
"""

import collections
import pathlib
import random
import shutil
import sys
import tempfile
import time

from experiments.pages import manifest
from experiments.pages.library import counted
from experiments.pages.results import RECORDS, parser_of
from experiments.running.quiet import quiet_start
from experiments.torture import damage, disk, hostile, kills, writers
from experiments.torture.page import COMMAND
from experiments.torture.subject import Subject

KINDS = {
    "kills": kills.cases,
    "damage": damage.cases,
    "disk": disk.cases,
    "writers": writers.cases,
    "hostile files": hostile.cases,
}


def main(argv=None):
    """Runs the chosen kinds; exits with 1 if any case went wrong."""
    arguments = _parser().parse_args(argv)
    kinds = arguments.only.split(",") if arguments.only else list(KINDS)
    if unknown := set(kinds).difference(KINDS):
        sys.exit(
            f"error: there is no kind named {', '.join(sorted(unknown))}. Choose from "
            f"{', '.join(KINDS)}."
        )
    with quiet_start():
        from resprune_tf.runs.environment import environment
    record = manifest.read_record(arguments.out) or {"kinds": {}}
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        folder = pathlib.Path(folder)
        print("Training the undisturbed models ...", flush=True)
        (folder / "subject").mkdir()
        subject = Subject(folder / "subject")
        for kind in kinds:
            place = folder / kind.replace(" ", "-")
            place.mkdir()
            begun, cases = time.monotonic(), []
            rng = random.Random(f"{arguments.seed} {kind}")
            for case in KINDS[kind](subject, rng, place):
                outcome = case.outcome.replace(str(folder), "DIR")
                cases.append(
                    {"case": case.name, "outcome": outcome, "right": case.right}
                    | ({"kills": case.kills} if case.kills else {})
                )
                verdict = "ok" if case.right else "WRONG"
                print(f"{verdict:5} {kind}: {case.name}: {outcome}", flush=True)
            counts = collections.Counter(case["right"] for case in cases)
            wrong += counts[False]
            record["kinds"][kind] = {
                "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "seed": arguments.seed,
                "seconds": round(time.monotonic() - begun),
                "environment": environment(),
                "cases": cases,
            }
            manifest.write_record(arguments.out, record)
            if not counts[False]:
                shutil.rmtree(place)
    print(f"{counted(wrong, 'case')} went wrong; record: {arguments.out}")
    sys.exit(1 if wrong else 0)


def _parser():
    parser = parser_of(COMMAND, __doc__)
    parser.add_argument(
        "--only",
        metavar="KINDS",
        help=f"comma-separated kinds to run (default: all of {', '.join(KINDS)})",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of the random moments and writes (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=RECORDS / "torture" / "campaign.json",
        help="record to write (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    main()
