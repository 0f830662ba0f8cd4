"""Every command of the queue at the scale smoke, and the pages that come of it.

    python -m experiments.rehearsal --out=runs/rehearsal --cifar10=DATA --imagenet=DATA

Tries commands and pages; their numbers mean nothing. Keeps the records of all rows in
OUT/records and makes the tables and figures of docs/results from them in OUT/results.
Continues where it was stopped. Exit status: the number of commands that failed.
"""

import argparse
import pathlib
import subprocess
import sys
import time

from experiments import record, reproduce
from experiments.pages import manifest
from experiments.pages.results import RECORDS, ROOT
from experiments.paper import figure5
from experiments.paper.rows import ROWS

REHEARSAL = RECORDS / "queue" / "rehearsal.json"


def command(row, seed, out, data):
    """Arguments of a row's experiment at the scale smoke.

    Args:
        row: a `Row`.
        seed: int.
        out: folder, for whose `runs` the runs of rows and of those they name lie.
        data: folder by name of the data set, of those that are at hand; in place of
            CIFAR the digits are used.
    """
    made = [a.replace("=runs/", f"={out}/runs/") for a in row.command(seed)]
    made.append("--scale=smoke")
    if row.data in data:
        return [*made, f"--data_dir={data[row.data]}"]
    return [*made, "--dataset=digits"]


def rehearse(rows, seeds, out, data):
    """Runs rows in their order, and keeps their records.

    Returns:
        dict from a row's run to its data, whether it ran to its end, and its seconds.
    """
    results = {}
    for row in rows:
        begun, ran = time.monotonic(), True
        for seed in seeds:
            kept = out / "records" / row.record(seed)
            if kept.exists():
                continue
            run_dir = out / "runs" / kept.name
            ran = _run(f"experiments.{row.module}", *command(row, seed, out, data))
            if ran and row.run == figure5.RUN:
                where = [f"--data_dir={data[row.data]}"] if row.data in data else []
                ran = _run("experiments.unit_norms", run_dir, *where)
            if not ran:
                break
            record.keep(run_dir, kept)
        seconds = round(time.monotonic() - begun, 1)
        name = row.data if row.data in data else "digits"
        results[row.run] = {"data": name, "ran": ran, "seconds": seconds}
        said = "ok" if ran else "FAILED"
        print(f"{row.run:18} {name:9} {seconds:6.1f} s  {said}", flush=True)
    return results


def _run(module, *arguments):
    """Whether a command ran to its end; what it complained of is printed."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        print(done.stderr[-1500:] or done.stdout)
    return done.returncode == 0


def main(argv=None):
    """Command line; returns the number of commands that failed."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.rehearsal",
        description="Runs every command of the queue at the scale smoke.",
    )
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder")
    for name in ("cifar10", "cifar100"):
        text = f"data folder of {name}; the digits take its place if it is not given"
        parser.add_argument(f"--{name}", metavar="DATA", help=text)
    parser.add_argument(
        "--imagenet",
        metavar="DATA",
        help="data folder; without it, its rows are left out",
    )
    parser.add_argument("--rows", help="some of the rows, such as c10-k2,c10-plain56")
    parser.add_argument("--seeds", default="0", help="such as 0,1,2")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="note in records/queue/rehearsal.json what ran, for the queue's page; "
        "other rows keep their last result there",
    )
    arguments = parser.parse_args(argv)
    known = [row.run for row in ROWS]
    names = arguments.rows.split(",") if arguments.rows else known
    if unknown := set(names).difference(known):
        parser.error(f"no row {', '.join(sorted(unknown))}; rows: {', '.join(known)}")
    data = {
        name: pathlib.Path(folder).absolute()
        for name in ("cifar10", "cifar100", "imagenet")
        if (folder := getattr(arguments, name))
    }
    rows = [
        row
        for row in ROWS
        if row.run in names and (row.module == "cifar" or row.data in data)
    ]
    out = arguments.out.absolute()
    results = rehearse(rows, list(map(int, arguments.seeds.split(","))), out, data)
    reproduce.main([f"--records={out / 'records'}", f"--out={out / 'results'}"])
    if arguments.keep:
        from resprune_tf.runs.environment import environment
        from resprune_tf.system.whole_files import read_json, write_json

        REHEARSAL.parent.mkdir(parents=True, exist_ok=True)
        last = (read_json(REHEARSAL) or {"rows": {}})["rows"]
        found = {**last, **results}
        ordered = {name: found[name] for name in known if name in found}
        write_json(REHEARSAL, {"environment": environment(), "rows": ordered})
        manifest.note(REHEARSAL)
    return sum(not result["ran"] for result in results.values())


if __name__ == "__main__":
    sys.exit(main())
