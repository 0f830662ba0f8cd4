"""Scores of removable units: the units with the smallest score are removed first."""

from resprune_tf.importance import SUFFIX, importances
from resprune_tf.units import find_units


def importance(model):
    """|ω| of every removable unit that has an `ImportanceScale`.

    Args:
        model: a functional `keras.Model`.

    Returns:
        dict from unit name to |ω|, in the order of the units; empty if there is none.

    Reference: Algorithm 1 of the paper; arXiv:1906.03826.
    """
    values = importances(model)
    return {
        unit.name: abs(values[unit.importance.removesuffix(SUFFIX)])
        for unit in find_units(model)
        if unit.removable and unit.importance
    }


def check_scores(scores, model):
    """Raises a ValueError if a model has no scored unit to begin with."""
    if not scores:
        raise ValueError(
            f"'{model.name}' has no unit that the criterion scores and that may be "
            "removed. |ω| needs an ImportanceScale on the branch of each unit: build "
            "the net with it, as `resnet56()` does."
        )
