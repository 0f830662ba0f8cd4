"""What was solved for a target, and what can be achieved, as tables and records."""

from __future__ import annotations

import dataclasses

from resprune_tf.system.wording import busy_note, counted
from resprune_tf.targets.target import LOAD, Target, format_measure
from resprune_tf.units.table import aligned


@dataclasses.dataclass(frozen=True)
class Achievable:
    """Between what a target for a model can lie. Prints as a table.

    Attributes:
        model: name of the model.
        units: names of the units that may go.
        in_the_way: dict from the name of every other unit to why it stays.
        initial: dict from measure to number, of the model.
        smallest: the same of the model without all units that may go.
    """

    model: str
    units: tuple[str, ...]
    in_the_way: dict[str, str]
    initial: dict[str, float]
    smallest: dict[str, float]

    def to_dict(self) -> dict:
        """Everything in types that JSON has."""
        return dataclasses.asdict(self)

    def __str__(self):
        rows = [
            (name, format_measure(name, now), format_measure(name, self.smallest[name]))
            for name, now in self.initial.items()
            if name != LOAD
        ]
        return "\n".join(
            [
                f"'{self.model}': {len(self.units)} of "
                f"{counted(len(self.units) + len(self.in_the_way), 'residual unit')} "
                "may go.",
                *aligned(("measure", "now", "smallest possible"), *rows),
                *filter(None, [busy_note(self.initial.get(LOAD))]),
                *(["Units that may not go:"] if self.in_the_way else []),
                *(f"  {name}: {reason}." for name, reason in self.in_the_way.items()),
            ]
        )


@dataclasses.dataclass(frozen=True)
class Solution:
    """The units whose removal meets a target. Prints as a table.

    Attributes:
        model: name of the model.
        target: the `Target` in absolute numbers.
        units: names of the units to remove, smallest score first.
        scores: dict from each of them to its score.
        savings: dict from each limited measure to a dict from each of them to what it
            saves: exact for MACs, parameters and units; layers, a file's size and a
            latency are shares of what all units that may go save together.
        initial, measures, smallest: dicts from measure to number: of the model, of the
            model without `units`, and without all that may go. All are measured.
        timed: dict from the first unit of each kind without which the model was timed
            to the names of all of that kind; empty if the target limits no latency.
        attempts: how many sets were built and measured until one met the target.
        equal_scores: whether all units that may go have the same score, so that it
            chose none of them.
    """

    model: str
    target: Target
    units: tuple[str, ...]
    scores: dict[str, float]
    savings: dict[str, dict[str, float]]
    initial: dict[str, float]
    measures: dict[str, float]
    smallest: dict[str, float]
    timed: dict[str, tuple[str, ...]]
    attempts: int
    equal_scores: bool = False

    @property
    def score(self) -> float:
        """The summed score, which no other set that was found to do falls below."""
        return sum(self.scores.values())

    def to_dict(self) -> dict:
        """Everything in types that JSON has."""
        target = {**self.target.limits, **self.target.conditions}
        fields = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self)
        }
        timed = {name: list(alike) for name, alike in self.timed.items()}
        return {**fields, "target": target, "units": list(self.units), "timed": timed}

    def __str__(self):
        limits = self.target.limits
        rows = [
            (unit, score, {name: self.savings[name][unit] for name in limits})
            for unit, score in self.scores.items()
        ]
        if len(rows) > 1:
            sums = {name: sum(self.savings[name].values()) for name in limits}
            rows.append(("together", self.score, sums))
        lines = [
            f"'{self.model}' meets {self.target} without "
            f"{counted(len(self.units), 'unit')}.",
            *aligned(
                ("unit", "score", *(f"saves {name}" for name in limits)),
                *(
                    (
                        unit,
                        f"{score:.4g}",
                        *(format_measure(*saved) for saved in saves.items()),
                    )
                    for unit, score, saves in rows
                ),
            ),
            *aligned(
                ("measure", "before", "after", "limit", "smallest possible"),
                *(
                    (
                        name,
                        format_measure(name, before),
                        format_measure(name, self.measures[name]),
                        format_measure(name, limits[name]) if name in limits else "-",
                        format_measure(name, self.smallest[name]),
                    )
                    for name, before in self.initial.items()
                    if name != LOAD
                ),
            ),
        ]
        loads = (each.get(LOAD) for each in (self.initial, self.measures))
        if note := busy_note(*loads):
            lines.append(note)
        if self.equal_scores:
            lines.append("All scores are equal: they rank nothing.")
        if self.timed:
            lines.append(
                "Timed without the units of each kind: "
                + "; ".join(
                    f"{name} and {len(alike) - 1} alike" if len(alike) > 1 else name
                    for name, alike in self.timed.items()
                )
                + f"; the whole solution was measured in attempt {self.attempts}."
            )
        return "\n".join(lines)
