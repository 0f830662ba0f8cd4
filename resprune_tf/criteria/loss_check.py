"""Checks that a loss fits a model's output and the labels before it is computed."""

import keras
import numpy as np
from keras import ops
from keras.src.trainers.compile_utils import get_loss

from resprune_tf import graph
from resprune_tf.criteria.example_loss import example_loss
from resprune_tf.data.examples import take_labels
from resprune_tf.graph.outputs import loss_name, probabilities
from resprune_tf.system.advice import advice
from resprune_tf.system.wording import first_line
from resprune_tf.training.labels import check_labels, check_range

_OF_LOGITS = (
    keras.losses.SparseCategoricalCrossentropy,
    keras.losses.CategoricalCrossentropy,
)
# Settings that do not change the loss of an example.
_IRRELEVANT = ("name", "reduction", "dtype")
_LOSS = "give --loss"  # advice of the command line


def compiled_loss(model, labels):
    """The loss that a model is compiled with, for `example_loss`.

    None if it is the default of `example_loss`, if the model is not compiled, or if it
    is not compiled with one loss for one output.

    Args:
        model: a `keras.Model`.
        labels: array `(images, ...)` of the labels for the loss.

    Returns:
        A `keras.losses.Loss`, a function, or None.
    """
    losses = keras.tree.flatten(model.loss) if model.compiled else []
    if len(losses) != 1 or len(model.outputs) != 1 or losses[0] is None:
        return None
    (loss,) = losses
    if isinstance(loss, str):
        # As in `compile`: what "crossentropy" means depends on the shapes.
        return get_loss(loss, np.asarray(labels), model.outputs[0])
    return None if _is_default(loss) else loss


def check_loss(model, purpose, labels, loss=None):
    """Raises a ValueError if the loss does not fit the model's output or the labels.

    Args:
        model: a functional `keras.Model`.
        purpose: name of what needs the loss, for the message.
        labels: array `(images, ...)`.
        loss: as for `example_loss`.
    """
    if len(model.outputs) != 1:
        raise ValueError(
            f"{purpose} needs a model with one output, from which its loss is "
            f"computed. Received: '{model.name}' with {len(model.outputs)} outputs. "
            "Pass `keras.Model(model.inputs, model.outputs[0])`, or another output."
        )
    labels = np.asarray(labels)
    if labels.dtype.kind not in "biuf":
        raise ValueError(
            f"Labels must be an array of numbers. Received: dtype {labels.dtype}."
        )
    if loss is not None:
        _check_given(model, labels, loss)
        return
    taken = f"without a `loss` {purpose} uses the cross entropy of logits"
    if (compiled := compiled_loss(model, labels)) is not None:
        raise ValueError(
            f"'{model.name}' is compiled with the loss {loss_name(compiled)}, but "
            f"{taken}: {advice('pass the compiled one as `loss`', _LOSS)}."
        )
    if last := probabilities(model):
        raise ValueError(
            f"'{model.name}' ends in '{last}', which outputs probabilities, but "
            f"{taken}: "
            + advice(
                "pass its loss, such as `loss='sparse_categorical_crossentropy'`, or "
                "`'binary_crossentropy'` if an image can have several labels.",
                f"{_LOSS}, such as sparse_categorical_crossentropy.",
            )
        )
    _check_classes(model, labels, taken)


def _is_default(loss):
    """Whether a loss is the cross entropy of logits without further options."""
    if type(loss) not in _OF_LOGITS:
        return False
    return _config(loss) == _config(type(loss)(from_logits=True))


def _config(loss):
    return {k: v for k, v in loss.get_config().items() if k not in _IRRELEVANT}


def _check_classes(model, labels, taken):
    """Checks that labels are class indices, or rows of class probabilities."""
    # Any number of examples is allowed, even if the model has a fixed batch size.
    shape = (None, *model.outputs[0].shape[1:])
    if len(shape) < 2 or shape[-1] == 1:
        raise ValueError(
            f"'{model.name}' has outputs of shape {shape}, which are no scores of "
            f"classes, but {taken}: "
            + advice("pass its loss, such as `loss='mse'`.", f"{_LOSS}, such as mse.")
        )
    if graph.fits(labels.shape, shape):
        if np.any(labels < 0) or not np.allclose(labels.sum(axis=-1), 1, atol=1e-3):
            raise ValueError(
                f"Labels of the outputs' shape {shape} must be one-hot rows, or "
                f"probabilities that sum to 1: {taken}. For other labels, "
                + advice("pass a `loss`.", f"{_LOSS}.")
            )
    elif not any(
        graph.fits(labels.shape, each) for each in (shape[:-1], (*shape[:-1], 1))
    ):
        raise ValueError(
            f"Labels of shape {labels.shape} do not fit outputs of shape {shape}: "
            f"{taken}, which needs one integer, or one one-hot row, per row of outputs."
        )
    elif labels.dtype.kind == "f":
        raise ValueError(
            f"Labels of shape {labels.shape} for outputs of shape {shape} must be "
            f"integers: {taken}. Received: dtype {labels.dtype}."
        )
    else:
        check_range(labels, shape[-1])


def _check_given(model, labels, loss):
    """Tries a loss on a few labels and on outputs that are 0."""
    check_labels(model.outputs[0], loss, labels)
    shape = tuple(model.outputs[0].shape)[1:]
    if None in shape:
        return
    # Another number than that of the columns, so that a loss cannot confuse the axes.
    count = 3 if shape[-1:] == (2,) else 2
    rows = take_labels(labels, np.arange(count) % len(labels))
    try:
        example_loss(loss)(rows, ops.zeros((count, *shape)))
    except Exception as error:
        raise ValueError(
            f"The loss {loss_name(loss)} cannot be computed from labels of shape "
            f"{labels.shape} and outputs of shape {(None, *shape)}: "
            f"{first_line(error)}"
        ) from error
