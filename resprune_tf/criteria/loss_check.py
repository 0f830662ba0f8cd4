"""Whether a loss fits a model's output and its labels, before it is computed."""

import keras
import numpy as np
from keras import ops
from keras.src.trainers.compile_utils import get_loss

from resprune_tf import graph
from resprune_tf.criteria.example_loss import example_loss
from resprune_tf.data.examples import bounds, check_finite, take_labels
from resprune_tf.graph.outputs import loss_name, probabilities

_OF_LOGITS = (
    keras.losses.SparseCategoricalCrossentropy,
    keras.losses.CategoricalCrossentropy,
)
# Compare each output with a label, and stretch labels of other shapes over them.
_BY_OUTPUT = (
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
_KEPT = ("name", "reduction", "dtype")  # of a loss, which change no example's value


def other_loss(model, labels):
    """The loss that a model is compiled with; None for the default of `example_loss`.

    Also None if it is not compiled with one loss for its one output.

    Args:
        model: a `keras.Model`.
        labels: array `(images, ...)`: what the loss would compare outputs with.

    Returns:
        A `keras.losses.Loss`, a function, or None.
    """
    losses = keras.tree.flatten(model.loss) if model.compiled else []
    if len(losses) != 1 or len(model.outputs) != 1 or losses[0] is None:
        return None
    (loss,) = losses
    if isinstance(loss, str):
        # As Keras does it: there is a "crossentropy" that depends on shapes.
        return get_loss(loss, np.asarray(labels), model.outputs[0])
    return None if _is_default(loss) else loss


def check_loss(model, purpose, labels, loss=None):
    """Raises a ValueError where the loss of a model would not be what it seems.

    Args:
        model: a functional `keras.Model`.
        purpose: what needs the loss, in a word.
        labels: array `(images, ...)`.
        loss: as for `example_loss`.
    """
    if len(model.outputs) != 1:
        raise ValueError(
            f"{purpose} needs a model with one output, which its loss is computed "
            "from: pass `keras.Model(model.inputs, model.outputs[0])`, or the output "
            f"that matters. Received: '{model.name}' with {len(model.outputs)} outputs."
        )
    labels = np.asarray(labels)
    if labels.dtype.kind not in "biuf":
        raise ValueError(
            f"Labels must be an array of numbers. Received: dtype {labels.dtype}."
        )
    if loss is not None:
        _check_given(model, labels, loss)
        return
    taken = f"without a `loss` {purpose} takes the cross entropy of logits"
    if (other := other_loss(model, labels)) is not None:
        raise ValueError(
            f"'{model.name}' is compiled with the loss {loss_name(other)}, but "
            f"{taken}: pass that one as `loss`."
        )
    if last := probabilities(model):
        raise ValueError(
            f"'{model.name}' ends in '{last}', which gives probabilities, but {taken}: "
            "pass its loss, such as `loss='sparse_categorical_crossentropy'`, or "
            "`'binary_crossentropy'` where labels exclude no other."
        )
    _check_classes(model, labels, taken)


def _is_default(loss):
    """Whether a loss is the cross entropy of logits, and nothing else."""
    if type(loss) not in _OF_LOGITS:
        return False
    return _config(loss) == _config(type(loss)(from_logits=True))


def _config(loss):
    return {k: v for k, v in loss.get_config().items() if k not in _KEPT}


def _check_classes(model, labels, taken):
    """Checks that labels are classes of outputs, or shares of them."""
    # Of any number of examples, also where the model has a batch of fixed size.
    shape = (None, *model.outputs[0].shape[1:])
    if len(shape) < 2 or shape[-1] == 1:
        raise ValueError(
            f"'{model.name}' has outputs of shape {shape}, which tell no classes "
            f"apart, but {taken}: pass its loss, such as `loss='mse'`."
        )
    if graph.fits(labels.shape, shape):
        if np.any(labels < 0) or not np.allclose(labels.sum(axis=-1), 1, atol=1e-3):
            raise ValueError(
                f"Labels of the outputs' shape {shape} must be one-hot rows, or shares "
                f"that sum to 1: {taken}. For other labels pass a `loss`."
            )
    elif not any(
        graph.fits(labels.shape, each) for each in (shape[:-1], (*shape[:-1], 1))
    ):
        raise ValueError(
            f"Labels of shape {labels.shape} do not fit outputs of shape {shape}: "
            f"{taken}, with an integer for each row of outputs, or a one-hot row."
        )
    elif labels.dtype.kind == "f":
        raise ValueError(
            f"Labels of shape {labels.shape} for outputs of shape {shape} must be "
            f"integers: {taken}. Received: dtype {labels.dtype}."
        )
    else:
        _check_range(labels, shape[-1])


def _check_range(labels, classes, ignored=None, name="Labels"):
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
        ValueError: for labels that are NaN or infinite, no numbers of classes, of
            another shape than the loss compares, or of other names than the outputs.
    """
    losses = _by_output(model.loss, model)
    if losses is not None and isinstance(y, dict):
        pairs = zip(model.output_names, losses, strict=True)
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
            _check_labels(output, loss, np.asarray(labels), f"Labels of `{name}`")


def _by_output(values, model):
    """One value for each output, in their order; None if it is not clear which."""
    if isinstance(values, dict):
        values = [values.get(name) for name in model.output_names]
    else:
        values = keras.tree.flatten(values)
    return values if len(values) == len(model.outputs) else None


def _check_labels(output, loss, labels, name="Labels"):
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
    _check_shape(output, function, loss, labels, name)
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
            _check_range(labels, output.shape[axis], ignored, name)


def _check_shape(output, function, loss, labels, name):
    """Checks that there are as many labels as the outputs need."""
    shape = wanted = (None, *output.shape[1:])
    if function is keras.losses.sparse_categorical_crossentropy:
        if getattr(loss, "axis", -1) != -1 or len(shape) < 2:
            return
        wanted = shape[:-1]
    elif function not in _BY_OUTPUT:
        return
    # Keras adds or takes away a last axis of one.
    allowed = [wanted, (*wanted, 1)]
    if len(wanted) > 1 and wanted[-1] == 1:
        allowed.append(wanted[:-1])
    if not any(graph.fits(labels.shape, each) for each in allowed):
        raise ValueError(
            f"{name}: the loss {loss_name(loss)} cannot be computed from labels of "
            f"shape {labels.shape} and outputs of shape {shape}. The labels must have "
            f"the shape {wanted}."
        )


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


def _check_given(model, labels, loss):
    """Tries a loss on a few labels and on outputs of 0."""
    _check_labels(model.outputs[0], loss, labels)
    shape = tuple(model.outputs[0].shape)[1:]
    if None in shape:
        return
    # Not as many as columns, which a loss could take for the examples.
    count = 3 if shape[-1:] == (2,) else 2
    rows = take_labels(labels, np.arange(count) % len(labels))
    try:
        example_loss(loss)(rows, ops.zeros((count, *shape)))
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"The loss {loss_name(loss)} cannot be computed from labels of shape "
            f"{labels.shape} and outputs of shape {(None, *shape)}: {reason}"
        ) from error
