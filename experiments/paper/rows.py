"""The experiments of the tables and figures: command, scale, seeds, epochs."""

import dataclasses
import importlib
import re

from absl import flags
from absl.testing import flagsaver

from experiments.pages import scales
from experiments.pages.library import Architecture, RunRecords

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
        name: name of the flagfile and of the records, `<name>-seed<k>`.
        feeds: the table, figure or claim that uses it.
        extra: further flags; `{seed}` stands for the seed, `{scale}` for the suffix
            that the scale adds to the name of a run.
        label: name of the record, if several rows share a flagfile.
        seeds: seeds of its runs.
        scale: value of `--scale`; the names of its runs and records state it.
    """

    name: str
    feeds: str
    extra: str = ""
    label: str = ""
    seeds: tuple[int, ...] = (0, 1, 2)
    scale: str = "paper"

    @property
    def run(self):
        """The name of its records and run directories, without the seed."""
        name = (self.label or self.name).replace("_", "-")
        return f"{name}{scales.suffix(self.scale)}"

    @property
    def data(self):
        """Name of its data set, which is the folder of its records."""
        return _DATA[self.name.split("_")[0]]

    @property
    def module(self):
        """Name of the experiment that runs it."""
        return "imagenet" if self.data == "imagenet" else "cifar"

    def record(self, seed):
        """Folder of the record of a seed, relative to `records`."""
        return f"{self.data}/{self.run}-seed{seed}"

    def command(self, seed):
        """Arguments of its experiment, without the data folder."""
        extra = self.extra.format(seed=seed, scale=scales.suffix(self.scale))
        return [
            f"--flagfile={FLAGFILES}/{self.name}.txt",
            *extra.split(),
            *([] if self.scale == "paper" else [f"--scale={self.scale}"]),
            f"--seed={seed}",
            f"--run_dir=runs/{self.run}-seed{seed}",
        ]

    def shell(self, seed=0):
        """The whole command, with DATA for the data folder."""
        arguments = " ".join(self.command(seed))
        return f"python -m experiments.{self.module} {arguments} --data_dir=DATA"

    def needs(self, seed):
        """Names of the runs that must exist before a seed is run."""
        named = (re.fullmatch(r"--(\w+)=runs/(.+)", a) for a in self.command(seed))
        found = [match[2] for match in named if match and match[1] != "run_dir"]
        return list(dict.fromkeys(found))

    def at(self, scale):
        """The same experiment at another scale."""
        return dataclasses.replace(self, scale=scale)


def _baselines(prefix):
    """Plain models of every depth, and shallower ones with the deepest as teacher."""
    full, *shorter = DEPTHS[_DATA[prefix]]
    for depth in (full, *shorter):
        extra, label = f"--depth={depth}", f"{prefix}_plain{depth}"
        yield Row(f"{prefix}_plain", "Figure 3: plain models", extra, label)
    for depth in shorter:
        extra = f"--depth={depth} --teacher_from=runs/{prefix}-plain{full}-seed{{seed}}"
        label = f"{prefix}_distilled{depth}"
        yield Row(f"{prefix}_distilled", "Figure 3: distilled models", extra, label)


def _run_of(name):
    """Folder of the run of another row, of the same seed and scale."""
    return f"runs/{name}{{scale}}-seed{{seed}}"


# Rows of ResNet-56 on CIFAR-10 share the initial training of c10-k2.
_K2, _R29 = map(_run_of, ("c10-k2", "c10-r29"))
_SHARED = f"--start_from={_K2}"
_CONTROLS = (
    Row("c10_random", "Controls: random units", _SHARED),
    Row(
        "c10_scratch",
        "Controls: the pruned model from scratch, for as much compute",
        f"--twin_of={_K2} --compute_of={_K2}",
        "c10_scratch_b",
    ),
    Row("c10_small_lr", "Controls: small learning rate", _SHARED),
    Row("c10_largest", "Controls: largest |ω|", _SHARED),
    Row(
        "c10_scratch",
        "Controls: the pruned model from scratch, for as many epochs",
        f"--twin_of={_K2} --epochs_of={_K2}",
        "c10_scratch_e",
    ),
)
_EIGHT_SEEDS = tuple(range(8))
R29 = (
    Row("c10_r29", "Controls: three units of ResNet-29 at once", seeds=_EIGHT_SEEDS),
    *(
        Row(f"c10_r29_{arm}", f"Controls: {what}", extra, label, _EIGHT_SEEDS)
        for arm, what, extra, label in (
            ("restart", "its restart", f"--start_from={_R29}", ""),
            ("random", "three random units", f"--start_from={_R29}", ""),
            (
                "scratch",
                "the pruned ResNet-29 from scratch, for as much compute",
                f"--twin_of={_R29} --compute_of={_R29}",
                "c10_r29_scratch_b",
            ),
        )
    ),
)
ROWS = (
    Row("c10_k2", "Table 1, Figures 3 to 6: no loss of accuracy from 56 to 32 layers"),
    Row("c10_restart", "Controls: the restarts of c10-k2 without removal", _SHARED),
    *R29,
    Row("c10_main", "Table 1, Figures 3 and 4: one unit per round", _SHARED),
    Row(
        "c10_main_restart",
        "Controls: the restarts of c10-main without removal",
        _SHARED,
    ),
    *_CONTROLS,
    Row("c10_guided", "Controls: beyond the paper, fewer layers without loss", _SHARED),
    Row(
        "c10_cosine",
        "Controls: the effect of the schedule of c10-guided alone",
        _SHARED,
    ),
    *_baselines("c10"),
    Row("c10_k4", "Figure 4b", _SHARED),
    Row("c10_retrain30", "Figure 4a", _SHARED),
    Row("c10_retrain120", "Figure 4a", _SHARED),
    Row("c10_basic", "Controls: the common ResNet-56 of basic units"),
    Row("c100_main", "Table 1, Figure 3: no loss of accuracy from 56 to 35 layers"),
    *_baselines("c100"),
    Row("c10_paper", "Table 1, Figure 3: 200 epochs per round, to 11 layers", _SHARED),
    Row(
        "c100_paper",
        "Table 1, Figure 3: 200 epochs per round, to 11 layers",
        f"--start_from={_run_of('c100-main')}",
    ),
    Row(
        "in_main",
        "Table 1, Figure 3: no loss of accuracy from 50 to 38 layers",
        seeds=(0,),
    ),
    *(dataclasses.replace(row, seeds=(0,)) for row in _baselines("in")),
)
# At a quarter of the paper's epochs.
QUARTER = (
    *(row.at("quarter") for row in (*ROWS[:2], *_CONTROLS[:2])),
    dataclasses.replace(_CONTROLS[2], scale="quarter", seeds=(0,)),
)
BY_RUN = {row.run: row for row in (*ROWS, *QUARTER)}
# By data set: the prefix of the names of its rows, and the pruning runs that lead to
# the paper's smallest model, starting with the setting of the paper.
PREFIXES = {"cifar10": "c10", "cifar100": "c100", "imagenet2012": "in"}
PRUNING_RUNS = {
    "cifar10": {
        "c10-paper": "as in the paper",
        "c10-main": "short retraining",
        "c10-k2": "two units per round",
        "c10-k2-quarter": "two units, a quarter of the epochs",
    },
    "cifar100": {"c100-paper": "as in the paper", "c100-main": "short retraining"},
    "imagenet2012": {"in-main": "as in the paper"},
}


# By data set: the run with the setting of the paper, which alone decides the claims of
# Table 1 and Figure 3 at full length.
DECIDING_RUNS = {
    "cifar10": "c10-paper",
    "cifar100": "c100-paper",
    "imagenet2012": "in-main",
}


def settings(row):
    """The values of the flags of the command of a row for seed 0, by name."""
    module = importlib.import_module(f"experiments.{row.module}")
    with flagsaver.flagsaver():
        flags.FLAGS([row.run, *row.command(seed=0)])
        module.apply_scale()
        return {
            flag.name: flag.value
            for flag in flags.FLAGS.get_key_flags_for_module(module)
        }


def rounds(row, records=None):
    """`(epochs, share of the full model's layers)` of every round that a row trains.

    Layers are counted because the units that a run will remove are not known
    beforehand. Only the budget of `--compute_of` is that of the recorded run.

    Args:
        row: a `Row`.
        records: folder of all records, or None to count layers only.
    """
    values = settings(row)
    if row.data == "imagenet":
        full = Architecture.imagenet(50)
        model = Architecture.imagenet(values["depth"])
    else:
        full = Architecture.cifar(56, values["unit_kind"])
        model = Architecture.cifar(values["depth"], values["unit_kind"])
    epochs = scales.epochs(values["epochs"], row.scale)
    share = model.depth / full.depth
    if values["twin_of"]:
        share = _rounds_of(values["twin_of"])[-1][1]
    if values["epochs_of"]:
        epochs = sum(number for number, _ in _rounds_of(values["epochs_of"]))
    if values["compute_of"]:
        epochs = _recorded_epochs(values, records)
        if epochs is None:
            spent = _rounds_of(values["compute_of"])
            epochs = round(sum(number * part for number, part in spent) / share)
    if values["max_rounds"] == 0:
        return [(epochs, share)]
    again = epochs
    if values["retrain_epochs"]:
        again = scales.epochs(values["retrain_epochs"], row.scale)
    work = [] if values["start_from"] else [(epochs, share)]
    if not values["units_per_round"]:
        return [*work, *[(again, share)] * values["max_rounds"]]
    while model.depth > values["target_layers"]:
        for _ in range(min(values["units_per_round"], len(model.removable))):
            model = model.without(model.removable[:1])
        work.append((again, model.depth / full.depth))
    return work


def retrainings(row):
    """Number of rounds of a row after its initial training."""
    return len(rounds(row)) - (not settings(row)["start_from"])


def _rounds_of(folder):
    """`rounds` of the row with a run folder such as `runs/c10-k2-seed0`."""
    return rounds(BY_RUN[re.fullmatch(r"runs/(.+)-seed\d+", folder)[1]])


def _recorded_epochs(values, records):
    """The epochs of `--compute_of` if its run is on record, else None."""
    run, seed = re.fullmatch(r"runs/(.+)-seed(\d+)", values["compute_of"]).groups()
    folder = records and records / BY_RUN[run].record(seed)
    if not folder or not (folder / "final.json").is_file():
        return None
    done = RunRecords.read(folder).rounds
    # The pruned model of the last round is the one that is trained from scratch.
    return scales.epochs_of_compute(done, done[-1]["macs"])
