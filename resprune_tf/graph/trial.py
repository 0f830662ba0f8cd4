"""Calls single nodes of a graph on values of their own."""

import contextlib
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
    """A random value of a symbolic tensor: in (-1, 1), 0 or 1, or either bool.

    Args:
        tensor, batch, size: as for `shape_of`.
        rng: `numpy.random.Generator`.
    """
    shape, dtype = shape_of(tensor, batch, size), tensor.dtype
    if dtype == "bool":
        value = rng.random(shape, "float32") < 0.5
    elif keras.backend.is_int_dtype(dtype):
        value = rng.integers(0, 2, shape)  # valid ids of any table
    else:
        value = 2 * rng.random(shape, "float32") - 1
    return keras.ops.convert_to_tensor(value, dtype=dtype)


def give_masks(values, tensors, batch, size, rng=None):
    """Gives values Keras masks, where their symbolic tensors have masks.

    Args:
        values: dict from `id(tensor)` to a value, whose mask is set.
        tensors: the symbolic tensors. Those that share a mask get the same.
        batch, size: as for `shape_of`.
        rng: for random masks; None for masks that hide nothing.
    """
    made = {}
    for tensor in tensors:
        mask = get_keras_mask(tensor)
        if mask is None:
            continue
        if id(mask) not in made:
            if rng is None:
                made[id(mask)] = keras.ops.ones(shape_of(mask, batch, size), "bool")
            else:
                made[id(mask)] = random_value(mask, batch, size, rng)
        set_keras_mask(values[id(tensor)], made[id(mask)])


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
    with _untraced():
        return keras.tree.flatten(node.operation(*args, **kwargs))


@contextlib.contextmanager
def _untraced():
    """Runs `tf.function`s of the user step by step.

    A trace would store the values of a `StatelessScope` as constants, and later calls
    of the user's model would use them; a trace from earlier would ignore the values.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


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
