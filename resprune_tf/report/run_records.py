"""Reads and checks the records of a run, which may be unfinished.

Pure Python, because `experiments` load this file without the library.
"""

import dataclasses
import functools
import json
import math
import pathlib
import re

_NEEDED = ("round", "removed", "units", "layers", "parameters", "macs")
_WHOLE = ("round", "layers", "parameters", "macs")  # integers if they are present
_FILES = ("rounds.jsonl", "history.jsonl", "final.json", "run.json", "flags.txt")
# `resprune prune --epochs 0` writes its rounds (before and after) only to this file.
_SUMMARY = "summary.json"


@dataclasses.dataclass(frozen=True)
class RunRecords:
    """The records of a run.

    Args:
        rounds: list of dicts, the lines of rounds.jsonl in the order of the rounds.
        final: dict, the content of final.json; empty while the run is unfinished.
        history: list of dicts, the lines of history.jsonl.
        settings, environment: dicts, the content of run.json and environment.json.
        flags: str, the content of flags.txt.
    """

    rounds: list
    final: dict = dataclasses.field(default_factory=dict)
    history: list = ()
    settings: dict = dataclasses.field(default_factory=dict)
    environment: dict = dataclasses.field(default_factory=dict)
    flags: str = ""

    @classmethod
    def read(cls, run_dir):
        """Reads the records in a run directory; those that are missing are empty.

        Raises:
            ValueError: if there are no records, or one is damaged.
        """
        folder = pathlib.Path(run_dir)
        text = {
            name: (folder / name).read_text(encoding="utf-8", errors="replace")
            for name in (*_FILES, _SUMMARY, "environment.json")
            if (folder / name).is_file()
        }
        if not any(name in text for name in (*_FILES, _SUMMARY)):
            raise ValueError(
                f"'{run_dir}' contains no records of a run: none of "
                f"{', '.join((*_FILES, _SUMMARY))}. Pass the folder of a run, such as "
                "--out of `resprune prune` or `RunOptions.directory`."
            )
        if not any(name in text for name in _FILES):
            text |= _of_summary(text[_SUMMARY])
        run = cls(
            rounds=_parse_lines("rounds.jsonl", text, ["round"], _NEEDED),
            final=_parse("final.json", text.get("final.json")),
            history=_parse_lines("history.jsonl", text, ["round", "epoch"]),
            settings=_parse("run.json", text.get("run.json")),
            environment=_parse("environment.json", text.get("environment.json")),
            flags=text.get("flags.txt", "").strip(),
        )
        for line in run.rounds:  # other programs read and copy the file at this path
            name = f"models/round-{line['round']:02}.keras"
            if line.get("model", name) != name:
                raise ValueError(
                    f"rounds.jsonl: the model of round {line['round']} must be "
                    f"'{name}'. Received: {line['model']!r}."
                )
        if run.final and run.selected is None:
            raise ValueError(
                f"final.json selects round {run.final.get('selected_round')!r}, which "
                "rounds.jsonl does not contain."
            )
        return run

    @functools.cached_property
    def selected(self):
        """The record of the selected round; None while the run is unfinished."""
        number = self.final.get("selected_round")
        return next((r for r in self.rounds if r["round"] == number), None)

    @property
    def reported(self):
        """The record of the round to report: the selected one, else the latest."""
        return self.selected or self.rounds[-1]

    @functools.cached_property
    def split(self):
        """The split on which the model is selected: `"validation"` or `"test"`."""
        name = f"validation_{self.monitor}"
        measured = any(r.get(name) is not None for r in self.rounds)
        return self.final.get("select_on", "validation" if measured else "test")

    @property
    def splits(self):
        """The splits to show; the one on which the model is selected comes first."""
        tested = any(f"test_{self.monitor}" in r for r in self.rounds)
        return list(dict.fromkeys((self.split, *["test"] * tested)))

    @property
    def monitor(self):
        """Name of the metric by which rounds are judged, such as `"accuracy"`."""
        return self.final.get("monitor") or self.settings.get("monitor", "accuracy")

    @property
    def in_percent(self):
        """Whether the monitored metric is an accuracy, which is shown in %."""
        # As in `runs.monitor_names.is_accuracy`; a test compares both.
        return self.monitor.endswith(("accuracy", "acc"))

    @property
    def label(self):
        """The monitored metric and its unit."""
        return f"{self.monitor}, %" if self.in_percent else self.monitor

    @property
    def smaller_is_better(self):
        """Whether smaller values of the monitored metric are better."""
        return (self.final.get("mode") or self.settings.get("mode")) == "min"

    def monitored(self, record, split=None):
        """The monitored value of a round; None if it is missing or not finite.

        Args:
            record: record of the round.
            split: defaults to the split on which the model is selected.
        """
        value = record.get(f"{split or self.split}_{self.monitor}")
        return value if value is not None and math.isfinite(value) else None

    def show(self, value):
        """A monitored value as text, without its unit."""
        if value is None:
            return "-"
        return f"{100 * value:.2f}" if self.in_percent else f"{value:.5g}"

    def show_full(self, value):
        """A monitored value as text, with its unit."""
        return f"{self.show(value)} %" if self.in_percent else self.show(value)

    def quality(self, record):
        """The monitored value of a round, negated if smaller values are better."""
        value = self.monitored(record)
        if value is None:
            return -math.inf
        return -value if self.smaller_is_better else value

    def examples(self, split):
        """Number of examples of a split; None if it is not recorded."""
        key = "test_examples" if split == "test" else "selection_examples"
        return self.final.get(key) or self.settings.get("dataset", {}).get(split)

    @property
    def initial(self):
        """The monitored value with which those of the rounds are compared."""
        known = self.monitored(self.rounds[0])
        return self.final.get(f"initial_{self.monitor}", known)

    @property
    def tolerance(self):
        """The accepted deterioration, in the units of the monitored metric."""
        return self.final.get("tolerance") or 0

    @property
    def tolerated(self):
        """The tolerance as text."""
        if not self.in_percent:
            return f"{self.tolerance:g}"
        number = f"{100 * self.tolerance:.3g}"
        return f"{number} percentage point{'' if number == '1' else 's'}"

    def within_tolerance(self, record):
        """Whether the monitored value of a round is within the tolerance."""
        if self.monitored(record) is None or self.initial is None:
            return False
        initial = self.quality({f"{self.split}_{self.monitor}": self.initial})
        # As in `runs.judging.within_tolerance`, whose import would start Keras. A test
        # compares both.
        slack = 1e-9 + 1e-6 * abs(initial)
        return self.quality(record) >= initial - self.tolerance - slack

    @property
    def importances(self):
        """Dict from unit to ω after round 0; empty for a model without ω."""
        return (self.rounds[0].get("importances") or {}) if self.rounds else {}

    @property
    def criterion(self):
        """Name of the criterion of the scores; empty if it is not recorded."""
        return self.settings.get("criterion") or ("importance" * bool(self.importances))

    def scores(self, record):
        """Dict from removable unit to its score after a round."""
        return record.get("scores") or {}

    @property
    def units(self):
        """Names of all units of the initial model."""
        first = self.rounds[0]
        return [*first["units"], *first["removed"]]

    @property
    def kept(self):
        """Dict from each unit that cannot be removed to the reason.

        Early versions did not record the reasons. Then these are the units without a
        score, and the reasons are empty.
        """
        first = self.rounds[0]
        if known := first.get("kept"):
            return known
        scores = self.scores(first)
        rest = [unit for unit in self.units if unit not in {**scores, **self.removals}]
        return dict.fromkeys(rest, "") if scores else {}

    @property
    def removals(self):
        """Dict from each removed unit to the number of the round that removed it."""
        return {name: r["round"] for r in self.rounds for name in r["removed"]}

    def latency(self, record):
        """Measured latency in ms; None if it was not measured."""
        return (record.get("measured") or {}).get("latency_ms")

    def load(self, record):
        """Load of the machine while latency was measured; None if it was not."""
        return (record.get("measured") or {}).get("machine_load")

    def correct(self, record, split):
        """The correctly classified examples (`Round.correct`); None if not recorded."""
        return (record.get("correct") or {}).get(split)

    @property
    def scale(self):
        """The value of the flag `--scale`."""
        found = re.findall(r"^--scale=(\w+)$", self.flags, re.MULTILINE)
        return found[-1] if found else "paper"

    @property
    def smoke(self):
        """Whether the run is a smoke test, whose results mean nothing."""
        return self.scale == "smoke"

    def total(self, key):
        """Sum of `"epochs"` or `"seconds"` over all rounds so far."""
        known = sum(r.get(key) or 0 for r in self.rounds)
        return self.final.get(f"total_{key}", known)


