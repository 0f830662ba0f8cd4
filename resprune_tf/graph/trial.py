"""Calls single nodes of a graph on values of their own."""

import inspect
import math

import keras
import numpy as np
from keras.src.backend import get_keras_mask
from keras.src.backend.common.masking import set_keras_mask


def shape_of(tensor, batch, size):
    """The shape of a symbolic tensor, with sizes in place of open ones.

    Args:
        tensor: symbolic tensor.
        batch, size: int, for the first axis and for all others.
    """
    return tuple(
        known or (size if axis else batch) for axis, known in enumerate(tensor.shape)
    )


def random_value(tensor, batch, size, rng):
    """A random value of a symbolic tensor: in (-1, 1), 0 to 7, or either bool.

    Args:
        tensor, batch, size: as for `shape_of`.
        rng: `numpy.random.Generator`.
    """
    shape, dtype = shape_of(tensor, batch, size), tensor.dtype
    if dtype == "bool":
        value = rng.random(shape, "float32") < 0.5
    elif keras.backend.is_int_dtype(dtype):
        value = rng.integers(0, 8, shape)
    else:
        value = 2 * rng.random(shape, "float32") - 1
    return keras.ops.convert_to_tensor(value, dtype=dtype)


def give_mask(value, tensor, batch, size, rng):
    """Gives a value a random Keras mask, if its symbolic tensor has a mask.

    Args:
        value: tensor; its mask is set.
        tensor, batch, size, rng: as for `random_value`.
    """
    if (mask := get_keras_mask(tensor)) is not None:
        set_keras_mask(value, random_value(mask, batch, size, rng))


def values_in(tensors, batch, size):
    """Number of values of all tensors, with sizes in place of open ones."""
    return sum(math.prod(shape_of(tensor, batch, size)) for tensor in tensors)


def call_node(node, values):
    """The outputs of one node in inference mode, as a flat list.

    Args:
        node: a node of a graph. Its operation is called, so what the operation changes
            besides Keras variables remains changed.
        values: dict from `id(tensor)` to the value of each input.
    """
    args, kwargs = node.arguments.fill_in(values)
    if "training" in inspect.signature(node.operation.call).parameters:
        kwargs = {**kwargs, "training": False}
    return keras.tree.flatten(node.operation(*args, **kwargs))


def close(found, expected, rtol, atol=0.0):
    """Whether two lists of tensors agree, as `numpy.allclose` does."""
    pairs = zip(found, expected, strict=True)
    return all(_close(*map(_array, pair), rtol, atol) for pair in pairs)


def _array(tensor):
    if keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype)):
        tensor = keras.ops.cast(tensor, "float32")
    return keras.ops.convert_to_numpy(tensor)


def _close(found, expected, rtol, atol):
    same = found.shape == expected.shape
    return same and np.allclose(found, expected, rtol=rtol, atol=atol, equal_nan=True)
