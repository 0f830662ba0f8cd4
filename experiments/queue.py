"""What to run next when an accelerator is at hand: experiments/queue.md.

    python -m experiments.queue

The rows are those of `rows`; epochs come from their flagfiles, completion and
epoch times from the records.
"""

import json
import math
import statistics
import sys

from experiments.bench_numbers import Numbers
from experiments.results import ROOT, markdown_table
from experiments.rows import ROWS, rounds

OUTPUT = ROOT / "experiments" / "queue.md"
REHEARSAL = ROOT / "records" / "queue" / "rehearsal.json"
# What an epoch of the full net is taken to need until the benchmark of an accelerator
# is among the records, and a new net to be compiled.
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
        speeds = Numbers(record).speeds(variant, "train")
        told = record["settings"]
        size = (told["depth"], told["width"], told["batch_size"])
        if speeds and (device != "cpu") == accelerator and size == (56, 16, 128):
            name = device if accelerator else path.stem.replace("-", " ")
            found.append((_EPOCH_IMAGES / statistics.median(speeds), name))
    return min(found)[::-1] if found else None


def minutes(row, epoch):
    """Estimated minutes of one seed, from the seconds of an epoch of the full net."""
    seconds = sum(
        epochs * epoch * share + ASSUMED_COMPILE_SECONDS
        for epochs, share in rounds(row)
    )
    return seconds / 60


def page(records=ROOT / "records"):
    """The text of queue.md."""
    measured = epoch_seconds(records, accelerator=True)
    epoch = measured[1] if measured else ASSUMED_EPOCH_SECONDS
    source = (
        f"measured on {measured[0]}" if measured else "assumed: none was measured yet"
    )
    cpu, cpu_epoch = epoch_seconds(records, accelerator=False) or ("a CPU", math.nan)
    rows = []
    for row in ROWS:
        names = [row.record(seed) for seed in row.seeds]
        done = [name for name in names if (records / name / "final.json").exists()]
        epochs = sum(number for number, _ in rounds(row))
        needed = f"{math.ceil(minutes(row, epoch)):,}"
        rows.append(
            (
                *(row.letter, row.run, row.feeds, f"{epochs:,}"),
                "not estimated" if row.data == "imagenet" else needed,
                f"{len(done)} of {len(names)} seeds",
            )
        )
    columns = ("", "run", "feeds", "epochs", "minutes a seed", "done")
    commands = [
        f"# {row.letter}: {row.run}, seeds {', '.join(map(str, row.seeds))}\n"
        + " \\\n    ".join(
            [f"python -m experiments.{row.module} $COMMON", *row.command("$SEED")]
        )
        for row in ROWS
    ]
    left = sum(
        minutes(row, epoch) * len(row.seeds) for row in ROWS if row.module == "cifar"
    )
    return _PAGE.format(
        table=markdown_table(columns, rows),
        commands="\n".join(commands),
        hours=left / 60,
        rehearsed=rehearsed(),
        epoch=epoch,
        source=source,
        cpu=cpu,
        cpu_epoch=cpu_epoch,
        days=minutes(ROWS[0], cpu_epoch) / 60 / 24,
        compile=ASSUMED_COMPILE_SECONDS,
    )


_PAGE = """# The queue

Made by `python -m experiments.queue`; do not edit. Experiments that are worth time on
an accelerator, the most telling first. Take the first that is not done; a run that is
cut short goes on with the same command. `python -m experiments.rehearsal --out=FOLDER`
runs every command in small on any machine. {rehearsed}

- *epochs*: of the row itself; rows that start from another share its initial training.
- *minutes a seed*: {epoch:.1f} seconds an epoch of ResNet-56 on an accelerator
  ({source}),
  less in proportion to the layers, and {compile} seconds (assumed) to compile each net.
  All rows and seeds on CIFAR together: about {hours:.0f} hours. On {cpu}
  an epoch takes {cpu_epoch:.0f} seconds, as measured, and one seed of row a
  {days:.1f} days.
- `c10-scratch-e`, `c10-scratch-b` and `c10-full` need their main chain to be finished:
  they go by the net that it chose and by what it cost. Distilled nets need their
  teacher.

{table}
## First of all

Measure the accelerator; the page then goes by its epoch time. Each takes minutes, and
the second tells whether seeds side by side pay there.

```
python -m experiments.bench --variants=ours-jax-float32,ours-jax-bfloat16
python -m experiments.seeds_bench --precision=bfloat16 --time_budget_minutes=8 \\
    --out=records/seeds/DEVICE.json
```

## Commands

On a machine with JAX (no TensorFlow needed but for ImageNet) `export
KERAS_BACKEND=jax`, and set

```
export JAX_COMPILATION_CACHE_DIR=/tmp/jax-cache
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=1
COMMON="--data_dir=DATA"
SEED=0
```

Where tensorflow_datasets is not installed, those of CIFAR need `--data_source=binary`.

To run in pieces, on several machines if need be, add `--time_budget_minutes=N
--state_file=FILE.tar` to every call and take that file along: it holds all that the run
needs, in less than 16 MiB for ResNet-56 (hundreds of MB for ResNet-50).
`--start_from`, `--twin_of`, `--teacher_from`, `--epochs_of` and `--compute_of` read the
folder of the run that they name.

Several seeds share one compiled program for all their rounds with `--seeds=0,1,2` in
place of `--seed`, and `{{seed}}` in place of the number in every path; not those with a
teacher from elsewhere, from scratch, or on ImageNet.
`python -m experiments.record RUN_DIR records/...` keeps a finished run; for Figure 5,
`python -m experiments.unit_norms runs/c10-main-seed$SEED --data_dir=DATA` comes before.

```
{commands}
```
"""


def rehearsed(path=REHEARSAL):
    """A sentence on the last rehearsal."""
    if not path.exists():
        return "They have not been rehearsed yet."
    record = json.loads(path.read_text())
    ran = sum(row["ran"] for row in record["rows"].values())
    found = record["environment"]
    return (
        f"Last rehearsed on {found['backend']} and {found['devices']}: {ran} of "
        f"{len(record['rows'])} ran to their end."
    )


def main(argv):
    if argv:
        sys.exit("usage: python -m experiments.queue")
    OUTPUT.write_text(page())
    print(f"{OUTPUT.relative_to(ROOT)} written")


if __name__ == "__main__":
    main(sys.argv[1:])
