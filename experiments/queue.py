"""What to run next when an accelerator is at hand: experiments/queue.md.

    python -m experiments.queue

The rows are below; epochs come from their flagfiles, completion from the records.
"""

import dataclasses
import json
import math
import pathlib
import sys

from absl import flags
from absl.testing import flagsaver

ROOT = pathlib.Path(__file__).parent.parent
OUTPUT = ROOT / "experiments" / "queue.md"
REHEARSAL = ROOT / "records" / "queue" / "rehearsal.json"
FLAGFILES = "experiments/flagfiles/queue"
# Not measured yet: what an epoch of the full net is taken to need until a benchmark of
# an accelerator is among the records, and a new net to be compiled.
ASSUMED_EPOCH_SECONDS = 2.0
ASSUMED_COMPILE_SECONDS = 40


@dataclasses.dataclass(frozen=True)
class Row:
    """One experiment of the queue, run once for each seed.

    Attributes:
        letter: group, in the order to run.
        name: of the flagfile and of the records, `<name>-seed<k>`.
        feeds: the table, figure or claim it is for.
        seeds: of its runs.
        extra: further flags; `{seed}` stands for the seed.
        label: of the record, where one flagfile serves several.
    """

    letter: str
    name: str
    feeds: str
    seeds: tuple[int, ...] = (0, 1, 2)
    extra: str = ""
    label: str = ""

    @property
    def run(self):
        """Its name in records and run directories, without the seed."""
        return (self.label or self.name).replace("_", "-")

    def record(self, seed):
        """Folder of a seed's record, relative to `records`."""
        data = "cifar100" if self.name.startswith("c100") else "cifar10"
        return f"{data}/{self.run}-seed{seed}"

    def command(self, seed):
        """Arguments of `python -m experiments.cifar`, without data folder."""
        extra = self.extra.format(seed=seed).split()
        return [
            f"--flagfile={FLAGFILES}/{self.name}.txt",
            *extra,
            f"--seed={seed}",
            f"--run_dir=runs/{self.run}-seed{seed}",
        ]


_SHARED = "--start_from=runs/c10-main-seed{seed}"
ROWS = (
    Row("a", "c10_main", "Table 1, Figures 3-6: no loss from 56 to 32 layers"),
    Row("b", "c10_guided", "beyond the paper: fewer layers, no loss", extra=_SHARED),
    Row("b", "c10_cosine", "what of it the schedule does", extra=_SHARED),
    *(
        Row(
            "c",
            "c10_plain",
            "Figure 3: baselines",
            extra=f"--depth={depth}",
            label=f"c10_plain{depth}",
        )
        for depth in (56, 47, 38, 29, 20, 11)
    ),
    Row(
        "c",
        "c10_twin",
        "whether removal beats training the small net at once",
        extra="--twin_of=runs/c10-main-seed{seed}",
    ),
    Row("c", "c10_random", "whether ω chooses better than chance", extra=_SHARED),
    Row("c", "c10_largest", "the same, from the other end", extra=_SHARED),
    Row("d", "c10_k2", "Figure 4b", extra=_SHARED),
    Row("d", "c10_k4", "Figure 4b", extra=_SHARED),
    Row("d", "c10_retrain30", "Figure 4a", extra=_SHARED),
    Row("d", "c10_retrain120", "Figure 4a", extra=_SHARED),
    Row("e", "c10_basic", "the field's common net and its frontier"),
    Row("f", "c100_main", "Table 1, Figure 3: no loss from 56 to 35 layers"),
)


def settings(row, seed=0):
    """Values of the flags of a row's command, as a dict."""
    from experiments import cifar

    with flagsaver.flagsaver():
        flags.FLAGS(["queue", *row.command(seed)])
        return {
            flag.name: flag.value
            for flag in flags.FLAGS.get_key_flags_for_module(cifar)
        }


