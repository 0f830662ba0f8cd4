"""Reads the importances ω of a model, and adds them to residual units."""

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
    """Copies a model and puts an `ImportanceScale` on its residual branches.

    With ω = 1, the outputs of the copy equal those of `model` exactly. So a pretrained
    model can be trained further, and its units can then be ranked by |ω|.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`; it is not changed.
        units: one or several unit names or `Unit`s, of either kind. Defaults to all
            removable units. Units that have an ω keep it.
        value: float, the initial value of ω.
        l1: float, weight of an L1 penalty on ω; see `ImportanceScale`.
        clone: as for `remove_units`.

    Returns:
        A new functional `keras.Model`, not compiled, that shares no layer with `model`.

    Raises:
        ValueError: if a unit is unknown, if it is a layer registered by
            `register_unit`, which has no branch to scale, or if no unit needs an ω.
        CloneError: if a layer cannot be cloned.
        TypeError: if `model` is not functional.

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
                    f"Unit '{unit.name}' is one layer, registered by `register_unit`, "
                    "so it has no branch to scale. Call `expand(model, kinds="
                    f"{type(unit.merge.operation).__name__})` first."
                )
    chosen = [unit for unit in chosen if unit.importance is None]
    if not chosen:
        raise ValueError(
            f"'{model.name}' has no unit to add an importance to: "
            f"{counted(len(found), 'residual unit')}, "
            f"{sum(unit.importance is not None for unit in found)} with an importance."
            f"\n{found}"
        )
    insert = {}
    with graph.scope_of(model):
        for unit in chosen:
            # A sum may have several branches. They are removed together, so they
            # share one layer.
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
    """The dtype policy for ω: that of the merge, or of the inputs of a raw addition."""
    operation = unit.merge.operation
    if isinstance(operation, keras.layers.Layer):
        return operation.dtype_policy
    dtype = unit.branches[0].dtype
    # Next to half precision ω itself is float32, as under Keras's mixed policies.
    return f"mixed_{dtype}" if dtype in ("float16", "bfloat16") else dtype


def importances(model: keras.Model) -> dict[str, float]:
    """Returns the importance ω of every unit that has one.

    Args:
        model: a `keras.Model`; nested models are searched too.

    Returns:
        dict from unit name to ω as a Python float, in the order of the layers. The
        name is that of the layer without `_importance`, prefixed with the names of the
        nested models around it: `"backbone/stage1_unit2"`.

    >>> importances(resnet56())["stage1_unit2"]
    """
    return {
        name.removesuffix(SUFFIX): float(keras.ops.convert_to_numpy(layer.importance))
        for name, layer in _named_layers(model)
        if isinstance(layer, ImportanceScale)
    }


def layer_name(unit):
    """The name of the `ImportanceScale` of a unit.

    Layer names must not contain `/`, and TensorFlow's name scopes must not contain `#`.
    """
    return unit.rpartition("/")[2].replace("#", ".") + SUFFIX


def _named_layers(model, path=""):
    """Yields all layers with their paths, those in nested models included."""
    for layer in model.layers:
        if graph.inner(layer) is not None:
            yield from _named_layers(layer, f"{path}{layer.name}/")
        else:
            yield from (
                (f"{path}{each.name}", each) for each in layer._flatten_layers()
            )
