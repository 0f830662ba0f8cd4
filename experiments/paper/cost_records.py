"""Reads the records of measured costs. No TensorFlow.

There is one JSON file per machine and backend, `records/costs/MACHINE.json`, with a
list of pairs: an original model and a pruned one that were timed in turns.
"""

import dataclasses
import json
import typing

from experiments.pages.library import RunRecords
from experiments.pages.results import background_load, short_commit
from experiments.pages.scales import full_length_first
from experiments.paper import published
from experiments.paper.rows import PRUNING_RUNS
from experiments.paper.series import kept_units

COMMAND = "python -m experiments.costs"
# Layers and parameters of the models that the paper starts from. A run that starts from
# another model, such as a narrower one, is not compared with the paper's.
_INITIAL = {
    "cifar10": (56, 590_426),
    "cifar100": (56, 613_556),
    "imagenet2012": (50, 25_549_352),
}


class Measure(typing.NamedTuple):
    """A timed call: a forward pass of a batch, with or without gradients."""

    batch_size: int
    backward: bool = False
    folded: bool = False

    @property
    def title(self):
        """Such as `"forward + backward, batch 32"`; also its key in the records."""
        what = "forward + backward" if self.backward else "forward"
        folded = ", folded" if self.folded else ""
        return f"{what}{folded}, batch {self.batch_size}"


TEST = Measure(1)
TRAIN = {
    "cifar10": Measure(32, backward=True),
    "cifar100": Measure(32, backward=True),
    "imagenet2012": Measure(4, backward=True),
}
_CIFAR = (TEST, Measure(1, folded=True), Measure(32), Measure(32, folded=True))
MEASURES = {
    "cifar10": (*_CIFAR, TRAIN["cifar10"]),
    "cifar100": (*_CIFAR, TRAIN["cifar100"]),
    "imagenet2012": (TEST, Measure(1, folded=True), TRAIN["imagenet2012"]),
}


class PrunedModel(typing.NamedTuple):
    """A pruned model: name of its data set, and number of units of each stage."""

    dataset: str
    units: tuple[int, ...]

    @property
    def title(self):
        """Such as `"CIFAR-10 1/5/4"`."""
        return f"{published.TITLES[self.dataset]} {'/'.join(map(str, self.units))}"


PAPER = tuple(
    PrunedModel(name, units) for name, units in published.SMALLEST_UNITS.items()
)


def own_models(records):
    """The pruned models that our runs selected from the paper's original models.

    Only rows that reproduce Table 1 count: no controls, demonstrations or smoke tests.

    Args:
        records: folder of all records.

    Returns:
        A dict from the name of a record, such as `"cifar10/c10-main-seed0"`, to its
        `RunRecords` and the selected `PrunedModel`.
    """
    found = {}
    rows = [run for chains in PRUNING_RUNS.values() for run in chains]
    for path in sorted(records.glob("*/*/final.json")):
        if path.parent.name.rsplit("-seed", 1)[0] not in rows:
            continue
        run = RunRecords.read(path.parent)
        dataset = run.settings.get("dataset", {}).get("name")
        first = run.rounds[0]
        initial = (first["layers"], first["parameters"])
        if run.smoke or dataset not in _INITIAL or initial != _INITIAL[dataset]:
            continue
        units = tuple(kept_units(run.selected).values())
        if units == published.INITIAL_UNITS[dataset]:
            continue
        found[path.parent.relative_to(records).as_posix()] = (
            run,
            PrunedModel(dataset, units),
        )
    return {name: found[name] for name in sorted(found, key=full_length_first)}


def all_models(records):
    """The models of the paper and those of our runs, without repetition."""
    own = (model for _, model in own_models(records).values())
    return list(dict.fromkeys([*PAPER, *own]))


@dataclasses.dataclass(frozen=True)
class Machine:
    """Measurements on a machine: `pairs`, dicts of the record by `PrunedModel`."""

    name: str
    pairs: dict

    @property
    def title(self):
        facts = self._facts()
        devices = [] if facts["devices"] == "1 cpu" else [facts["devices"]]
        parts = [facts["cpu"], f"{facts['cores']} cores", *devices, facts["backend"]]
        return ", ".join(parts)

    @property
    def about(self):
        """Versions, commits, days, commands and background load, as Markdown."""
        facts = self._facts()
        versions = [
            f"{package} {facts[package]}"
            for package in ("python", "keras", facts["backend"])
            if package in facts
        ]
        pairs = self.pairs.values()
        commits = {
            short_commit(p["environment"].get("commit", "unknown")) for p in pairs
        }
        return (
            f"{', '.join(versions)}, {facts['platform']}; measured "
            f"{', '.join(sorted({p['started'][:10] for p in pairs}))} at commit "
            f"{', '.join(sorted(commits))} by "
            f"{', '.join(sorted({'`' + p['command'] + '`' for p in pairs}))}.\n"
            f"{background_load([t for p in pairs for t in p['times'].values()])}"
        )

    def _facts(self):
        return next(iter(self.pairs.values()))["environment"]

    def times(self, model, measure):
        """Recorded times of a pair and their ratio; None if it was not measured."""
        return self.pairs.get(model, {}).get("times", {}).get(measure.title)


def read_machines(records):
    """The list of `Machine` with a record, ordered by name."""
    machines = []
    for path in sorted((records / "costs").glob("*.json")):
        pairs = json.loads(path.read_text(encoding="utf-8"))["pairs"]
        named = {PrunedModel(p["dataset"], tuple(p["units"])): p for p in pairs}
        if named:
            machines.append(Machine(path.stem, named))
    return machines


def counts(machines, model):
    """Counts of a model and its original from the first record; None without one.

    Returns:
        A dict with `"original"` and `"shortened"`, each with `"unfolded"` and
        `"folded"`: layers, parameters, weights, MACs and those of convolutions.
    """
    return next((m.pairs[model]["counts"] for m in machines if model in m.pairs), None)


def share(counts, key):
    """A count of the pruned model in % of the original's."""
    models = [counts[model]["unfolded"][key] for model in ("shortened", "original")]
    return 100 * models[0] / models[1]
