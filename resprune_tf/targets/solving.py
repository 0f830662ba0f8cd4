"""Targets in the user's terms: which units to remove to meet one, and what can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np
from scipy import optimize

from resprune_tf import graph
from resprune_tf.criteria.by_name import check_scores
from resprune_tf.system.progress import say
from resprune_tf.system.wording import busy_note, counted
from resprune_tf.targets.measures import extent, may_go, target_measures
from resprune_tf.targets.savings import outermost, unit_savings
from resprune_tf.targets.solution import Achievable, Solution
from resprune_tf.targets.target import LOAD, Target
from resprune_tf.units.finding import find_units
from resprune_tf.units.removal import remove_units

# Sets that are built and measured before it is given up.
_ATTEMPTS = 8


def solve_target(
    model: keras.Model,
    target: Target,
    scores: Mapping[str, float],
    protected: Sequence[str] = (),
) -> Solution:
    """The units whose removal meets a target at the smallest summed score.

    What each unit saves is counted, or timed with the net without the units of its
    kind, and the set is the optimum of a 0-1 program over these savings. The net
    without that set is then built and measured as a whole. If it misses a limit, what
    the set promised in vain is asked for in addition, and a set is solved for anew. A
    unit that lies in another's branch goes with that one, whose score alone counts
    then.

    Scores are taken once, for the model as it is: `prune_and_retrain` scores anew
    after every removal. Its `units` removes a solved set in rounds.

    Args:
        model: a functional `keras.Model`; it is only read.
        target: a `Target`.
        scores: dict from unit name to score, as a criterion returns it. Units without
            one stay. Those of a negative score go in any case.
        protected: names of units that must stay.

    Returns:
        A `Solution`, which prints as a table.

    Raises:
        ValueError: if a score is no finite number or of no unit; if the model
            meets the target already; if no removal meets it, with what removing all
            units achieves and which units are in the way; if what is limited cannot
            be measured; or if none of some attempts met the target when measured.
        TypeError: if `model` has no graph to read, or `scores` is no dict.
        ImportError: if a package is missing that a file or runtime needs.

    >>> target = Target(latency_ratio=0.7, runtime="litert")
    >>> solution = solve_target(model, target, criteria.importance(model))
    >>> shorter = remove_units(model, solution.units)
    """
    graph.check_functional(model, "solve_target")
    found = find_units(model)
    scores = check_scores(scores, found)
    units, in_the_way = candidates(found, scores, protected)
    initial, smallest = extent(model, [unit.name for unit in units], target)
    target = target.resolve(initial, smallest, in_the_way)
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
    protected: Sequence[str] = (),
    scores: Mapping[str, float] | None = None,
) -> Achievable:
    """What a model measures now, and at the smallest that removal can make it.

    Args:
        model: a functional `keras.Model`; it is only read.
        target: a `Target` that limits what else than counts is to be measured: a file
            or a latency. Whether it can be met does not matter.
        protected: names of units that must stay.
        scores: of the units that may go, as for `solve_target`; by default all that
            can be removed.

    Returns:
        An `Achievable`, which prints as a table.

    Raises:
        ValueError, TypeError, ImportError: as `solve_target`, but for the target.
    """
    graph.check_functional(model, "achievable")
    found = find_units(model)
    if scores is None:
        names = [unit.name for unit in found]
    else:
        names = check_scores(scores, found)
    units, in_the_way = candidates(found, names, protected)
    names = tuple(unit.name for unit in units)
    initial, smallest = extent(model, names, target)
    return Achievable(model.name, names, in_the_way, initial, smallest)


def candidates(found, names, protected):
    """As `may_go`, and a ValueError if no unit may go."""
    units, in_the_way = may_go(found, names, protected)
    if not units:
        reasons = "".join(f"\n  {name}: {why}." for name, why in in_the_way.items())
        raise ValueError(f"No unit of '{found.model}' may go.{reasons}")
    return units, in_the_way


def _met(model, target, scores, units, savings, initial, smallest):
    """A set that was measured to meet a target, its measures, and which attempt."""
    costs = {unit.name: scores[unit.name] for unit in units}
    needs = {
        name: initial[name] - limit
        for name, limit in target.limits.items()
        if initial[name] > limit
    }
    asked = dict(needs)
    exclusive = [
        (unit.name, inner)
        for unit in units
        for inner in unit.contains
        if inner in costs
    ]
    tried = []
    for attempt in range(1, _ATTEMPTS + 1):
        chosen = cheapest_set(costs, savings, asked, exclusive)
        if chosen is None:  # more is asked for than the savings promise
            whole = [unit.name for unit in outermost(units)]
            chosen = tuple(sorted(whole, key=costs.get))
        say(
            f"Measuring the model without {counted(len(chosen), 'unit')} (attempt "
            f"{attempt} of at most {_ATTEMPTS}) ..."
        )
        shorter = remove_units(model, chosen)
        measured = target_measures([model, shorter], target, initial.get("latency_ms"))[
            1
        ]
        if target.reached(measured):
            return chosen, measured, attempt
        tried.append(f"without {', '.join(chosen)}: {target.listing(measured)}")
        for name, need in needs.items():
            if measured[name] > target.limits[name]:
                promised = sum(savings[name][unit] for unit in chosen)
                asked[name] = need + promised - (initial[name] - measured[name])
    raise ValueError(
        f"No set of units was measured to meet {target}, although removing all that "
        f"may go leaves {target.listing(smallest)}. What was tried:\n  "
        + "\n  ".join([*tried, *filter(None, [busy_note(initial.get(LOAD))])])
    )


def cheapest_set(scores, savings, needs, exclusive=()):
    """The set of units of smallest summed score that saves enough of every measure.

    Of sets that cost the same, one without a unit that is not needed: what costs
    nothing stays as well, if enough is saved without it. A unit of negative score
    always goes, unless another that excludes it is better.

    Args:
        scores: dict from unit to a finite score.
        savings: dict from measure to a dict from unit to what it saves, >= 0.
        needs: dict from measure to how much is to be saved, > 0.
        exclusive: pairs of units of which at most one is chosen.

    Returns:
        tuple of units, smallest score first; None if no set saves enough.

    Reference: a 0-1 program, solved by branch and bound (`scipy.optimize.milp`).
    """
    units = list(scores)
    # In units of the need: the solver's tolerances are absolute.
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
        raise RuntimeError(f"The choice of units was not solved: {found.message}")
    chosen = [unit for unit, taken in zip(units, found.x, strict=True) if taken > 0.5]
    return _without_the_needless(chosen, scores, savings, needs)


def _without_the_needless(chosen, scores, savings, needs):
    kept = sorted(chosen, key=scores.get)
    for unit in reversed(list(kept)):
        rest = [other for other in kept if other != unit]
        if scores[unit] >= 0 and all(
            sum(savings[measure][other] for other in rest) >= need
            for measure, need in needs.items()
        ):
            kept = rest
    return tuple(kept)
