"""Results of `solve_target` and `achievable`, which print as tables."""

from __future__ import annotations

import dataclasses

from resprune_tf.system.wording import busy_note, counted
from resprune_tf.targets.target import LOAD, Target, format_measure
from resprune_tf.units.table import aligned


@dataclasses.dataclass(frozen=True)
class Achievable:
    """The range of targets that a model can meet. Prints as a table.

    Attributes:
        model: name of the model.
        units: names of the removable units.
        not_removable: dict from the name of every other unit to the reason why it
            cannot be removed.
        initial: dict from measure to number, for the model.
        smallest: dict from measure to number, for the model without all removable
            units.
    """

    model: str
    units: tuple[str, ...]
    not_removable: dict[str, str]
    initial: dict[str, float]
    smallest: dict[str, float]

    def to_dict(self) -> dict:
        """Returns everything in JSON types."""
        return dataclasses.asdict(self)

    def __str__(self):
        rows = [
            (name, format_measure(name, now), format_measure(name, self.smallest[name]))
            for name, now in self.initial.items()
            if name != LOAD
        ]
        count = len(self.units) + len(self.not_removable)
        return "\n".join(
            [
                f"'{self.model}': {len(self.units)} of "
                f"{counted(count, 'residual unit')} can be removed.",
                *aligned(("measure", "now", "smallest possible"), *rows),
                *filter(None, [busy_note(self.initial.get(LOAD))]),
                *(["Units that cannot be removed:"] if self.not_removable else []),
                *(
                    f"  {name}: {reason}."
                    for name, reason in self.not_removable.items()
                ),
            ]
        )


@dataclasses.dataclass(frozen=True)
class Solution:
    """The units whose removal meets a target. Prints as a table.

    Attributes:
        model: name of the model.
        target: the `Target` in absolute numbers.
        units: names of the units to remove, smallest score first.
        scores: dict from each of these units to its score.
        savings: dict from each limited measure to a dict from each of these units to
            what it saves. It is exact for units, and for MACs and parameters unless
            units share layers. For layers, file size and latency it is a share of what
            all removable units save together.
        initial, measures, smallest: dicts from measure to number, for the model, for
            the model without `units`, and for the model without all removable units.
            All are measured.
        timed: dict from the first unit of each group of identical units that was timed
            to the names of all units of the group; empty without a latency limit.
        attempts: number of sets of units that were measured until one met the target.
        equal_scores: whether all removable units have the same score, so that the
            scores did not affect the choice.
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
        """Sum of the scores of the units to remove, which the solver minimises."""
        return sum(self.scores.values())

    def to_dict(self) -> dict:
        """Returns everything in JSON types."""
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
            lines.append("All scores are equal, so they do not rank the units.")
        if self.timed:
            lines.append(
                "Latency was profiled once per group of identical units: "
                + "; ".join(
                    f"{name} and {len(alike) - 1} more" if len(alike) > 1 else name
                    for name, alike in self.timed.items()
                )
                + ". The final model was measured directly and meets the target "
                f"(attempt {self.attempts})."
            )
        return "\n".join(lines)
