"""Whether labels are what a loss of Keras takes."""

import keras
import numpy as np
from keras.src.trainers.compile_utils import get_loss

from resprune_tf.data.examples import bounds, check_finite


def check_range(labels, classes, ignored=None, name="Labels"):
    """Checks that labels are numbers of classes."""
    counted = labels if ignored is None else labels[labels != ignored]
    if not counted.size or classes is None:
        return
    low, high = bounds(counted)
    if low < 0 or high >= classes:
        raise ValueError(
            f"{name} must be from 0 to {classes - 1}, as the model has outputs for "
            f"{classes} classes. Received: labels from {low:g} to {high:g}."
        )


def check_targets(model, y, name):
    """Checks the labels of a split by the losses that a model is compiled with.

    Looked at are the losses of Keras, which compute something from wrong labels without
    a word, or NaN; what a loss of one's own takes is not known.

    Args:
        model: a compiled `keras.Model`.
        y: what it is to be compared with, nested as its outputs or a dict by their
            names; checked to the last label.
        name: of the split, for the messages.

    Raises:
        ValueError: for labels that are NaN or infinite, or no numbers of classes.
    """
    losses = _by_output(model.loss, model)
    targets = _by_output(y, model)
    if losses is None or targets is None:
        return
    for output, loss, labels in zip(model.outputs, losses, targets, strict=True):
        if loss is not None and labels is not None:
            check_labels(output, loss, np.asarray(labels), f"Labels of `{name}`")


def _by_output(values, model):
    """One value for each output, in their order; None if it is not clear which."""
    if isinstance(values, dict):
        values = [values.get(name) for name in model.output_names]
    else:
        values = keras.tree.flatten(values)
    return values if len(values) == len(model.outputs) else None


def check_labels(output, loss, labels, name="Labels"):
    """Checks labels by one loss of Keras."""
    try:
        # As Keras does it: there is a "crossentropy" that depends on shapes.
        found = get_loss(loss, labels, output)
    except ValueError:
        return  # compile() or the first batch tells of it
    function = getattr(found, "fn", found)
    if not getattr(function, "__module__", "").startswith("keras."):
        return
    check_finite(name, labels)
    if function is keras.losses.binary_crossentropy:
        _check_shares(labels, name)
    if function is keras.losses.sparse_categorical_crossentropy:
        if labels.dtype.kind == "f" and not _whole(labels):
            raise ValueError(
                f"{name} must be integers, the numbers of classes from 0 on. Received: "
                f"{labels.dtype} with fractions, which the loss would cut off."
            )
        axis = getattr(found, "axis", -1)
        ignored = getattr(found, "ignore_class", None)
        if len(output.shape) > 1 and labels.dtype.kind in "biuf":
            check_range(labels, output.shape[axis], ignored, name)


def _check_shares(labels, name):
    if labels.dtype.kind in "iuf" and labels.size:
        low, high = bounds(labels)
        if low < 0 or high > 1:
            raise ValueError(
                f"{name} must be from 0 to 1 for a binary cross entropy. Received: "
                f"labels from {low:g} to {high:g}."
            )


def _whole(labels):
    """Whether floats are whole numbers; looked at a part at a time."""
    parts = (labels[start : start + 65536] for start in range(0, len(labels), 65536))
    return all(np.array_equal(part, np.rint(part)) for part in parts)
