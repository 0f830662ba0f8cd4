"""Taking residual units out of a model for good."""

from resprune_tf import graph
from resprune_tf.architecture import UnitId
from resprune_tf.strategy import scope_of
from resprune_tf.units import Unit, find_units


def remove_units(model, units):
    """A new model without `units`, equal to `model` with their branches silenced.

    Each unit's output is replaced by its shortcut and what only the branch needed is
    left out; surviving weights and BatchNormalization statistics are copied. Layer
    names stay, and `model` is not touched.

    Args:
        model: a functional `keras.Model`.
        units: one or several names (`"stage1_unit3"`), `UnitId`s or `Unit`s, in any
            order.

    Returns:
        A functional `keras.Model`, not compiled, that shares nothing with `model`; of
        the same `tf.distribute` strategy, if that was made under one.

    Raises:
        ValueError: if `units` is empty, or one of them is unknown or cannot be
            removed; the message lists those that can.
        TypeError: if `model` is not functional.

    >>> small = remove_units(resnet56(), ["stage1_unit3", UnitId(2, 5)])
    """
    found = {unit.name: unit for unit in find_units(model)}
    removable = [name for name, unit in found.items() if unit.removable]
    offer = f"Removable units of '{model.name}': {', '.join(removable) or 'none'}."
    if isinstance(units, (str, UnitId, Unit)):
        units = [units]
    names = list(
        dict.fromkeys(u.name if isinstance(u, Unit) else str(u) for u in units)
    )
    if not names:
        raise ValueError(f"No unit to remove was named. {offer}")
    for name in names:
        if name not in found:
            raise ValueError(f"'{model.name}' has no unit '{name}'. {offer}")
        if not found[name].removable:
            raise ValueError(
                f"Unit '{name}' cannot be removed: {found[name].reason}. {offer}"
            )
    replace = {id(found[name].merge.outputs[0]): found[name].shortcut for name in names}
    with scope_of(model):
        return graph.rebuild(model, replace)
