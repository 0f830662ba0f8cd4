"""The loss of each single example, from any loss that Keras takes."""

import keras
from keras import ops
from keras.src.losses.losses import LossFunctionWrapper

from resprune_tf.graph.outputs import loss_name


def example_loss(loss=None):
    """A function that gives the loss of each example of a batch.

    Args:
        loss: a `keras.losses.Loss`, whose reduction is left out; its name; a function
            of labels and outputs with a value for each example, or for each place of
            each example (pixels of a segmentation); or None for the cross entropy of
            logits, with integers or one-hot rows as labels.

    Returns:
        A function from labels `(batch, ...)` and outputs `(batch, ...)` to float32
        `(batch,)`: the mean over all places of an example. It raises a ValueError if
        `loss` has already taken the mean over the examples.

    Raises:
        ValueError: if there is no loss of this name.
    """
    compute = _cross_entropy if loss is None else _unreduced(keras.losses.get(loss))

    def losses(labels, outputs):
        outputs = ops.cast(outputs, "float32")
        values = ops.convert_to_tensor(compute(labels, outputs))
        if not len(values.shape) or _differ(values.shape[0], outputs.shape[0]):
            raise ValueError(
                "The loss must give a value for each example, not their mean. "
                f"Received: a loss of shape {tuple(values.shape)} for outputs of "
                f"shape {tuple(outputs.shape)}."
            )
        return ops.mean(ops.reshape(values, (ops.shape(values)[0], -1)), axis=1)

    return losses


def loss_details(loss):
    """What tells a loss in a criterion's name: a list, empty for the default."""
    return [] if loss is None else [f"loss {loss_name(loss)}"]


def _differ(size, other):
    # None is a size that is known at run time only.
    return None not in (size, other) and size != other


def _cross_entropy(labels, logits):
    kind = (
        keras.losses.categorical_crossentropy
        if tuple(labels.shape) == tuple(logits.shape)
        else keras.losses.sparse_categorical_crossentropy
    )
    return kind(labels, logits, from_logits=True)


def _unreduced(loss):
    """What `compile` makes of a loss, before it takes the mean over the examples."""
    if not isinstance(loss, keras.losses.Loss):
        # Fits `(batch,)` and `(batch, 1)` to each other.
        loss = LossFunctionWrapper(loss)

    def compute(labels, outputs):
        return loss.call(
            ops.cast(labels, loss.dtype), ops.convert_to_tensor(outputs, loss.dtype)
        )

    return compute
