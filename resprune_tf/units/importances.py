"""The importances ω of a model: read, and given to its residual units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from resprune_tf import graph
from resprune_tf.graph.cloning import cloning
from resprune_tf.nets.importance import SUFFIX, ImportanceScale
from resprune_tf.system.wording import counted
from resprune_tf.units.finding import chosen_units, find_units


def add_importance(
    model: keras.Model,
    units: Any = None,
    value: float = 1.0,
    l1: float = 0.0,
    clone: Callable | None = None,
) -> keras.Model:
    """A copy of a model with an `ImportanceScale` on residual branches.

    With ω = 1 the copy's outputs are those of `model`, bit for bit, so that a
    pretrained net can be trained on and its units ranked by |ω|.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`; it is only read.
        units: one or several names or `Unit`s of kind `"identity"` or `"projection"`;
            by default all removable ones. Those that have an ω keep it.
        value: float; what ω begins with.
        l1: of `ImportanceScale`: weight of a penalty on |ω|.
        clone: as for `remove_units`.

    Returns:
        A functional `keras.Model`, not compiled, that shares nothing with `model`.

    Raises:
        ValueError: if a unit is unknown, or is a layer that `register_unit` told of,
            which has no branch that could be scaled; or if there is nothing to do.
        CloneError: if a layer cannot be cloned.
        TypeError: if `model` has no graph to read.

    >>> scaled = add_importance(keras.applications.ResNet50())
    """
    found = find_units(model)
    if units is None:
        chosen = [unit for unit in found if unit.removable and unit.branches]
    else:
        chosen = chosen_units(
            units, found, f"Its units: {', '.join(unit.name for unit in found)}."
        )
        for unit in chosen:
            if not unit.branches:
                raise ValueError(
                    f"Unit '{unit.name}' is one layer, registered by `register_unit`: "
                    "it has no branch to scale. `expand` opens the layer."
                )
    chosen = [unit for unit in chosen if unit.importance is None]
    if not chosen:
        raise ValueError(
            f"'{model.name}' has no unit that needs an importance: "
            f"{counted(len(found), 'residual unit')}, "
            f"{sum(unit.importance is not None for unit in found)} with one.\n{found}"
        )
    insert = {}
    with graph.scope_of(model):
        for unit in chosen:
            # One layer for all branches of a sum of several: they go together.
            scale = ImportanceScale(
                keras.initializers.Constant(value),
                l1=l1,
                name=layer_name(unit.name),
                dtype=_policy(unit),
            )
            for branch in unit.branches:
                insert[id(unit.merge), id(branch)] = scale
        return graph.rebuild(model, clone=cloning(clone), insert=insert)


def _policy(unit):
    """The dtype policy of the merge, as that of a raw addition is its inputs' dtype."""
    operation = unit.merge.operation
    if isinstance(operation, keras.layers.Layer):
        return operation.dtype_policy
    dtype = unit.branches[0].dtype
    # Of half precision ω itself stays in float32, as under the mixed policies.
    return f"mixed_{dtype}" if dtype in ("float16", "bfloat16") else dtype


def importances(model: keras.Model) -> dict[str, float]:
    """ω of every unit that has one.

    Args:
        model: a `keras.Model`; nested models are searched too.

    Returns:
        dict from unit name (the layer's name without `_importance`, after the names
        of the models it lies in: `"backbone/stage1_unit2"`) to ω as a Python float,
        in the order of the layers.
    """
    return {
        name.removesuffix(SUFFIX): float(keras.ops.convert_to_numpy(layer.importance))
        for name, layer in _named_layers(model)
        if isinstance(layer, ImportanceScale)
    }


def layer_name(unit):
    """Name for a layer that a unit is given, in the model in which the unit lies.

    Layers' names hold no `/`, and TensorFlow's scopes no `#`.
    """
    return unit.rpartition("/")[2].replace("#", ".") + SUFFIX


def _named_layers(model, path=""):
    """Layers with the path of nested models that leads to them."""
    for layer in model.layers:
        if graph.inner(layer) is not None:
            yield from _named_layers(layer, f"{path}{layer.name}/")
        else:
            yield from (
                (f"{path}{each.name}", each) for each in layer._flatten_layers()
            )
