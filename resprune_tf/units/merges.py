"""Which operations end a residual unit: additions, and what users register."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer
from keras.src.ops.numpy import Add, Subtract  # what `x + y` and `x - y` become

_MERGES = {
    keras.layers.Add: None,
    Add: None,
    keras.layers.Subtract: (0,),
    Subtract: (0,),
    # Its second input, times a constant, is added to the first.
    CustomScaleLayer: (0,),
}
_UNITS = set()


def register_merge(kind: Any, shortcuts: Sequence[int] | None = None) -> None:
    """Tells that a layer adds residual branches to a shortcut.

    Its output must equal the shortcut wherever the other inputs are zero: that is
    what removing the unit relies on.

    Args:
        kind: class of the layer or operation. Subclasses have to be registered
            themselves, as they may compute something else.
        shortcuts: positions of the inputs that may be the shortcut, in the order of
            the call; None for any of them.

    Raises:
        TypeError: if `kind` is no class of Keras layers or operations.

    >>> class GatedSum(keras.layers.Layer):  # call((x, branch)) -> x + gate * branch
    ...     ...
    >>> register_merge(GatedSum, shortcuts=(0,))
    """
    _check_kind(kind, "register_merge")
    _MERGES[kind] = None if shortcuts is None else tuple(shortcuts)


def register_unit(kind: type) -> None:
    """Tells that a layer is a whole residual unit: `call(x)` returns `x + F(x)`.

    Such a layer can be removed, and scored as other units are. It has no branch in the
    graph that an ω could be put on; `expand` opens layers, if their `call` allows.

    Args:
        kind: class of the layer; subclasses have to be registered themselves.

    Raises:
        TypeError: if `kind` is no class of Keras layers.
    """
    _check_kind(kind, "register_unit")
    _UNITS.add(kind)


def _check_kind(kind, purpose):
    if not (isinstance(kind, type) and issubclass(kind, keras.Operation)):
        raise TypeError(
            f"{purpose} needs a class of Keras layers or operations. Received: {kind}."
        )


def is_unit(operation):
    """Whether an operation was registered as a whole residual unit."""
    return type(operation) in _UNITS


def shortcut_places(node):
    """Positions of the inputs of a merge that may be its shortcut; None of no merge."""
    kind = type(node.operation)
    if kind not in _MERGES or len(node.input_tensors) < 2:
        return None
    places = _MERGES[kind]
    return range(len(node.input_tensors)) if places is None else places
