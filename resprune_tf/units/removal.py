"""Removes residual units, or the branches of projection units, from a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from resprune_tf import graph
from resprune_tf.graph.call_names import call_labels
from resprune_tf.graph.cloning import cloning
from resprune_tf.graph.compilation import compile_like
from resprune_tf.units.finding import chosen_units, find_units, removal_of
from resprune_tf.units.search import inexact
from resprune_tf.units.table import unsearched


def remove_units(
    model: keras.Model,
    units: Any,
    clone: Callable | None = None,
    optimizer_state: bool = False,
) -> keras.Model:
    """Removes residual units: returns a new, smaller model.

    The output of each unit is replaced by its shortcut, and layers that only the
    branch needed are left out. So the result equals `model` with these branches
    multiplied by 0. Remaining weights, BatchNormalization statistics and states of
    random generators are copied. Names of layers, outputs and units, dtype policies,
    regularizers and trainable flags are preserved. If one merge layer is called
    several times, `Identity` layers carry the names of its later calls.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`; it is not changed.
        units: one or several names (`"stage1_unit3"`), `UnitId`s or `Unit`s, in any
            order.
        clone: function from a layer to a new layer of the same class and name, or
            to None for all other layers. Needed for layers that cannot be rebuilt from
            their configuration.
        optimizer_state: if True, the new model is compiled like `model`, and its
            optimizer continues with the state of the remaining weights (see
            `compile_like`). Defaults to False: the paper restarts the optimizer after
            a removal.

    Returns:
        A new functional `keras.Model` that shares no layer with `model`, compiled only
        if `optimizer_state` is True. It is created under the same `tf.distribute`
        strategy as `model`, if there is one.

    Raises:
        ValueError: if `units` is empty, or a unit is unknown or cannot be removed (the
            message lists the removable ones); or if `optimizer_state` is True and
            `model` is not compiled or Keras cannot repeat its settings.
        CloneError: if a layer cannot be cloned; it is a ValueError.
        TypeError: if `model` is not functional, or `units` is neither a unit nor
            several.

    >>> small = remove_units(resnet56(), ["stage1_unit3", UnitId(2, 5)])
    """
    found = find_units(model)
    removable = [unit.name for unit in found if unit.removable]
    offer = f"Removable units of '{model.name}': {', '.join(removable) or 'none'}."
    if not removable:
        offer += unsearched(found)
    chosen = chosen_units(units, found, offer)
    for unit in chosen:
        if not unit.removable:
            raise ValueError(
                f"Unit '{unit.name}' cannot be removed: {unit.reason}. {offer}"
            )
    return _without(model, chosen, found, clone, optimizer_state)


def drop_branches(
    model: keras.Model,
    units: Any,
    clone: Callable | None = None,
    optimizer_state: bool = False,
) -> keras.Model:
    """Removes the branches of projection units and keeps their shortcuts.

    A unit that changes the shape of its input cannot be removed as a whole. Without
    its branch, only the projection remains.

    Args:
        model, units, clone, optimizer_state: as for `remove_units`, but the units must
            be of kind `"projection"`.

    Returns:
        A new model, as from `remove_units`. It equals `model` with these branches
        multiplied by 0.

    Raises:
        ValueError, TypeError: as `remove_units`; ValueError also for a unit with an
            identity shortcut.

    >>> smaller = drop_branches(resnet56(), "stage2_unit1")
    """
    found = find_units(model)
    projections = [unit.name for unit in found if unit.kind == "projection"]
    offer = f"Projection units of '{model.name}': {', '.join(projections) or 'none'}."
    chosen = chosen_units(units, found, offer)
    for unit in chosen:
        if unit.kind != "projection":
            advice = "Use `remove_units` to remove it"
            if not unit.removable:
                advice = f"It cannot be removed: {unit.reason}"
            raise ValueError(
                f"Unit '{unit.name}' has an identity shortcut. {advice}. {offer}"
            )
        place = [t is unit.shortcut for t in unit.merge.input_tensors].index(True)
        if why := inexact(unit.merge, place):
            raise ValueError(
                f"The branch of unit '{unit.name}' cannot be dropped: {why}. {offer}"
            )
    return _without(model, chosen, found, clone, optimizer_state)


def _without(model, units, found, clone, optimizer_state):
    if optimizer_state and not model.compiled:
        raise ValueError(
            f"`optimizer_state=True` needs a compiled model, and '{model.name}' is not "
            "compiled. Call its `compile()` first."
        )
    with graph.scope_of(model):
        labels = call_labels(found)
        pruned = graph.rebuild(model, removal_of(units), cloning(clone), insert=labels)
        if optimizer_state:
            compile_like(pruned, model, optimizer_state=True)
    return pruned
