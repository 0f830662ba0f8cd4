"""Taking residual units out of a model for good."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from resprune_tf import graph
from resprune_tf.graph.call_names import call_labels
from resprune_tf.graph.cloning import cloning
from resprune_tf.graph.compilation import compile_like
from resprune_tf.units.finding import chosen_units, find_units


def remove_units(
    model: keras.Model,
    units: Any,
    clone: Callable | None = None,
    optimizer_state: bool = False,
) -> keras.Model:
    """A new model without `units`, equal to `model` with their branches silenced.

    Each unit's output is replaced by its shortcut and what only the branch needed is
    left out; surviving weights, BatchNormalization statistics and states of random
    generators are copied. Layer names, names of outputs, dtype policies, regularizers
    and trainable flags stay, and `model` is not touched. So do the names of units:
    where one merge is called several times, `Identity` layers hold those of its later
    calls.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`.
        units: one or several names (`"stage1_unit3"`), `UnitId`s or `Unit`s, in any
            order.
        clone: function from a layer to a new one of the same kind and name, or None
            for layers it does not know, for layers that their configuration does not
            rebuild.
        optimizer_state: whether the new model is compiled as `model` is, and its
            optimizer goes on with what it knows of the surviving weights. The paper
            begins anew after a removal; see `compile_like` for how it is done.

    Returns:
        A functional `keras.Model`, not compiled but for `optimizer_state`, that shares
        nothing with `model`; of the same `tf.distribute` strategy, if that was made
        under one.

    Raises:
        ValueError: if `units` is empty, or one of them is unknown or cannot be
            removed; the message lists those that can. If `optimizer_state` is asked
            for and `model` is not compiled, or Keras cannot repeat its settings.
        CloneError: if a layer cannot be cloned; a ValueError, too.
        TypeError: if `model` is not functional.

    >>> small = remove_units(resnet56(), ["stage1_unit3", UnitId(2, 5)])
    """
    found = find_units(model)
    removable = [unit.name for unit in found if unit.removable]
    offer = f"Removable units of '{model.name}': {', '.join(removable) or 'none'}."
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
    """A new model in which projection units keep their shortcut alone.

    What `remove_units` cannot do for a unit that changes the shape of its input: its
    branch goes, its projection stays and does what is left of the unit.

    Args:
        model, units, clone, optimizer_state: as for `remove_units`; units of kind
            `"projection"`.

    Returns:
        As `remove_units`. Equal to `model` with those branches silenced.

    Raises:
        ValueError, TypeError: as `remove_units`, also for a unit whose shortcut is an
            identity, which `remove_units` removes.
    """
    found = find_units(model)
    projections = [unit.name for unit in found if unit.kind == "projection"]
    offer = f"Projection units of '{model.name}': {', '.join(projections) or 'none'}."
    chosen = chosen_units(units, found, offer)
    for unit in chosen:
        if unit.kind != "projection":
            raise ValueError(
                f"Unit '{unit.name}' has an identity shortcut: `remove_units` removes "
                f"it. {offer}"
            )
    return _without(model, chosen, found, clone, optimizer_state)


def _without(model, units, found, clone, optimizer_state):
    if optimizer_state and not model.compiled:
        raise ValueError(
            f"`optimizer_state=True` needs a compiled model. '{model.name}' is not."
        )
    replace = {}
    for unit in units:
        replace.update(unit.replacement)
    with graph.scope_of(model):
        labels = call_labels(found)
        shorter = graph.rebuild(model, replace, cloning(clone), insert=labels)
        if optimizer_state:
            compile_like(shorter, model, optimizer_state=True)
    return shorter
