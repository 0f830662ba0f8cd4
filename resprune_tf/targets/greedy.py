"""Removal without retraining, unit by unit: scores are taken again after each one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras

from resprune_tf import graph
from resprune_tf.criteria.by_name import check_scores
from resprune_tf.system.wording import busy_note, counted
from resprune_tf.targets.measures import extent, may_go, names_of, target_measures
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
        score: its score, the smallest that was left.
        scores: dict from unit to score, of all that could be removed when they were
            last scored.
        measures: dict from measure to number, of the model without this unit and those
            before it.
    """

    unit: str
    score: float
    scores: dict[str, float]
    measures: dict[str, float]


@dataclasses.dataclass(frozen=True)
class GreedyResult:
    """What a greedy search removed. Prints as a table.

    Attributes:
        model: the shorter `keras.Model`, not compiled.
        units: names of the removed units, in the order of their removal.
        steps: tuple of `GreedyStep`, one for each removal.
        put_back: names of units that were removed in a step, but that the target
            did not need in the end.
        target: the `Target` in absolute numbers; None if units were counted.
        initial, measures, smallest: dicts from measure to number: of the initial
            model, of `model`, and without all units that can be removed.
    """

    model: keras.Model
    units: tuple[str, ...]
    steps: tuple[GreedyStep, ...]
    put_back: tuple[str, ...]
    target: Target | None
    initial: dict[str, float]
    measures: dict[str, float]
    smallest: dict[str, float]

    @property
    def scores(self) -> dict[str, float]:
        """The score that each removed unit had when it was removed."""
        return {s.unit: s.score for s in self.steps if s.unit in self.units}

    def to_dict(self) -> dict:
        """Everything but the model, in types that JSON has."""
        target = self.target and {**self.target.limits, **self.target.conditions}
        return {
            "target": target,
            "units": list(self.units),
            "scores": self.scores,
            "steps": [dataclasses.asdict(step) for step in self.steps],
            "put_back": list(self.put_back),
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
        if self.put_back:
            lines.append(f"Not needed, and put back: {', '.join(self.put_back)}.")
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
    """Removes the unit of smallest score, scores what is left again, and so on.

    Scores of a whole model say nothing of units that stand in for each other: each of
    them alone can go, all together cannot. After a removal the scores show that.

    If the target limits counts only, each removed unit that the target does not need
    in the end is put back, the one of largest score first, unless its score is
    negative.

    Args:
        model: a functional `keras.Model`; it is only read.
        criterion: function from a model to `{unit name: score}`. It is called for the
            model and after each removal. Units without a score stay.
        count: int, how many units to remove.
        target: a `Target` to remove units for instead. All its limits are measured
            after each removal: a latency or a file takes its time.
        protected: names of units that must stay, or patterns with `*`.
        images: training examples, as the model takes them, from which the statistics
            of BatchNormalization are estimated again after a removal, before units are
            scored. None keeps the statistics.
        batch_size: images per step of that estimate.
        units_per_scoring: int, how many units are removed before scores are taken
            again: the search costs about `1 / units_per_scoring` of the time.
        on_step: function that is called with each `GreedyStep`, such as `print`.

    Returns:
        A `GreedyResult`, which prints as a table.

    Raises:
        ValueError: before anything is scored, if not one of `count` and `target` is
            given, or neither can be reached, or a protected unit is unknown. In the
            search, if scores are no finite numbers or of no unit, or if no unit is
            left to remove because the criterion scored too few.
        TypeError: if `model` has no graph to read, or `criterion` is no function.

    >>> criterion = rp.criteria.leave_one_out(images, labels, recalibrate=True)
    >>> found = rp.greedy_search(model, criterion, count=3, images=images)
    >>> shorter = found.model
    """
    graph.check_functional(model, "greedy_search")
    _check_arguments(criterion, count, target, units_per_scoring)
    found = find_units(model)
    protected = names_of(protected, found)
    names = [unit.name for unit in scored_units(model)]
    units, in_the_way = candidates(found, names, protected)
    if count is not None and count > len(units):
        raise ValueError(
            f"`count` must be from 1 to {len(units)}, the units of '{model.name}' that "
            f"can be removed. Received: count={count}."
        )
    initial, smallest = extent(model, [unit.name for unit in units], target)
    if target is not None:
        target = target.resolve(initial, smallest, in_the_way)
    former = [unit.name for unit in found]
    current, steps = model, []

    def done():
        if target is None:
            return len(steps) == count
        return bool(steps) and target.reached(steps[-1].measures)

    while not done():
        scores = _scores(current, criterion, protected, former, steps)
        for name in sorted(scores, key=scores.get)[:units_per_scoring]:
            if name not in {unit.name for unit in find_units(current)}:
                continue  # it lay in a unit that has just been removed
            current = remove_units(current, name)
            measured = _measured(model, current, target, initial)
            steps.append(GreedyStep(name, scores[name], scores, measured))
            if on_step is not None:
                on_step(steps[-1])
            if done():
                break
        current = _recalibrated(current, images, batch_size)
    kept = _needed(model, target, steps)
    if len(kept) < len(steps):
        current = _recalibrated(remove_units(model, kept), images, batch_size)
    return GreedyResult(
        model=current,
        units=tuple(kept),
        steps=tuple(steps),
        put_back=tuple(step.unit for step in steps if step.unit not in kept),
        target=target,
        initial=initial,
        measures=steps[-1].measures
        if len(kept) == len(steps)
        else _measured(model, current, target, initial),
        smallest=smallest,
    )


def _check_arguments(criterion, count, target, units_per_scoring):
    if not callable(criterion):
        raise TypeError(
            "`criterion` must be a function from a model to scores, such as "
            "`rp.criteria.block_influence(images)`, since scores are taken again after "
            f"each removal. Received: {type(criterion).__name__}."
        )
    if (count is None) == (target is None):
        raise ValueError(
            "Give either `count`, how many units to remove, or a `target`. "
            f"Received: count={count}, target={target}."
        )
    for name, value in (("count", count), ("units_per_scoring", units_per_scoring)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ValueError(
                f"`{name}` must be an integer >= 1. Received: {name}={value!r}."
            )


def _scores(model, criterion, protected, former, steps):
    """The scores of the units that can be removed from what is left."""
    found = find_units(model)
    scores = check_scores(criterion(model), found, former)
    units, _ = may_go(found, scores, protected)
    if not units:
        raise ValueError(
            f"'{model.name}' has lost {counted(len(steps), 'unit')}, and the criterion "
            "scores none of the others that can be removed: what was asked for is not "
            "reached."
        )
    return {unit.name: scores[unit.name] for unit in units}


def _recalibrated(model, images, batch_size):
    if images is None:
        return model
    return recalibration.recalibrate(model, images, batch_size=batch_size)


def _measured(model, shorter, target, initial):
    return target_measures([model, shorter], target, initial.get("latency_ms"))[1]


def _needed(model, target, steps):
    """The units that a target of counts needs, in the order of their removal."""
    kept = [step.unit for step in steps]
    if target is None or not all(name in COUNTED for name in target.limits):
        return kept
    for step in sorted(steps, key=lambda step: step.score, reverse=True):
        rest = [unit for unit in kept if unit != step.unit]
        if step.score < 0 or not rest:
            continue
        if target.reached(_measured(model, remove_units(model, rest), target, {})):
            kept = rest
    return kept
