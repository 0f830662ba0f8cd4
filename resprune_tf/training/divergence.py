"""Finds out whether the data or the learning rate made a training diverge."""

import keras
import numpy as np

from resprune_tf.data.fit_data import as_split
from resprune_tf.system.advice import advice


def _rate():
    lower = advice("lower it.", "give a lower --learning-rate.")
    return f"The learning rate is probably too high: {lower}"


def _unknown():
    return f"Look for NaN in the training data. If there is none: {_rate()}"


def broken(model):
    """Returns the set of names of a model's variables with NaN or infinite values."""
    return {
        variable.path for variable in model.weights if _first_bad(variable) is not None
    }


def reason(data, steps=None):
    """Sentences on why a training diverged, and what to do.

    Args:
        data: a split of `FitData`; None for integer images, which are always finite.
        steps: `steps_per_epoch` of `fit`, if it was given.
    """
    if data is None:
        return _rate()
    try:
        place = _first_place(data, steps)
    except Exception:  # of the user's pipeline; it must not hide the divergence
        return _unknown()
    if place is None:
        return f"The training data are finite. {_rate()}"
    return (
        f"The training data contain NaN or infinite values, the first in {place}: "
        "correct the data."
    )


def _first_place(data, steps):
    """The position of the first value that is not finite, as text; None without one."""
    for batch, place in data.blocks(steps):
        parts = keras.utils.unpack_x_y_sample_weight(batch)
        for name, part in zip(("x", "y", "sample_weight"), parts, strict=True):
            for array in keras.tree.flatten(part):
                index = _first_bad(array)
                if index is not None:
                    return f"`{name}`, {place(index)}"
    return None


def fit_reason(x=None, y=None, sample_weight=None, steps_per_epoch=None, **others):
    """As `reason`, for the arguments of `fit`."""
    given = x
    if y is not None:
        given = (x, y) if sample_weight is None else (x, y, sample_weight)
    try:
        data = as_split(given, "train", 32)
    except (TypeError, ValueError):
        return _unknown()  # a generator, which cannot be read again
    return reason(data, steps_per_epoch)


def _first_bad(array):
    """Index along the first axis of the first value that is not finite, or None."""
    array = getattr(array, "flat_values", array)  # for ragged tensors
    if "float" not in str(getattr(array, "dtype", None)):
        return None
    finite = np.isfinite(np.atleast_1d(keras.ops.convert_to_numpy(array)))
    return (
        None if finite.all() else int(np.argmin(finite.reshape(len(finite), -1).all(1)))
    )
