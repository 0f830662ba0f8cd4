"""Checks that labels fit a loss of Keras, and finds the correctly classified ones."""

import keras
import numpy as np
from keras.src.trainers.compile_utils import get_loss

from resprune_tf import graph
from resprune_tf.data.examples import bounds, check_finite
from resprune_tf.data.fit_data import TEXT_LABELS
from resprune_tf.graph.outputs import loss_name, names_of_outputs

# These need labels of the shape of the output. They broadcast other shapes silently.
_SAME_SHAPE = (
    keras.losses.binary_crossentropy,
    keras.losses.categorical_crossentropy,
    keras.losses.cosine_similarity,
    keras.losses.hinge,
    keras.losses.huber,
    keras.losses.kl_divergence,
    keras.losses.log_cosh,
    keras.losses.mean_absolute_error,
    keras.losses.mean_absolute_percentage_error,
    keras.losses.mean_squared_error,
    keras.losses.mean_squared_logarithmic_error,
    keras.losses.poisson,
    keras.losses.squared_hinge,
)


def packed(predicted, labels):
    """Returns which examples are classified correctly, encoded as in `Round.correct`.

    Args:
        predicted, labels: class indices, integer arrays `(examples,)`.
    """
    return np.packbits(predicted == labels).tobytes().hex()


def classified(model, x, y, accuracy, batch_size):
    """Returns which examples a model classifies correctly, as in `Round.correct`.

    Keras's `evaluate` does not return outputs, so they are computed again.

    Args:
        model: a classifier, a `keras.Model` with one output.
        x: array `(examples, ...)`, or a nested structure of one array.
        y: class indices `(examples,)` or `(examples, 1)`, or one-hot rows `(examples,
            classes)`; an array, or a nested structure of one.
        accuracy: the accuracy that `evaluate` measured, a fraction.
        batch_size: examples at a time.

    Returns:
        str; None if there are several inputs, or if the number of correct examples does
        not agree with `accuracy`, which is then a metric of another kind.
    """
    inputs, targets = keras.tree.flatten(x), keras.tree.flatten(y)
    if not len(inputs) == len(targets) == len(model.inputs) == 1:
        return None
    labels, parts = np.asarray(targets[0]), []
    for start in range(0, len(labels), batch_size):
        some = [inputs[0][start : start + batch_size]]
        batch = keras.tree.pack_sequence_as(model._inputs_struct, some)
        outputs = graph.run(model, batch)
        parts.append(keras.ops.convert_to_numpy(keras.tree.flatten(outputs)[0]))
    outputs = np.concatenate(parts)
    one_hot = labels.ndim == 2 and labels.shape[1] == outputs.shape[1]
    labels = labels.argmax(axis=-1) if one_hot else labels.reshape(-1)
    found = packed(outputs.argmax(axis=-1), labels)
    agrees = abs(int(found, 16).bit_count() - accuracy * len(labels)) < 0.5
    return found if agrees else None


def check_range(labels, classes, ignored=None, name="Labels"):
    """Raises a ValueError unless labels are class indices from 0 to `classes` - 1."""
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
    """Checks the labels of a split against the losses of a compiled model.

    Only losses of Keras are checked, because they silently compute NaN or a wrong value
    from wrong labels. Which labels a custom loss accepts is unknown.

    Args:
        model: a compiled `keras.Model`.
        y: the labels, in the structure of the outputs, or a dict by output name. All
            labels are checked.
        name: name of the split, for the messages.

    Raises:
        ValueError: for labels that are NaN, infinite or text, are not class indices,
            have another shape than the loss needs, or other names than the outputs.
    """
    losses = _by_output(model.loss, model)
    if losses is not None and isinstance(y, dict):
        pairs = zip(names_of_outputs(model), losses, strict=True)
        needed = [output for output, loss in pairs if loss is not None]
        if not {*needed} <= y.keys():
            raise ValueError(
                f"Labels of `{name}` must be named as the outputs of '{model.name}': "
                f"{', '.join(needed)}. Received: {', '.join(map(str, y))}."
            )
    targets = _by_output(y, model)
    if losses is None or targets is None:
        return
    for output, loss, labels in zip(model.outputs, losses, targets, strict=True):
        if loss is not None and labels is not None:
            check_labels(output, loss, np.asarray(labels), f"Labels of `{name}`")


def _by_output(values, model):
    """One value per output, in their order; None if the match is not clear."""
    if isinstance(values, dict):
        values = [values.get(name) for name in names_of_outputs(model)]
    else:
        values = keras.tree.flatten(values)
    return values if len(values) == len(model.outputs) else None


def check_labels(output, loss, labels, name="Labels"):
    """Checks labels against one loss of Keras.

    Args:
        output: symbolic output of the model, `(batch, ...)`.
        loss: the loss of this output, as `compile` accepts it. Nothing is checked if it
            is not one of Keras.
        labels: array `(examples, ...)`.
        name: name of the labels, for the messages.

    Raises:
        ValueError: as `check_targets`.
    """
    try:
        # As in `compile`: what "crossentropy" means depends on the shapes.
        found = get_loss(loss, labels, output)
    except ValueError:
        return  # compile() or the first batch reports it
    function = getattr(found, "fn", found)
    if not getattr(function, "__module__", "").startswith("keras."):
        return
    if labels.dtype.kind in "OSU" and labels.ndim:
        raise ValueError(f"{name} {TEXT_LABELS}")
    check_finite(name, labels)
    _check_shape(output, function, loss, labels, name)
    if function is keras.losses.binary_crossentropy:
        _check_probabilities(labels, name)
    if function is keras.losses.sparse_categorical_crossentropy:
        if labels.dtype.kind == "f" and not _whole(labels):
            raise ValueError(
                f"{name} must be integers, the class indices from 0. Received: "
                f"{labels.dtype} with fractions, which the loss would cut off."
            )
        axis = getattr(found, "axis", -1)
        ignored = getattr(found, "ignore_class", None)
        if len(output.shape) > 1 and labels.dtype.kind in "biuf":
            check_range(labels, output.shape[axis], ignored, name)


def _check_shape(output, function, loss, labels, name):
    """Raises a ValueError if the shape of labels does not fit the output."""
    shape = wanted = (None, *output.shape[1:])
    if function is keras.losses.sparse_categorical_crossentropy:
        if getattr(loss, "axis", -1) != -1 or len(shape) < 2:
            return
        wanted = shape[:-1]
    elif function not in _SAME_SHAPE:
        return
    # Keras adds or removes a last axis of size 1.
    allowed = [wanted, (*wanted, 1)]
    if len(wanted) > 1 and wanted[-1] == 1:
        allowed.append(wanted[:-1])
    if not any(graph.fits(labels.shape, each) for each in allowed):
        raise ValueError(
            f"{name}: the loss {loss_name(loss)} cannot be computed from labels of "
            f"shape {labels.shape} and outputs of shape {shape}. The labels must have "
            f"the shape {wanted}."
        )


def _check_probabilities(labels, name):
    if labels.dtype.kind in "iuf" and labels.size:
        low, high = bounds(labels)
        if low < 0 or high > 1:
            raise ValueError(
                f"{name} must be from 0 to 1 for a binary cross entropy. Received: "
                f"labels from {low:g} to {high:g}."
            )


def _whole(labels):
    """Whether floats are whole numbers, checked in parts to limit memory."""
    parts = (labels[start : start + 65536] for start in range(0, len(labels), 65536))
    return all(np.array_equal(part, np.rint(part)) for part in parts)
