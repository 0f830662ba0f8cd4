"""The experiments of the queue: their commands, seeds and epochs."""

import dataclasses
import pathlib

from absl import flags
from absl.testing import flagsaver

ROOT = pathlib.Path(__file__).parent.parent
FLAGFILES = "experiments/flagfiles/queue"


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
