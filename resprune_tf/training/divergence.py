"""What a diverged training leaves, and why it diverged: its data, or its rate."""

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
    """Names of the variables of a model that hold NaN or infinite values."""
    return {
        variable.path for variable in model.weights if _first_bad(variable) is not None
    }


def reason(data, steps=None):
    """Why a training on some data diverged, and what to do, in words.

    Args:
        data: a split of `FitData`; None if it cannot be read again, and for images
            of whole numbers.
        steps: batches of an epoch, if `fit` was told.
    """
    if data is None:
        return _rate()
    try:
        place = _first_place(data, steps)
    except Exception:  # of somebody's pipeline, which is not what to tell of here
        return _unknown()
    if place is None:
        return f"The training data are finite. {_rate()}"
    return (
        f"The training data hold NaN or infinite values, the first in {place}: correct "
        "the data."
    )


def _first_place(data, steps):
    """Where the first value that is not finite is, in words, or None."""
    for batch, place in data.blocks(steps):
        parts = keras.utils.unpack_x_y_sample_weight(batch)
        for name, part in zip(("x", "y", "sample_weight"), parts, strict=True):
            for array in keras.tree.flatten(part):
                index = _first_bad(array)
                if index is not None:
                    return f"`{name}`, {place(index)}"
    return None


def fit_reason(x=None, y=None, sample_weight=None, steps_per_epoch=None, **others):
    """As `reason`, of the arguments that `fit` was given."""
    given = x
    if y is not None:
        given = (x, y) if sample_weight is None else (x, y, sample_weight)
    try:
        data = as_split(given, "train", 32)
    except (TypeError, ValueError):
        return _unknown()  # of a generator, which has been read
    return reason(data, steps_per_epoch)


def _first_bad(array):
    """Index along the first axis of the first value that is not finite, or None."""
    array = getattr(array, "flat_values", array)  # of a ragged tensor
    if "float" not in str(getattr(array, "dtype", None)):
        return None
    finite = np.isfinite(np.atleast_1d(keras.ops.convert_to_numpy(array)))
    return (
        None if finite.all() else int(np.argmin(finite.reshape(len(finite), -1).all(1)))
    )
