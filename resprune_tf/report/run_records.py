"""The records of a run, read and checked, and what follows from them.

Pure Python: `experiments` load this file without the library. The run may still be
going.
"""

import dataclasses
import functools
import json
import math
import pathlib
import re

_NEEDED = ("round", "removed", "units", "layers", "parameters", "macs")
_FILES = ("rounds.jsonl", "history.jsonl", "final.json", "run.json", "flags.txt")
# `resprune prune --epochs 0` keeps its rounds, the model before and after, in here.
_SUMMARY = "summary.json"


@dataclasses.dataclass(frozen=True)
class RunRecords:
    """The records of a run; what it has not written yet is empty."""

    rounds: list
    final: dict = dataclasses.field(default_factory=dict)
    history: list = ()
    settings: dict = dataclasses.field(default_factory=dict)
    environment: dict = dataclasses.field(default_factory=dict)
    flags: str = ""

    @classmethod
    def read(cls, run_dir):
        """Raises a ValueError if there are no records, or one cannot be read."""
        folder = pathlib.Path(run_dir)
        text = {
            name: (folder / name).read_text(encoding="utf-8", errors="replace")
            for name in (*_FILES, _SUMMARY, "environment.json")
            if (folder / name).is_file()
        }
        if not any(name in text for name in (*_FILES, _SUMMARY)):
            raise ValueError(
                f"'{run_dir}' holds no records of a run: none of "
                f"{', '.join((*_FILES, _SUMMARY))}. Give the folder of a run, such as "
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
        for line in run.rounds:  # a path, which other programs read and copy
            name = f"models/round-{line['round']:02}.keras"
            if line.get("model", name) != name:
                raise ValueError(
                    f"rounds.jsonl: the model of round {line['round']} must be "
                    f"'{name}'. Received: {line['model']!r}."
                )
        if run.final and run.selected is None:
            raise ValueError(
                f"final.json selects round {run.final.get('selected_round')!r}, which "
                "rounds.jsonl does not hold."
            )
        return run

    @functools.cached_property
    def selected(self):
        """The record of the selected round; None while the run is unfinished."""
        number = self.final.get("selected_round")
        return next((r for r in self.rounds if r["round"] == number), None)

    @property
    def net(self):
        """The record of the net to report: the selected one, or the latest."""
        return self.selected or self.rounds[-1]

    @functools.cached_property
    def split(self):
        """The split that selects: `"validation"` or `"test"`."""
        name = f"validation_{self.monitor}"
        measured = any(r.get(name) is not None for r in self.rounds)
        return self.final.get("select_on", "validation" if measured else "test")

    @property
    def splits(self):
        """The splits to show, the one that selects first."""
        tested = any(f"test_{self.monitor}" in r for r in self.rounds)
        return list(dict.fromkeys((self.split, *["test"] * tested)))

    @property
    def monitor(self):
        """The measure that rounds are judged by: accuracy, or a metric of one's own."""
        return self.final.get("monitor") or self.settings.get("monitor", "accuracy")

    @property
    def in_percent(self):
        """Whether what is monitored is a fraction of examples, shown in %."""
        return self.monitor.endswith("accuracy")

    @property
    def label(self):
        """What is monitored and its unit."""
        return f"{self.monitor}, %" if self.in_percent else self.monitor

    @property
    def falls(self):
        """Whether what is monitored is better when smaller."""
        return (self.final.get("mode") or self.settings.get("mode")) == "min"

    def watched(self, record, split=None):
        """What is monitored, on the selecting split by default; None if missing."""
        value = record.get(f"{split or self.split}_{self.monitor}")
        return value if value is not None and math.isfinite(value) else None

    def show(self, value):
        """A monitored value as text, without its unit."""
        if value is None:
            return "-"
        return f"{100 * value:.2f}" if self.in_percent else f"{value:.5g}"

    def tell(self, value):
        """A monitored value as text, with its unit."""
        return f"{self.show(value)} %" if self.in_percent else self.show(value)

    def worth(self, record):
        """What is monitored as a number that is better when larger."""
        value = self.watched(record)
        if value is None:
            return -math.inf
        return -value if self.falls else value

    def examples(self, split):
        """Number of images that were measured; None if it is not recorded."""
        key = "test_examples" if split == "test" else "selection_examples"
        return self.final.get(key) or self.settings.get("dataset", {}).get(split)

    @property
    def initial(self):
        """What is to be held, on the selecting split."""
        known = self.watched(self.rounds[0])
        return self.final.get(f"initial_{self.monitor}", known)

    @property
    def tolerance(self):
        """The accepted deterioration, in the units of what is monitored."""
        return self.final.get("tolerance") or 0

    @property
    def tolerated(self):
        """The tolerance as text."""
        if not self.in_percent:
            return f"{self.tolerance:g}"
        number = f"{100 * self.tolerance:g}"
        return f"{number} percentage point{'' if number == '1' else 's'}"

    def holds(self, record):
        """Whether the monitored value of a round is within the tolerance."""
        if self.watched(record) is None or self.initial is None:
            return False
        initial = self.worth({f"{self.split}_{self.monitor}": self.initial})
        # As in `runs.judging.within_tolerance`, whose import would start Keras. A test
        # compares both.
        slack = 1e-9 + 1e-6 * abs(initial)
        return self.worth(record) >= initial - self.tolerance - slack

    @property
    def importances(self):
        """ω by unit after the first training."""
        return (self.rounds[0].get("importances") or {}) if self.rounds else {}

    @property
    def criterion(self):
        """Name of what units are scored by; None if it is not recorded."""
        return self.settings.get("criterion") or ("importance" * bool(self.importances))

    def scores(self, record):
        """Scores by unit after a round, of the units that can be removed."""
        scores = record.get("scores") or {}
        if not scores and self.criterion == "importance":
            # Where nothing is removed afterwards, early versions recorded ω alone.
            omegas = record.get("importances") or {}
            scores = {unit: abs(omega) for unit, omega in omegas.items()}
        return scores

    @property
    def units(self):
        """Names of all units of the initial net, in its order."""
        first = self.rounds[0]
        return [*first["units"], *first["removed"]]

    @property
    def kept(self):
        """The reason for each unit that cannot be removed, "" if it is not recorded.

        Early versions recorded scores alone, which those units do not have.
        """
        first = self.rounds[0]
        if known := first.get("kept"):
            return known
        scores = self.scores(first)
        rest = [unit for unit in self.units if unit not in {**scores, **self.removals}]
        return dict.fromkeys(rest, "") if scores else {}

    @property
    def removals(self):
        """The round that removed it, for each unit removed in any round."""
        return {name: r["round"] for r in self.rounds for name in r["removed"]}

    def latency(self, record):
        """Measured latency in ms; None if it was not measured."""
        return (record.get("measured") or {}).get("latency_ms")

    def correct(self, record, split):
        """Which examples of a split are classified correctly; None if not recorded."""
        return (record.get("correct") or {}).get(split)

    @property
    def scale(self):
        """The `--scale` that its flags state."""
        found = re.findall(r"^--scale=(\w+)$", self.flags, re.MULTILINE)
        return found[-1] if found else "paper"

    @property
    def smoke(self):
        """Whether it was made at the scale smoke, so that it proves nothing."""
        return self.scale == "smoke"

    def total(self, key):
        """`"epochs"` or `"seconds"` of the whole run, or as far as it got."""
        known = sum(r.get(key) or 0 for r in self.rounds)
        return self.final.get(f"total_{key}", known)


def wilson(accuracy, examples, z=1.96):
    """The 95 % Wilson interval of an accuracy that was counted on `examples` images."""
    shrink = 1 + z * z / examples
    center = (accuracy + z * z / (2 * examples)) / shrink
    spread = accuracy * (1 - accuracy) / examples + (z / (2 * examples)) ** 2
    half = z * math.sqrt(max(spread, 0.0)) / shrink
    return max(0.0, center - half), min(1.0, center + half)


def percent(fraction):
    """An accuracy in %, without the sign."""
    return "-" if fraction is None else f"{100 * fraction:.2f}"


def short(count, digits=2):
    """A count with its order of magnitude: 84068864 is `84.07 M`."""
    power, letter = magnitude(count)
    return f"{count / power:.{digits}f} {letter}" if letter else str(count)


def magnitude(count):
    """The power of ten that a count is told in, and its letter, or `(1, "")`."""
    for power, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= power:
            return power, letter
    return 1, ""


def _of_summary(text):
    """The records that `summary.json` holds, as the texts of their files."""
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
    """A JSON object, empty if there is no text."""
    try:
        record = json.loads(text or "{}")
    except ValueError as error:
        raise ValueError(f"{name} is not JSON: {error}.") from error
    if not isinstance(record, dict):
        raise ValueError(f"{name} must hold a JSON object. Received: {text[:60]!r}.")
    return record


def _parse_lines(name, text, keys, needed=()):
    """JSON objects, one a line. A repeated key, from a resumed run, replaces."""
    records = {}
    for number, line in enumerate(text.get(name, "").splitlines(), start=1):
        if line.strip():
            record = _parse(f"{name}, line {number},", line)
            missing = [key for key in (*keys, *needed) if key not in record]
            if missing:
                raise ValueError(f"{name}, line {number}, has no {missing[0]!r}.")
            records[tuple(record[key] for key in keys)] = record
    return [records[key] for key in sorted(records)]
