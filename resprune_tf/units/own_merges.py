"""Merges of the user's own: what they return where the branches are zero.

Removing a unit replaces the output of its merge by the shortcut. For additions, this is
what the unit computes with its branch at zero. For any other layer, it is computed.
"""

from __future__ import annotations

import dataclasses
import inspect
import math

import keras
import numpy as np

from resprune_tf import graph
from resprune_tf.graph.ancestry import Ancestry
from resprune_tf.graph.call_names import before_identities
from resprune_tf.units import merges

_BATCH, _OPEN = 2, 8  # sizes that stand for open ones
_MOST = 2**26  # values; a larger call is not tried


@dataclasses.dataclass(frozen=True)
class PossibleMerge:
    """A layer that `register_merge` could declare the end of a residual unit.

    Attributes:
        name: path of the layer.
        kind: name of its class.
        shortcuts: positions of the inputs that it returns where the others are zero,
            for one random input; the argument of `register_merge`.
    """

    name: str
    kind: str
    shortcuts: tuple[int, ...]


def possible_merges(model):
    """The layers that are not registered, but may end residual units.

    Args:
        model: a functional `keras.Model`; it is not changed.

    Returns:
        tuple of `PossibleMerge`, in order of computation. One of the inputs of each
        layer is computed from another, which the layer returns where the others are
        zero.
    """
    found = {}
    for path, level in graph.levels(model):
        order = graph.nodes(level)
        ancestry = Ancestry(order)
        for node in order:
            kind = type(node.operation)
            if _is_kerass(kind) or merges.is_registered(kind):
                continue
            addends = list(map(before_identities, node.input_tensors))
            places = [place for place, each in enumerate(addends) if _fits(node, each)]
            if ancestry.feeding([addends[place] for place in places], addends):
                name = "/".join((*path, node.operation.name))
                places = tuple(p for p in places if returns_shortcut(node, p))
                if places and name not in found:
                    found[name] = PossibleMerge(name, kind.__name__, places)
    return tuple(found.values())


def returns_shortcut(node, place):
    """Whether a merge returns one of its inputs where all others are zero.

    Args:
        node: node of the merge.
        place: position of the input.

    Returns:
        bool, for one random input; None if the merge cannot be run by itself.
    """
    rng, values = np.random.default_rng(0), {}
    for index, tensor in enumerate(node.input_tensors):
        shape = [
            size or (_OPEN if axis else _BATCH)
            for axis, size in enumerate(tensor.shape)
        ]
        if math.prod(shape) > _MOST:
            return None
        if tensor.dtype == "bool":  # a mask, which hides nothing
            value = np.ones(shape)
        else:
            value = rng.normal(size=shape) if index == place else np.zeros(shape)
        values[id(tensor)] = keras.ops.convert_to_tensor(value, dtype=tensor.dtype)
    args, kwargs = node.arguments.fill_in(values)
    if "training" in inspect.signature(node.operation.call).parameters:
        kwargs = {**kwargs, "training": False}
    try:
        with keras.StatelessScope():
            output = node.operation(*args, **kwargs)
        output = keras.ops.convert_to_numpy(keras.ops.cast(output, "float32"))
    except Exception:  # code of the layer, which may raise anything
        return None
    shortcut = node.input_tensors[place]
    expected = keras.ops.cast(values[id(shortcut)], "float32")
    coarse = shortcut.dtype in ("float16", "bfloat16")
    return bool(
        np.allclose(
            output,
            keras.ops.convert_to_numpy(expected),
            rtol=0.02 if coarse else 1e-5,
            atol=0,
        )
    )


def _fits(node, tensor):
    """Whether a tensor could stand in for the output of a node."""
    several = len(node.input_tensors) > 1
    return several and len(node.outputs) == 1 and alike(tensor, node.outputs[0])


def alike(tensor, other):
    """Whether one symbolic tensor can replace another: same shape, same dtype."""
    return (tensor.shape, tensor.dtype) == (other.shape, other.dtype)


def _is_kerass(kind):
    """Whether an operation is one of Keras's own, whose merges are all registered.

    A `Lambda` does what its function does.
    """
    return kind is not keras.layers.Lambda and kind.__module__.startswith("keras.")
