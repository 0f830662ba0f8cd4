"""Greedy removal without retraining: units are scored again after each removal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras

from resprune_tf import graph
from resprune_tf.criteria.by_name import check_scores
from resprune_tf.system.counts import check_counts
from resprune_tf.system.wording import busy_note, counted
from resprune_tf.targets.measures import (
    extent,
    names_of,
    pruned_measures,
    removable_units,
)
from resprune_tf.targets.solving import candidates
from resprune_tf.targets.target import COUNTED, LOAD, Target, format_measure
from resprune_tf.training import recalibration
from resprune_tf.units.finding import find_units, scored_units
from resprune_tf.units.removal import remove_units
from resprune_tf.units.table import aligned


@dataclasses.dataclass(frozen=True)
class GreedyStep:
    """One removal of a greedy search.

    Attributes:
        unit: name of the unit that was removed.
        score: its score, the smallest of the remaining units.
        scores: dict from unit name to score, for all removable units when they were
            last scored.
        measures: dict from measure to number, for the model after this step.
    """

    unit: str
    score: float
    scores: dict[str, float]
    measures: dict[str, float]


@dataclasses.dataclass(frozen=True)
class GreedyResult:
    """Result of `greedy_search`. Prints as a table.

    Attributes:
        model: the pruned `keras.Model`, not compiled.
        units: names of the removed units, in the order of their removal.
        steps: tuple of `GreedyStep`, one per removal.
        restored: names of units that a step removed and that were put back, because
            the target is met with them.
        target: the `Target` in absolute numbers; None if `count` was given.
        initial, measures, smallest: dicts from measure to number, for the initial
            model, for `model`, and for the model without all removable units.
    """

    model: keras.Model
    units: tuple[str, ...]
    steps: tuple[GreedyStep, ...]
    restored: tuple[str, ...]
    target: Target | None
    initial: dict[str, float]
    measures: dict[str, float]
    smallest: dict[str, float]

    @property
    def scores(self) -> dict[str, float]:
        """Dict from each removed unit to its score when it was removed."""
        return {s.unit: s.score for s in self.steps if s.unit in self.units}

    def to_dict(self) -> dict:
        """Returns everything except the model, in JSON types."""
        target = self.target and {**self.target.limits, **self.target.conditions}
        return {
            "target": target,
            "units": list(self.units),
            "scores": self.scores,
            "steps": [dataclasses.asdict(step) for step in self.steps],
            "restored": list(self.restored),
            "initial": self.initial,
            "measures": self.measures,
            "smallest": self.smallest,
        }

    def __str__(self):
        meets = f" meets {self.target}" if self.target else ""
        columns = list(self.target.limits) if self.target else list(self.measures)
        columns = [name for name in columns if name != LOAD]
        rows = [
            (
                step.unit,
                f"{step.score:.4g}",
                *(format_measure(name, step.measures[name]) for name in columns),
            )
            for step in self.steps
        ]
        lines = [
            f"'{self.model.name}'{meets} without {counted(len(self.units), 'unit')}, "
            "removed one by one.",
            *aligned(("unit", "score", *(f"{name} left" for name in columns)), *rows),
        ]
        if note := busy_note(*(step.measures.get(LOAD) for step in self.steps)):
            lines.append(note)
        if self.restored:
            lines.append(
                "Put back, because the target is met with them: "
                f"{', '.join(self.restored)}."
            )
        return "\n".join(lines)


def greedy_search(
    model: keras.Model,
    criterion: Callable,
    count: int | None = None,
    target: Target | None = None,
    protected: Sequence[str] = (),
    images: Any = None,
    batch_size: int = 256,
    units_per_scoring: int = 1,
    on_step: Callable | None = None,
) -> GreedyResult:
    """Repeatedly removes the unit with the smallest score and scores again.

    There is no retraining. Units may be redundant with each other, so that any one of
    them can be removed, but not all together. Scores of the initial model do not show
    this; scores computed after a removal do.

    If the target limits counts only (layers, units, MACs or parameters), units without
    which the target would still be met are put back at the end, the one with the
    largest score first, unless its score is negative.

    Args:
        model: a functional `keras.Model`; it is not changed.
        criterion: function from a model to `{unit name: score}`. It is called for the
            model and after each removal. Units without a score are not removed.
        count: int, number of units to remove; give either `count` or `target`.
        target: a `Target` to meet. All its limits are measured after each removal,
            which is slow for latency and file size.
        protected: names of units that must not be removed, or patterns with `*`.
        images: training examples, in the form that the model takes. After a removal,
            BatchNormalization statistics are re-estimated from them before units are
            scored. None keeps the statistics.
        batch_size: int, images per step of that estimate.
        units_per_scoring: int, number of units to remove before scoring again. With 2,
            the search takes about half of the time.
        on_step: function that is called with each `GreedyStep`, such as `print`.

    Returns:
        A `GreedyResult`, which prints as a table.

    Raises:
        ValueError: before anything is scored, if `count` and `target` are both given
            or both missing, if the request cannot be met, or if a protected unit is
            unknown. During the search, if a score is not finite or not that of a unit,
            or if the remaining units have no scores.
        TypeError: if `model` is not functional, `criterion` is not a function,
            `target` is not a `Target`, or `protected` is a string.

    >>> criterion = rp.criteria.leave_one_out(images, labels, recalibrate=True)
    >>> found = rp.greedy_search(model, criterion, count=3, images=images)
    >>> smaller = found.model
    """
    graph.check_functional(model, "greedy_search")
    _check_arguments(criterion, count, target, units_per_scoring)
    found = find_units(model)
    protected = names_of(protected, found)
    names = [unit.name for unit in scored_units(model)]
    units, not_removable = candidates(found, names, protected)
    if count is not None and count > len(units):
        raise ValueError(
            f"`count` must be from 1 to {len(units)}, the units of '{model.name}' that "
            f"can be removed. Received: count={count}."
        )
    initial, smallest = extent(model, [unit.name for unit in units], target)
    if target is not None:
        target = target.resolve(initial, smallest, not_removable)
    initial_names = [unit.name for unit in found]
    current, steps = model, []

    def done():
        if target is None:
            return len(steps) == count
        return bool(steps) and target.reached(steps[-1].measures)

    while not done():
        scores = _scores(current, criterion, protected, initial_names, steps)
        for name in sorted(scores, key=scores.get)[:units_per_scoring]:
            if name not in {unit.name for unit in find_units(current)}:
                continue  # it was inside a unit that has just been removed
            current = remove_units(current, name)
            measured = pruned_measures(model, current, target, initial)
            steps.append(GreedyStep(name, scores[name], scores, measured))
            if on_step is not None:
                on_step(steps[-1])
            if done():
                break
        current = _recalibrated(current, images, batch_size)
    kept, measured = _needed(model, target, steps), steps[-1].measures
    if len(kept) < len(steps):
        current = _recalibrated(remove_units(model, kept), images, batch_size)
        measured = pruned_measures(model, current, target, initial)
    return GreedyResult(
        model=current,
        units=tuple(kept),
        steps=tuple(steps),
        restored=tuple(step.unit for step in steps if step.unit not in kept),
        target=target,
        initial=initial,
        measures=measured,
        smallest=smallest,
    )


def _check_arguments(criterion, count, target, units_per_scoring):
    if not callable(criterion):
        raise TypeError(
            "`criterion` must be a function from a model to scores, such as "
            "`rp.criteria.block_influence(images)`, because units are scored again "
            f"after each removal. Received: {type(criterion).__name__}."
        )
    if (count is None) == (target is None):
        raise ValueError(
            "Give either `count`, the number of units to remove, or a `target`. "
            f"Received: count={count}, target={target}."
        )
    counts = {"count": count, "units_per_scoring": units_per_scoring}
    check_counts(**{name: n for name, n in counts.items() if n is not None})


def _scores(model, criterion, protected, initial_names, steps):
    """The scores of the remaining units that can be removed."""
    found = find_units(model)
    scores = check_scores(criterion(model), found, initial_names)
    units, _ = removable_units(found, scores, protected)
    if not units:
        raise ValueError(
            f"After the removal of {counted(len(steps), 'unit')} of '{model.name}', "
            "the criterion scores none of the others that can be removed, so the "
            "search cannot finish. Lower `count`, relax the `target`, or let the "
            "criterion score more units."
        )
    return {unit.name: scores[unit.name] for unit in units}


def _recalibrated(model, images, batch_size):
    if images is None:
        return model
    return recalibration.recalibrate(model, images, batch_size=batch_size)


def _needed(model, target, steps):
    """The removed units without those to put back, in the order of their removal."""
    kept = [step.unit for step in steps]
    if target is None or not all(name in COUNTED for name in target.limits):
        return kept
    for step in sorted(steps, key=lambda step: step.score, reverse=True):
        rest = [unit for unit in kept if unit != step.unit]
        if step.score < 0 or not rest:
            continue
        pruned = remove_units(model, rest)
        if target.reached(pruned_measures(model, pruned, target, {})):
            kept = rest
    return kept