def rounds(row):
    """`(epochs, share of the full net)` of every round that a row trains."""
    from resprune_tf.architecture import Architecture

    values = settings(row)
    full = Architecture.cifar(56, values["unit_kind"])
    net = Architecture.cifar(values["depth"], values["unit_kind"])
    first = (values["epochs"], net.depth / full.depth)
    if values["max_rounds"] == 0:
        return [first]
    work = [] if values["start_from"] else [first]
    retrain_epochs = values["retrain_epochs"] or values["epochs"]
    while net.depth > values["target_layers"]:
        for _ in range(min(values["units_per_round"], len(net.removable))):
            net = net.without(net.removable[:1])
        # Layers stand for time: which units will go is not known.
        work.append((retrain_epochs, net.depth / full.depth))
    return work


def minutes(row, epoch_seconds=ASSUMED_EPOCH_SECONDS):
    """Estimated minutes of one seed on an accelerator."""
    seconds = sum(
        epochs * epoch_seconds * share + ASSUMED_COMPILE_SECONDS
        for epochs, share in rounds(row)
    )
    return seconds / 60


def page(records=ROOT / "records"):
    """The text of queue.md."""
    rows = []
    for row in ROWS:
        names = [row.record(seed) for seed in row.seeds]
        done = [name for name in names if (records / name / "final.json").exists()]
        cells = (row.letter, row.run, row.feeds)
        numbers = (sum(epochs for epochs, _ in rounds(row)), math.ceil(minutes(row)))
        state = f"{len(done)} of {len(names)} seeds"
        rows.append((*cells, *(f"{number:,}" for number in numbers), state))
    table = [
        "| " + " | ".join(cells) + " |"
        for cells in (
            ("", "run", "feeds", "epochs", "minutes a seed", "done"),
            ("---",) * 6,
            *rows,
        )
    ]
    commands = [
        f"# {row.letter}: {row.run}, seeds {', '.join(map(str, row.seeds))}\n"
        + " \\\n    ".join(
            ["python -m experiments.cifar $COMMON", *row.command("$SEED")]
        )
        for row in ROWS
    ]
    left = sum(minutes(row) * len(row.seeds) for row in ROWS)
    return _PAGE.format(
        table="\n".join(table),
        commands="\n".join(commands),
        hours=left / 60,
        rehearsed=rehearsed(),
        epoch=ASSUMED_EPOCH_SECONDS,
        compile=ASSUMED_COMPILE_SECONDS,
    )


_PAGE = """# The queue

Made by `python -m experiments.queue`; do not edit. Experiments that are worth time on
an accelerator, the most telling first. Take the first that is not done; a run that is
cut short goes on with the same command. `python -m experiments.rehearsal DATA` runs
every command in small on any machine. {rehearsed}

- *epochs*: of the row itself; rows that start from `c10-main` share its first 200.
- *minutes a seed*: {epoch} seconds an epoch of ResNet-56, less in proportion to the
  layers, and {compile} seconds to compile each net. Both are assumed: no accelerator
  has been measured yet. All rows and seeds together: about {hours:.0f} hours.
- `c10-twin` needs its main chain to be finished: it trains the net that was chosen.

{table}

## Commands

On a machine with JAX (no TensorFlow needed) `export KERAS_BACKEND=jax`, and set

```
export JAX_COMPILATION_CACHE_DIR=/tmp/jax-cache
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=1
COMMON="--data_dir=DATA --data_source=binary"
SEED=0
```

To run in pieces, on several machines if need be, add `--time_budget_minutes=N
--state_file=FILE.tar` to every call and take that file along: it holds all that the run
needs, in less than 16 MiB. `--start_from` and `--twin_of` read the folder of the run
that they name when a run begins.

Several seeds share one compiled program for all their rounds with `--seeds=0,1,2` in
place of `--seed`, and `{{seed}}` in place of the number in every path.
`python -m experiments.record RUN_DIR records/...` keeps a finished run.

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
