"""The choice of a set of units: smallest summed score among those that save enough."""

import numpy as np
from scipy import optimize


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
