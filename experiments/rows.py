"""Every experiment behind the paper's tables and figures: command, seeds, epochs."""

import dataclasses
import importlib

from absl import flags
from absl.testing import flagsaver

FLAGFILES = "experiments/flagfiles/rows"
_DATA = {"c10": "cifar10", "c100": "cifar100", "in": "imagenet"}
DEPTHS = {
    "cifar10": (56, 47, 38, 29, 20, 11),
    "cifar100": (56, 47, 38, 29, 20, 11),
    "imagenet": (50, 34, 18),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One experiment, run once for each seed.

    Attributes:
        letter: group, in the order to run.
        name: of the flagfile and of the records, `<name>-seed<k>`.
        feeds: the table, figure or claim it is for.
        extra: further flags; `{seed}` stands for the seed.
        label: of the record, where one flagfile serves several.
        seeds: of its runs.
    """

    letter: str
    name: str
    feeds: str
    extra: str = ""
    label: str = ""
    seeds: tuple[int, ...] = (0, 1, 2)

    @property
    def run(self):
        """Its name in records and run directories, without the seed."""
        return (self.label or self.name).replace("_", "-")

    @property
    def data(self):
        """Name of its data set, which is the folder of its records."""
        return _DATA[self.name.split("_")[0]]

    @property
    def module(self):
        """The experiment that runs it."""
        return "imagenet" if self.data == "imagenet" else "cifar"

    def record(self, seed):
        """Folder of a seed's record, relative to `records`."""
        return f"{self.data}/{self.run}-seed{seed}"

    def command(self, seed):
        """Arguments of its experiment, without data folder."""
        return [
            f"--flagfile={FLAGFILES}/{self.name}.txt",
            *self.extra.format(seed=seed).split(),
            f"--seed={seed}",
            f"--run_dir=runs/{self.run}-seed{seed}",
        ]

    def shell(self, seed=0):
        """The whole command, with DATA for the data folder."""
        arguments = " ".join(self.command(seed))
        return f"python -m experiments.{self.module} {arguments} --data_dir=DATA"


def _baselines(letter, prefix):
    """Plain nets of every depth, and those below the first taught by it."""
    full, *shorter = DEPTHS[_DATA[prefix]]
    for depth in (full, *shorter):
        extra, label = f"--depth={depth}", f"{prefix}_plain{depth}"
        yield Row(letter, f"{prefix}_plain", "Figure 3: plain nets", extra, label)
    for depth in shorter:
        extra = f"--depth={depth} --teacher_from=runs/{prefix}-plain{full}-seed{{seed}}"
        label = f"{prefix}_distilled{depth}"
        yield Row(letter, f"{prefix}_distilled", "Figure 3: distilled", extra, label)


_MAIN = "runs/c10-main-seed{seed}"
_SHARED = f"--start_from={_MAIN}"
ROWS = (
    Row("a", "c10_main", "Table 1, Figures 3-6: no loss from 56 to 32 layers"),
    Row("b", "c10_guided", "beyond the paper: fewer layers, no loss", _SHARED),
    Row("b", "c10_cosine", "what of it the schedule does", _SHARED),
    *_baselines("c", "c10"),
    Row(
        "c",
        "c10_scratch",
        "Controls: the small net trained at once, as many epochs",
        f"--twin_of={_MAIN} --epochs_of={_MAIN}",
        "c10_scratch_e",
    ),
    Row(
        "c",
        "c10_scratch",
        "Controls: the same for as much compute",
        f"--twin_of={_MAIN} --compute_of={_MAIN}",
        "c10_scratch_b",
    ),
    Row(
        "c",
        "c10_full",
        "Controls: the full net for as many epochs",
        f"--epochs_of={_MAIN}",
    ),
    Row("c", "c10_random", "Controls: random units", _SHARED),
    Row("c", "c10_largest", "Controls: largest |ω|", _SHARED),
    Row("c", "c10_small_lr", "Controls: small learning rate", _SHARED),
    Row("d", "c10_k2", "Figure 4b", _SHARED),
    Row("d", "c10_k4", "Figure 4b", _SHARED),
    Row("d", "c10_retrain30", "Figure 4a", _SHARED),
    Row("d", "c10_retrain120", "Figure 4a", _SHARED),
    Row("e", "c10_basic", "the field's common net and its frontier"),
    Row("f", "c100_main", "Table 1, Figure 3: no loss from 56 to 35 layers"),
    *_baselines("f", "c100"),
    Row(
        "g", "c10_paper", "Table 1, Figure 3: 200 epochs a round, to 11 layers", _SHARED
    ),
    Row(
        "g",
        "c100_paper",
        "Table 1, Figure 3: 200 epochs a round, to 11 layers",
        "--start_from=runs/c100-main-seed{seed}",
    ),
    Row("h", "in_main", "Table 1, Figure 3: no loss from 50 to 38 layers", seeds=(0,)),
    *(dataclasses.replace(row, seeds=(0,)) for row in _baselines("h", "in")),
)
BY_RUN = {row.run: row for row in ROWS}
# By the names of data sets in `paper`: the beginning of their rows' names, and the
# chains that are to come to the paper's smallest nets, its own setting first.
PREFIXES = {"cifar10": "c10", "cifar100": "c100", "imagenet2012": "in"}
CHAINS = {
    "cifar10": {"c10-paper": "as in the paper", "c10-main": "short retraining"},
    "cifar100": {"c100-paper": "as in the paper", "c100-main": "short retraining"},
    "imagenet2012": {"in-main": "as in the paper"},
}


def settings(row, seed=0):
    """Values of the flags of a row's command, as a dict."""
    module = importlib.import_module(f"experiments.{row.module}")
    with flagsaver.flagsaver():
        flags.FLAGS([row.run, *row.command(seed)])
        module.settle()
        return {
            flag.name: flag.value
            for flag in flags.FLAGS.get_key_flags_for_module(module)
        }


def rounds(row):
    """`(epochs, share of the full net)` of every round that a row trains.

    Layers stand for time and the paper's net for the chosen one: which units will go
    is not known before.
    """
    from resprune_tf.architecture import Architecture

    values = settings(row)
    if row.data == "imagenet":
        full = Architecture.imagenet(50)
        net = Architecture.imagenet(values["depth"])
    else:
        full = Architecture.cifar(56, values["unit_kind"])
        net = Architecture.cifar(values["depth"], values["unit_kind"])
    epochs = values["epochs"]
    share = net.depth / full.depth
    if values["twin_of"]:
        share = rounds(BY_RUN["c10-main"])[-1][1]
    if values["epochs_of"]:
        epochs = sum(number for number, _ in rounds(BY_RUN["c10-main"]))
    if values["compute_of"]:
        spent = sum(number * part for number, part in rounds(BY_RUN["c10-main"]))
        epochs = round(spent / share)
    if values["max_rounds"] == 0:
        return [(epochs, share)]
    work = [] if values["start_from"] else [(epochs, share)]
    while net.depth > values["target_layers"]:
        for _ in range(min(values["units_per_round"], len(net.removable))):
            net = net.without(net.removable[:1])
        work.append((values["retrain_epochs"] or epochs, net.depth / full.depth))
    return work
