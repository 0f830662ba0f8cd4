"""Shortened nets inside the whole net they come from, their lost units silenced.

A net without a unit equals the whole one with the unit's ω at 0: the branch then adds
exactly 0, forwards and backwards, whatever finite values its parameters have. Layers
keep their names when units are removed, so names tell what belongs where.
"""

import keras
import numpy as np

from resprune_tf import graph
from resprune_tf.importance import ImportanceScale
from resprune_tf.units import find_units


def silenced(whole, net):
    """Names of the `ImportanceScale` layers to hold at 0 in place of removal.

    Args:
        whole: a functional `keras.Model`.
        net: the same without any of its units.

    Raises:
        ValueError: if `net` is no such net, or silencing would not equal removal.
        TypeError: if one of them is not functional.
    """
    names = {unit.name for unit in find_units(net)}
    lost = [unit for unit in find_units(whole) if unit.name not in names]
    replace = {k: v for unit in lost for k, v in unit.replacement.items()}
    rest = graph.nodes(whole, replace)
    if _layers(rest) != _layers(graph.nodes(net)):
        raise ValueError(
            f"'{net.name}' is not '{whole.name}' without some of its units: it has "
            "other layers."
        )
    for unit in lost:
        if not unit.importance or len(unit.branches) > 1:
            raise ValueError(
                f"Unit '{unit.name}' cannot be silenced: not all of it is multiplied "
                "by one importance."
            )
    kept = {id(node) for node in rest}
    _check_no_effect(
        [node for node in graph.nodes(whole) if id(node) not in kept], _layers(rest)
    )
    return [unit.importance for unit in lost]


def variables_by_name(net):
    """Variables of a functional model, seed generators' included.

    Returns:
        dict from `(layer name, place in the layer)`, the same in shortened nets.
    """
    return {
        (layer.name, place): variable
        for layer in net.layers
        for place, variable in enumerate(layer.variables)
    }


def embed(nets, whole):
    """Values of several nets, stacked, in the places of the whole one.

    Args:
        nets: for each net, a dict from key to variable or array.
        whole: such a dict of the whole net: what a net lacks has its values.

    Returns:
        dict from the keys of `whole` to arrays `(nets, ...)`.

    Raises:
        ValueError: if a net has what the whole one lacks, or another shape.
    """
    for values in nets:
        for key, value in values.items():
            if key not in whole or tuple(value.shape) != tuple(whole[key].shape):
                raise ValueError(
                    f"The whole net has no variable of shape {tuple(value.shape)} at "
                    f"{key}: the net to put there is of another origin."
                )
    return {
        key: np.stack(
            [_array(values.get(key, value)).astype(value.dtype) for values in nets]
        )
        for key, value in whole.items()
    }


def _array(value):
    return np.array(keras.ops.convert_to_numpy(value))


def _layers(nodes):
    """Names of layers; other operations have no state, and made-up names.

    `Identity` layers only hold names of units and outputs, where units were removed.
    """
    layers = keras.layers
    operations = [node.operation for node in nodes]
    return {
        op.name
        for op in operations
        if isinstance(op, layers.Layer) and type(op) is not layers.Identity
    }


def _check_no_effect(cut, kept):
    """Refuses nodes in silenced branches that would still be felt."""
    layers = {id(node.operation): node.operation for node in cut}.values()
    for layer in (each for each in layers if isinstance(each, keras.layers.Layer)):
        scale = isinstance(layer, ImportanceScale)
        if layer.name in kept:
            # Trainable weights would be right: a branch times 0 has no gradient.
            if scale or layer.non_trainable_variables:
                raise ValueError(
                    f"Layer '{layer.name}' is used inside and outside of a removed "
                    "unit; silencing the unit would change it."
                )
        elif not scale and (
            getattr(layer, "activity_regularizer", None)
            or any(weight.regularizer for weight in layer.trainable_weights)
        ):
            raise ValueError(
                f"Layer '{layer.name}' of a removed unit has a regularizer, which "
                "would still add to the loss. Use the recipe's `l2`."
            )
