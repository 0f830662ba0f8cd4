"""The records of one experiment over its seeds. Imports no TensorFlow."""

import dataclasses

from experiments.pages.cells import processor
from experiments.pages.differences import pair, summarize
from experiments.pages.library import RunRecords
from experiments.pages.scales import check_scale
from experiments.paper.rows import Row

# Records that were known when the rules of Figures 5 and 6 and of the first stage got
# their present form. They, and runs that start from their models, are shown, but do not
# decide by these rules.
SEEN = ("c10-k2-seed0",)


@dataclasses.dataclass(frozen=True)
class Series:
    """The recorded finished runs of a row.

    Attributes:
        row: the experiment.
        runs: `RunRecords` by seed; empty without records.
    """

    row: Row
    runs: dict

    @classmethod
    def read(cls, records, row):
        """Reads the records of a row.

        Args:
            records: folder of all records.
            row: a `Row`. Only its own seeds are read.

        Raises:
            ValueError: if a record cannot be read, its selected round is missing, or
                its flags and its name state different scales.
        """
        runs = {}
        for seed in row.seeds:
            folder = records / row.record(seed)
            if (folder / "final.json").is_file():
                runs[seed] = RunRecords.read(folder)
                check_scale(row.record(seed), runs[seed].scale)
        return cls(row, runs)

    @property
    def smoke(self):
        """Whether a record is a smoke test, which decides nothing."""
        return any(run.smoke for run in self.runs.values())

    @property
    def complete(self):
        """Whether all planned seeds are on record."""
        return len(self.runs) == len(self.row.seeds)

    @property
    def split(self):
        """The split that selects: `"validation"` or `"test"`."""
        return next(iter(self.runs.values())).split

    def all_rounds(self):
        """The records of all rounds of all runs."""
        return [record for run in self.runs.values() for record in run.rounds]

    @property
    def layers(self):
        """Numbers of layers of all rounds of all runs, in decreasing order."""
        return sorted({record["layers"] for record in self.all_rounds()}, reverse=True)

    @property
    def processors(self):
        """The processors of the runs, each once."""
        found = (processor(run) for run in self.runs.values())
        return ", ".join(dict.fromkeys(found))

    @property
    def precisions(self):
        """The precisions of the runs' trainings, each once, in alphabetical order."""
        recipes = (run.settings.get("recipe", {}) for run in self.runs.values())
        return sorted({recipe.get("precision", "float32") for recipe in recipes})

    @property
    def splits(self):
        """By seed: a checksum of the data and of how they are divided, if known."""
        found = {}
        for seed, run in self.runs.items():
            if checksum := run.settings.get("dataset", {}).get("fingerprint"):
                found[seed] = checksum
        return found

    @property
    def backends(self):
        """The backends of the runs, each once, in alphabetical order."""
        names = {"tensorflow": "TensorFlow", "jax": "JAX"}
        found = {run.settings.get("backend", "") for run in self.runs.values()}
        return sorted(names.get(backend, backend) for backend in found)

    def at(self, layers):
        """The record of the round with `layers` layers, by seed.

        Args:
            layers: int, or a dict of int by seed.
        """
        return self._where("layers", layers)

    def initial(self):
        """The record of the initial training, by seed."""
        return {seed: run.rounds[0] for seed, run in self.runs.items()}

    def chosen(self):
        """The record of the selected model, by seed."""
        return {seed: run.selected for seed, run in self.runs.items()}

    def last(self):
        """The record of the last round, by seed, which no images selected."""
        return {seed: run.rounds[-1] for seed, run in self.runs.items()}

    def rounds(self, number):
        """The record of a round, by seed.

        Args:
            number: int, or a dict of int by seed.
        """
        return self._where("round", number)

    def _where(self, key, wanted):
        if not isinstance(wanted, dict):
            wanted = dict.fromkeys(self.runs, wanted)
        return {
            seed: record
            for seed, run in self.runs.items()
            for record in run.rounds
            if record[key] == wanted.get(seed)
        }

    def accuracies(self, records, split="test"):
        """Accuracies of records, by seed; seeds without a measurement are left out.

        Args:
            records: result of `at`, `rounds`, `initial`, `chosen` or `last`.
            split: `"validation"`, `"test"`, or `"pooled"` for the images of both.
        """
        found = {s: _accuracy(self.runs[s], r, split) for s, r in records.items()}
        return {seed: value for seed, value in found.items() if value is not None}

    def summary(self, records, split="test"):
        """The `Summary` of the accuracies of records; None without any."""
        return summarize(self.accuracies(records, split).values())

    def change(self, records, split="test"):
        """`Paired` differences from the initial accuracy of the same seed."""
        initial = self.accuracies(self.initial(), split)
        return pair(self.accuracies(records, split), initial)

    def doubt(self, records, chosen=False):
        """Why the test accuracies of records decide nothing; "" if they can decide.

        Args:
            records: result of `at`, `initial` or `chosen`.
            chosen: whether they were selected by their accuracy.
        """
        if self.smoke:
            return "smoke records"
        if len(records) < len(self.runs):
            return f"only {len(records)} of {len(self.runs)} seeds have such a model"
        # To judge after every seed until a claim holds would let it hold by chance.
        if len(self.runs) > 1 and not self.complete:
            planned = len(self.row.seeds)
            return f"only {len(self.runs)} of {planned} planned seeds are finished"
        if chosen and any(run.split == "test" for run in self.runs.values()):
            return "selected on the test set"
        if chosen:
            kept = sum(record["round"] == 0 for record in records.values())
            if kept:
                return f"nothing removed in {kept} of {len(records)} seeds"
        return ""

    def deciding(self, found):
        """What decides by a rule that was written when the records `SEEN` were known.

        Args:
            found: a dict by seed.

        Returns:
            `found` without the seeds of the records `SEEN` and of runs that start from
            their models, or with them if there are no others.
        """
        new = {}
        for seed, value in found.items():
            known = {f"{self.row.run}-seed{seed}", *self.row.needs(seed)}
            if not known & {*SEEN}:
                new[seed] = value
        return new or found

    def spent(self, key, until=None):
        """Epochs or seconds of the runs, by seed.

        Args:
            key: `"epochs"` or `"seconds"`.
            until: records, as from `at`, up to which rounds count; by default all.
        """
        if until is None:
            return {seed: run.total(key) for seed, run in self.runs.items()}
        return {
            seed: sum(
                r.get(key) or 0
                for r in self.runs[seed].rounds
                if r["round"] <= record["round"]
            )
            for seed, record in until.items()
        }


def _accuracy(run, record, split):
    if split != "pooled":
        return run.monitored(record, split)
    parts = [
        (run.monitored(record, each), run.settings.get("dataset", {}).get(each))
        for each in ("validation", "test")
    ]
    if any(None in part for part in parts):
        return None
    return sum(value * images for value, images in parts) / sum(n for _, n in parts)


def kept_units(record):
    """Number of units left by stage: `{"stage1": 6, ...}`."""
    kept = {}
    for unit in record["units"]:
        stage = unit.split("_")[0]
        kept[stage] = kept.get(stage, 0) + 1
    return kept