def wilson(accuracy, examples):
    """Returns the 95 % Wilson score interval of an accuracy.

    Args:
        accuracy: fraction of correct examples.
        examples: number of examples.

    Returns:
        `(low, high)`, fractions.

    Reference: Wilson, Probable inference, the law of succession, and statistical
    inference, Journal of the American Statistical Association 22 (1927).
    """
    z = 1.96  # the 97.5 % quantile of the normal distribution
    shrink = 1 + z * z / examples
    center = (accuracy + z * z / (2 * examples)) / shrink
    spread = accuracy * (1 - accuracy) / examples + (z / (2 * examples)) ** 2
    half = z * math.sqrt(max(spread, 0.0)) / shrink
    return max(0.0, center - half), min(1.0, center + half)


def percent(fraction):
    """An accuracy in %, as text without the percent sign."""
    return "-" if fraction is None else f"{100 * fraction:.2f}"


def short(count, digits=2):
    """A count as text with a metric prefix, such as `84.07 M` for 84,068,864."""
    power, letter = magnitude(count)
    return f"{count / power:.{digits}f} {letter}" if letter else str(count)


def magnitude(count):
    """Power of ten and letter of the metric prefix for a count; `(1, "")` for none."""
    for power, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= power:
            return power, letter
    return 1, ""


