"""Finds the units whose removal meets a target, and the range of possible targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np
from scipy import optimize

from resprune_tf import graph
from resprune_tf.criteria.by_name import check_scores
from resprune_tf.system.progress import say
from resprune_tf.system.wording import busy_note, counted
from resprune_tf.targets.measures import (
    extent,
    none_removable,
    pruned_measures,
    removable_units,
)
from resprune_tf.targets.savings import outermost, unit_savings
from resprune_tf.targets.solution import Achievable, Solution
from resprune_tf.targets.target import LOAD, Target, check_target
from resprune_tf.units.finding import find_units
from resprune_tf.units.removal import remove_units

# Maximum number of sets of units that are measured.
_ATTEMPTS = 8


def solve_target(
    model: keras.Model,
    target: Target,
    scores: Mapping[str, float],
    protected: Sequence[str] = (),
) -> Solution:
    """Finds the units with the smallest total score whose removal meets a target.

    The savings of each unit are counted; latency is profiled once per group of
    identical units. A 0-1 linear program chooses the set of units, and the model
    without them is built and measured. If the measured model misses a limit, the limit
    is tightened by the shortfall and the problem is solved again, up to 8 times. If a
    unit contains another one, only the score of the outer unit counts.

    Units are scored once, for the whole model, and scores are added up. If units are
    redundant with each other, this underestimates the loss of removing several. Both
    `greedy_search` and `prune_and_retrain` accept the same targets and score again
    after each removal. `prune_and_retrain` with `Removal(units=solution.units)` removes
    a solved set in rounds.

    Args:
        model: a functional `keras.Model`; it is not changed.
        target: a `Target`.
        scores: dict from unit name to score, as a criterion returns it. Units without
            a score are not removed. Units with a negative score are always removed,
            unless a unit that contains them, or lies in them, is chosen instead.
        protected: names of units that must not be removed, or patterns with `*`.

    Returns:
        A `Solution`, which prints as a table.

    Raises:
        ValueError: if a score is not finite or not that of a unit, if the model meets
            the target already, if removing all units does not meet it (the message
            states what that achieves and which units cannot be removed), if a limited
            measure cannot be measured, or if no measured set met the target.
        TypeError: if `model` is not functional, `target` is not a `Target`, `scores`
            is not a dict, or `protected` is a string.
        ImportError: if a package is missing that a file format or runtime needs.
        ExportError, RuntimeFailed: if a model of the search cannot be written in the
            format of the target, or its runtime cannot run it.
        RuntimeError: if `scipy.optimize.milp` fails.

    Reference: branch and bound, by `scipy.optimize.milp`.

    >>> target = Target(latency_ratio=0.7, runtime="litert")
    >>> solution = solve_target(model, target, criteria.importance(model))
    >>> smaller = remove_units(model, solution.units)
    """
    graph.check_functional(model, "solve_target")
    check_target(target)
    found = find_units(model)
    scores = check_scores(scores, found)
    units, not_removable = candidates(found, scores, protected)
    initial, smallest = extent(model, [unit.name for unit in units], target)
    target = target.resolve(initial, smallest, not_removable)
    savings, timed = unit_savings(model, units, target, initial, smallest)
    chosen, measured, attempts = _met(
        model, target, scores, units, savings, initial, smallest
    )
    return Solution(
        model=model.name,
        target=target,
        units=chosen,
        scores={name: scores[name] for name in chosen},
        savings={
            measure: {name: saved[name] for name in chosen}
            for measure, saved in savings.items()
        },
        initial=initial,
        measures=measured,
        smallest=smallest,
        timed=timed,
        attempts=attempts,
        equal_scores=len(units) > 1 and len({scores[u.name] for u in units}) == 1,
    )


def achievable(
    model: keras.Model,
    target: Target | None = None,
    scores: Mapping[str, float] | None = None,
    protected: Sequence[str] = (),
) -> Achievable:
    """Measures a model as it is and without all removable units.

    Args:
        model: a functional `keras.Model`; it is not changed.
        target: a `Target` whose file size or latency limits are measured in addition
            to counts. It need not be possible to meet it.
        scores: dict from unit name to score; units without one are not removed.
            Defaults to all removable units.
        protected: names of units that must not be removed, or patterns with `*`.

    Returns:
        An `Achievable`, which prints as a table.

    Raises:
        ValueError, TypeError, ImportError, ExportError, RuntimeFailed: as
            `solve_target`, except that the target need not be possible; ValueError also
            if no unit can be removed.

    >>> print(achievable(resnet56()))
    """
    graph.check_functional(model, "achievable")
    found = find_units(model)
    if scores is None:
        names = [unit.name for unit in found]
    else:
        names = check_scores(scores, found)
    units, not_removable = candidates(found, names, protected)
    names = tuple(unit.name for unit in units)
    initial, smallest = extent(model, names, target)
    return Achievable(model.name, names, not_removable, initial, smallest)


def candidates(found, names, protected):
    """As `removable_units`, but raises a ValueError if no unit may be removed."""
    units, not_removable = removable_units(found, names, protected)
    if not units:
        raise ValueError(none_removable(found, not_removable))
    return units, not_removable


def _met(model, target, scores, units, savings, initial, smallest):
    """A set of units that meets the target, its measures, and number of attempts."""
    costs = {unit.name: scores[unit.name] for unit in units}
    needs = {
        name: initial[name] - limit
        for name, limit in target.limits.items()
        if initial[name] > limit
    }
    required = dict(needs)
    exclusive = [
        (unit.name, inner)
        for unit in units
        for inner in unit.contains
        if inner in costs
    ]
    tried = []
    for attempt in range(1, _ATTEMPTS + 1):
        chosen = cheapest_set(costs, savings, required, exclusive)
        if chosen is None:  # all savings together are predicted not to suffice
            whole = [unit.name for unit in outermost(units)]
            chosen = tuple(sorted(whole, key=costs.get))
        say(
            f"Measuring the model without {counted(len(chosen), 'unit')} (attempt "
            f"{attempt} of at most {_ATTEMPTS}) ..."
        )
        pruned = remove_units(model, chosen)
        measured = pruned_measures(model, pruned, target, initial)
        if target.reached(measured):
            return chosen, measured, attempt
        tried.append(f"without {', '.join(chosen)}: {target.listing(measured)}")
        for name, need in needs.items():
            if measured[name] > target.limits[name]:
                predicted = sum(savings[name][unit] for unit in chosen)
                required[name] = need + predicted - (initial[name] - measured[name])
    raise ValueError(
        f"No set of units meets {target} when measured, although removing all "
        f"removable units leaves {target.listing(smallest)}. Choose another target. "
        "Measured:\n  "
        + "\n  ".join([*tried, *filter(None, [busy_note(initial.get(LOAD))])])
    )


def cheapest_set(scores, savings, needs, exclusive=()):
    """The set of units with the smallest total score that saves enough.

    The set contains no unit that is not needed, even if its score is 0. A unit with a
    negative score is always chosen, unless one that excludes it is better.

    Args:
        scores: dict from unit to a finite score.
        savings: dict from measure to a dict from unit to what it saves, >= 0.
        needs: dict from measure to the required saving, > 0.
        exclusive: pairs of units of which at most one is chosen.

    Returns:
        tuple of units, smallest score first; None if no set saves enough.

    Raises:
        RuntimeError: if the solver fails.

    Reference: a 0-1 program, solved by branch and bound (`scipy.optimize.milp`).
    """
    units = list(scores)
    # Relative to the need, because the tolerances of the solver are absolute.
    saved = [[savings[m][unit] / need for unit in units] for m, need in needs.items()]
    pairs = [[unit in pair for unit in units] for pair in exclusive]
    costs = np.array([scores[unit] for unit in units], "float64")
    found = optimize.milp(
        costs / (np.abs(costs).max() or 1),
        integrality=np.ones(len(units)),
        bounds=optimize.Bounds(0, 1),
        constraints=optimize.LinearConstraint(
            np.array(saved + pairs, "float64"),
            lb=[1] * len(saved) + [-np.inf] * len(pairs),
            ub=[np.inf] * len(saved) + [1] * len(pairs),
        ),
        options={"mip_rel_gap": 0},
    )
    if found.status == 2:  # infeasible
        return None
    if not found.success:
        raise RuntimeError(f"scipy.optimize.milp found no solution: {found.message}")
    chosen = [unit for unit, taken in zip(units, found.x, strict=True) if taken > 0.5]
    return _without_unneeded(chosen, scores, savings, needs)


def _without_unneeded(chosen, scores, savings, needs):
    kept = sorted(chosen, key=scores.get)
    for unit in reversed(list(kept)):
        rest = [other for other in kept if other != unit]
        if scores[unit] >= 0 and all(
            sum(savings[measure][other] for other in rest) >= need
            for measure, need in needs.items()
        ):
            kept = rest
    return tuple(kept)
