"""The planned experiments and their progress: experiments/queue.md.

    python -m experiments.queue
    python -m experiments.queue --run --data_dir=DATA

The first command regenerates the page, the second one runs the experiments (`runner`).

The experiments are those of `planned`; epochs come from the flagfiles, progress and
times from the records.
"""

import argparse
import json
import math
import pathlib
import statistics
import sys

from experiments.bench.page import speeds, units_of
from experiments.claims.controls import SHORT_MARGIN
from experiments.pages.results import RECORDS, ROOT, markdown_table
from experiments.pages.run_records import RunRecords
from experiments.pages.scales import check_scale
from experiments.paper.rows import rounds, settings
from experiments.queue.obstacles import Folders
from experiments.queue.planned import PARTS, PLAN
from experiments.queue.runner import Runner

OUTPUT = ROOT / "experiments" / "queue.md"
REHEARSAL = RECORDS / "queue" / "rehearsal.json"
# Used until an accelerator has a benchmark on record: seconds per epoch of ResNet-56
# and per compilation of a model.
ASSUMED_EPOCH_SECONDS = 2.0
ASSUMED_COMPILE_SECONDS = 40
_EPOCH_IMAGES = 45_000


def epoch_seconds(records, accelerator):
    """Median seconds of an epoch of ResNet-56 in bfloat16, as benchmarks measured.

    Args:
        records: folder of the records.
        accelerator: whether of JAX on one, or of TensorFlow on a CPU.

    Returns:
        `(device, seconds)` of the fastest, or None if there is no such record.
    """
    variant = "ours-jax-bfloat16" if accelerator else "ours-bfloat16"
    found = []
    for path in (records / "bench").glob("*.json"):
        record = json.loads(path.read_text())
        device = record["variants"].get(variant, {}).get("device")
        measured = speeds(record, variant, "train")
        told = record["settings"]
        size = (told["depth"], told["width"], told["batch_size"])
        same = size == (56, 16, 128) and units_of(told) == units_of({})
        if measured and (device != "cpu") == accelerator and same:
            name = device if accelerator else path.stem.replace("-", " ")
            found.append((_EPOCH_IMAGES / statistics.median(measured), name))
    return min(found)[::-1] if found else None


def measured_epoch(runs):
    """Median seconds of an epoch of ResNet-56 on a CPU, in the records of runs.

    Args:
        runs: `Run`s.

    Returns:
        `(CPU, seconds)`; None if there is no such record.
    """
    found = [
        (r["seconds"] / r["epochs"], run.environment.get("cpu", "a CPU"))
        for run in runs
        for r in run.rounds
        if r["layers"] == 56
        and run.environment.get("devices") == "1 cpu"
        and run.settings.get("dataset", {}).get("train") == _EPOCH_IMAGES
    ]
    if not found:
        return None
    return sorted(found)[-1][1], statistics.median(seconds for seconds, _ in found)


def seconds_of(work, epoch, compiling=0):
    """Estimated seconds of one seed.

    Args:
        work: what `rounds` returned.
        epoch: seconds of an epoch of the full model.
        compiling: seconds for each model.
    """
    return sum(epochs * epoch * share + compiling for epochs, share in work)


def page(records=RECORDS):
    """The text of queue.md."""
    runs = {}
    for entry in PLAN:
        folder = records / entry.row.record(entry.seed)
        if (folder / "rounds.jsonl").is_file():
            run = runs[entry.run] = RunRecords.read(folder)
            check_scale(entry.run, run.scale)
    fast = epoch_seconds(records, accelerator=True)
    slow = measured_epoch(runs.values()) or epoch_seconds(records, accelerator=False)
    epochs = {
        "accelerator": fast[1] if fast else ASSUMED_EPOCH_SECONDS,
        "cpu": slow[1] if slow else math.nan,
    }
    done = sum(bool(run.final) for run in runs.values())
    return _PAGE.format(
        parts="\n".join(_part(part, runs, epochs) for part in PARTS),
        done=done,
        begun=len(runs) - done,
        planned=len(PLAN) - len(runs),
        rehearsed=rehearsed(),
        fast=epochs["accelerator"],
        source=f"measured on {fast[0]}" if fast else "assumed: not measured yet",
        cpu=slow[0] if slow else "a CPU",
        slow=epochs["cpu"],
        compiling=ASSUMED_COMPILE_SECONDS,
        margin=100 * SHORT_MARGIN,
    )


def _part(part, runs, epochs):
    """A part of the plan: its table, and one command for each row."""
    rows = {}
    for entry in PLAN:
        if entry.part == part:
            rows.setdefault(entry.row, []).append(entry)
    table = [_cells(row, entries, runs, epochs) for row, entries in rows.items()]
    columns = ["run", "scale", "feeds", "epochs", "hours, CPU", "minutes, accelerator"]
    listing = markdown_table([*columns, "seeds"], table)
    commands = "\n".join(f"{row.shell('SEED')}" for row in rows)
    return f"## {part}\n\n{listing}\n```\n{commands}\n```\n"


def _cells(row, entries, runs, epochs):
    work = rounds(row)
    # A run that starts from another one has that one's initial training on record.
    first = int(bool(settings(row)["start_from"]))
    spent = [
        sum(r["seconds"] for r in run.rounds[first:]) / 3600
        for entry in entries
        if (run := runs.get(entry.run))
        and run.final
        and run.environment.get("devices") == "1 cpu"
    ]
    hours = f"{seconds_of(work, epochs['cpu']) / 3600:.1f}"
    if spent:
        hours = f"{statistics.fmean(spent):.1f} (measured)"
    fast = seconds_of(work, epochs["accelerator"], ASSUMED_COMPILE_SECONDS)
    estimates = [hours, f"{math.ceil(fast / 60):,}"]
    if row.data == "imagenet":
        estimates = ["not estimated"] * 2
    states = {}
    for entry in entries:
        states.setdefault(_state(runs.get(entry.run)), []).append(str(entry.seed))
    seeds = "; ".join(f"{', '.join(found)} {state}" for state, found in states.items())
    number = f"{sum(epochs for epochs, _ in work):,}"
    return [row.run, row.scale, row.feeds, number, *estimates, seeds]