def _of_summary(text):
    """Converts the text of `summary.json` to the texts of the files of a run."""
    summary = _parse(_SUMMARY, text)
    lines, final = summary.get("rounds", []), summary.get("final", {})
    settings = {name: summary[name] for name in ("criterion",) if name in summary}
    return {
        "rounds.jsonl": "\n".join(map(json.dumps, lines)),
        "final.json": json.dumps(final),
        "run.json": json.dumps(settings),
        "flags.txt": str(summary.get("command", "")),
    }


def _parse(name, text):
    """Parses a JSON object; without text it is empty."""
    try:
        record = json.loads(text or "{}")
    except ValueError as error:
        raise ValueError(f"{name} is not JSON: {error}.") from error
    if not isinstance(record, dict):
        raise ValueError(f"{name} must be a JSON object. Received: {text[:60]!r}.")
    return record


def _parse_lines(name, text, keys, needed=()):
    """Parses a file of one JSON object per line, sorted by the values of `keys`.

    Of several lines with the same values, as after a resumed run, the last one counts.
    """
    records = {}
    for number, line in enumerate(text.get(name, "").splitlines(), start=1):
        if line.strip():
            record = _parse(f"{name}, line {number},", line)
            missing = [key for key in (*keys, *needed) if key not in record]
            if missing:
                raise ValueError(f"{name}, line {number}, has no {missing[0]!r}.")
            for key in _WHOLE:
                if type(value := record.get(key, 0)) is not int:
                    raise ValueError(
                        f"{name}, line {number}: {key!r} must be an integer. Received: "
                        f"{str(value)[:60]!r}."
                    )
            records[tuple(record[key] for key in keys)] = record
    return [records[key] for key in sorted(records)]
