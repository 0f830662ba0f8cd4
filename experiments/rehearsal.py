"""Runs every command of the queue as a smoke test and generates all pages from it.

    python -m experiments.rehearsal --out=runs/rehearsal --cifar10=DATA --imagenet=DATA

This tests the commands and the pages; the numbers mean nothing. The records of all rows
go to OUT/records, and the tables and figures made from them to OUT/results. The command
continues where it was stopped. Exit status: the number of commands that failed.
"""

import argparse
import pathlib
import subprocess
import sys
import time

from experiments import record, reproduce
from experiments.pages import manifest
from experiments.pages.results import ROOT
from experiments.paper import figure5
from experiments.paper.rows import ROWS
from experiments.queue.__main__ import REHEARSAL


def command(row, seed, out, data):
    """Arguments of a row's experiment at the scale smoke.

    Args:
        row: a `Row`.
        seed: int.
        out: folder; run directories are in its folder `runs`.
        data: folders of the available data sets, by name. The digits replace a missing
            CIFAR.
    """
    made = [a.replace("=runs/", f"={out}/runs/") for a in row.command(seed)]
    made.append("--scale=smoke")
    if row.data in data:
        return [*made, f"--data_dir={data[row.data]}"]
    return [*made, "--dataset=digits"]


def rehearse(rows, seeds, out, data):
    """Runs rows in their order and keeps their records.

    Args:
        rows: list of `Row`.
        seeds: list of int.
        out, data: as for `command`.

    Returns:
        dict from the name of a row to its data, whether it finished, and its seconds.
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
        outcome = "ok" if ran else "FAILED"
        print(f"{row.run:18} {name:9} {seconds:6.1f} s  {outcome}", flush=True)
    return results


def _run(module, *arguments):
    """Whether a command finished without an error; prints the error otherwise."""
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
        description="Runs every command of the queue as a smoke test.",
    )
    parser.add_argument("--out", type=pathlib.Path, required=True, help="output folder")
    for name in ("cifar10", "cifar100"):
        text = f"data folder of {name} (default: use the digits instead)"
        parser.add_argument(f"--{name}", metavar="DATA", help=text)
    parser.add_argument(
        "--imagenet",
        metavar="DATA",
        help="data folder of ImageNet (default: leave its rows out)",
    )
    parser.add_argument("--rows", help="rows to run, such as c10-k2,c10-plain56")
    parser.add_argument("--seeds", default="0", help="seeds, such as 0,1,2")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="write the outcome to records/queue/rehearsal.json, which the page of the "
        "queue shows; rows that were not run keep their last outcome",
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

        found = {**manifest.read_record(REHEARSAL).get("rows", {}), **results}
        ordered = {name: found[name] for name in known if name in found}
        content = {"environment": environment(), "rows": ordered}
        manifest.write_record(REHEARSAL, content)
    return sum(not result["ran"] for result in results.values())


if __name__ == "__main__":
    sys.exit(main())