def _state(run):
    if run is None:
        return "planned"
    return "done" if run.final else f"begun ({len(run.rounds)} rounds finished)"


_PAGE = """# The queue

Generated by `python -m experiments.queue`; do not edit.

All planned experiments in the order in which they run: part by part, and within a part
seed by seed (in the last part row by row).
{done} runs are done, {begun} are begun, {planned} are planned.

- *Scale*: "paper" means the epochs of the flagfile, "quarter" a quarter of them with
  the learning rate schedule compressed in proportion.
- *Epochs*: of the row itself; rows that start from another run share its initial
  training.
- *Hours, CPU*: per seed, measured where a seed is on record. Otherwise estimated
  from {slow:.0f} seconds per epoch of ResNet-56 ({cpu}), in proportion to the layers.
- *Minutes, accelerator*: estimated in the same way from {fast:.1f} seconds per epoch
  ({source}) and {compiling} seconds (assumed) to compile each model.
- Rows with `--start_from` or `--teacher_from` need the models of the run that they
  name, rows with `--twin_of`, `--epochs_of` or `--compute_of` its finished records.
- In the first two parts held-out images select nothing: all arms are compared at the
  number of layers at the end of the pruning run.
- ResNet-29: the pruned model counts as no worse than the full model with the same
  restart if the 95 % interval of the difference in test accuracy lies above -{margin:g}
  percentage points. This margin was fixed before the first run.

`python -m experiments.queue --run --data_dir=DATA` runs the next experiment that is not
done, or continues it, and then the one after it. `--time_budget_minutes=N`, SIGTERM or
Ctrl-C stops it; the same command continues. Records are kept after every round.

`python -m experiments.rehearsal --out=FOLDER` runs every command as a smoke test.
{rehearsed}

{parts}
## On an accelerator

Measure it first, which takes minutes; this page then uses its epoch time.

```
python -m experiments.bench --variants=ours-jax-float32,ours-jax-bfloat16
```

On a machine with JAX (TensorFlow is needed for ImageNet only), set `KERAS_BACKEND=jax`,
`JAX_COMPILATION_CACHE_DIR=/tmp/jax-cache` and
`JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=1`. Where tensorflow_datasets is not
installed, the rows of CIFAR need `--data_source=binary`.

To run in pieces, on several machines if necessary, add `--time_budget_minutes=N
--state_file=FILE.tar` to every call and copy that file to the next machine. It has
everything that the run needs: less than 16 MiB for ResNet-56, hundreds of MB for
ResNet-50.

`python -m experiments.record RUN_DIR records/... --models` copies a run to the records.
For Figure 5, `python -m experiments.unit_norms FOLDER --data_dir=DATA` measures a run,
or a record with its models.
"""


def rehearsed(path=REHEARSAL):
    """A sentence on the last rehearsal."""
    if not path.exists():
        return "No rehearsal is on record."
    record = json.loads(path.read_text())
    ran = sum(row["ran"] for row in record["rows"].values())
    found = record["environment"]
    return (
        f"Last rehearsal, on {found['backend']} and {found['devices']}: {ran} of "
        f"{len(record['rows'])} commands finished."
    )


def main(argv):
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.queue",
        description="Regenerates experiments/queue.md; with --run runs the experiments "
        "listed there.",
    )
    folder = {"type": pathlib.Path, "metavar": "DIR"}
    parser.add_argument(
        "--run",
        action="store_true",
        help="run the next experiment that is not done, then the one after it, and so "
        "on; SIGTERM or the time budget stops it, the same command continues",
    )
    parser.add_argument("--data_dir", help="folder of the data sets", **folder)
    parser.add_argument(
        "--time_budget_minutes",
        type=float,
        metavar="N",
        help="stop after N minutes (default: no limit)",
    )
    parser.add_argument(
        "--only", metavar="ROW", help="run only this row, such as c10-k2-quarter"
    )
    for name, default, what in (
        ("runs", ROOT / "runs", "run directories"),
        ("records", RECORDS, "records"),
    ):
        text = f"folder of the {what} (default: %(default)s)"
        parser.add_argument(f"--{name}", default=default, help=text, **folder)
    parser.add_argument(
        "--state_dir",
        help="folder of the state files: a run continues from its file if that is "
        "further",
        **folder,
    )
    given = parser.parse_args(argv)
    if not given.run:
        OUTPUT.write_text(page())
        print(f"{OUTPUT.relative_to(ROOT)} written")
        return 0
    if given.data_dir is None or not given.data_dir.is_dir():
        parser.error(
            f"--run needs --data_dir=DATA, an existing folder; given: {given.data_dir}"
        )
    entries = [e for e in PLAN if given.only in (None, e.row.run)]
    if not entries:
        rows = ", ".join(dict.fromkeys(entry.row.run for entry in PLAN))
        parser.error(f"no row {given.only}; choose one of {rows}")
    paths = (given.data_dir, given.runs, given.records, given.state_dir)
    folders = Folders(*(path and path.absolute() for path in paths))
    try:
        return Runner(folders, entries, given.time_budget_minutes).run()
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
