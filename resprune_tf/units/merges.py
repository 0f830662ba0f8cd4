"""The operations that end a residual unit: additions, and those that users register."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer
from keras.src.ops.numpy import Add, Subtract  # `x + y` and `x - y` in the graph

_MERGES = {
    keras.layers.Add: None,
    Add: None,
    keras.layers.Subtract: (0,),
    Subtract: (0,),
    # It adds its second input, times a constant, to its first.
    CustomScaleLayer: (0,),
}
_EXACT = frozenset(_MERGES)  # where the branch is zero, these return the shortcut
_UNITS = set()


def register_merge(kind: Any, shortcuts: Sequence[int] | None = None) -> None:
    """Registers a layer class that adds residual branches to a shortcut.

    The output must equal the shortcut where the branches are zero, because removing a
    unit replaces the output by the shortcut. A branch is an input that is computed from
    the shortcut; other inputs, such as a gate, may have any value. `find_units` calls
    the layer on random values, with random masks and random values of its trainable
    weights. A unit whose merge returns something else cannot be removed. A merge that
    fails on such values, for example because it needs related open sizes, is trusted.

    Args:
        kind: class of the layer or operation. Register subclasses separately, as they
            may compute something else.
        shortcuts: positions of the inputs that may be the shortcut, from 0, in the
            order of the call, with keyword arguments last and the entries of a dict
            in alphabetical order; None if any input may be.

    Raises:
        TypeError: if `kind` is not a class of Keras layers or operations.

    >>> class GatedSum(keras.layers.Layer):  # call((x, branch)) -> x + gate * branch
    ...     ...
    >>> register_merge(GatedSum, shortcuts=(0,))
    """
    check_kind(kind, "register_merge")
    _MERGES[kind] = None if shortcuts is None else tuple(shortcuts)


def register_unit(kind: type) -> None:
    """Registers a layer class as a whole residual unit: `call(x)` returns `x + F(x)`.

    Such a layer can be scored and removed like any other unit. It cannot have an ω,
    because its branch is not in the graph. If its `call` permits, `expand` with
    `kinds=kind` replaces the layer by its contents instead.

    Args:
        kind: class of the layer. Register subclasses separately.

    Raises:
        TypeError: if `kind` is not a class of Keras layers or operations.

    >>> register_unit(ResidualBlock)
    """
    check_kind(kind, "register_unit")
    _UNITS.add(kind)


def check_kind(kind, purpose):
    """Raises a TypeError unless `kind` is a class of Keras layers or operations."""
    if not (isinstance(kind, type) and issubclass(kind, keras.Operation)):
        raise TypeError(
            f"{purpose} expects a class of Keras layers or operations, not an "
            f"instance. Received: {kind}."
        )


def is_unit(operation):
    """Whether an operation was registered as a whole residual unit."""
    return type(operation) in _UNITS


def is_registered(kind):
    """Whether a class is a merge, or was registered as a merge or as a whole unit."""
    return kind in _MERGES or kind in _UNITS


def is_exact(kind):
    """Whether a class of merges is known to return the shortcut of a silent branch."""
    return kind in _EXACT


def shortcut_places(node):
    """Positions of the inputs that may be the shortcut; None for other operations."""
    kind = type(node.operation)
    if kind not in _MERGES or len(node.input_tensors) < 2:
        return None
    places = _MERGES[kind]
    return range(len(node.input_tensors)) if places is None else places
