"""The loss of each single example, from any loss of Keras."""

import keras
from keras import ops
from keras.src.losses.losses import LossFunctionWrapper

from resprune_tf.graph.outputs import loss_name


def example_loss(loss=None):
    """Makes a function that computes the loss of each example of a batch.

    Args:
        loss: a `keras.losses.Loss`, whose reduction is ignored; its name; a function
            of labels and outputs that returns one value per example, or one per
            position of an example (pixels of a segmentation); or None for the cross
            entropy of logits, with integers or one-hot rows as labels.

    Returns:
        A function from labels `(batch, ...)` and outputs `(batch, ...)` to float32
        `(batch,)`, the mean over the positions of an example. It raises a ValueError
        if `loss` returns a mean over the examples.

    Raises:
        ValueError: if Keras has no loss of this name.
    """
    compute = _cross_entropy if loss is None else _unreduced(keras.losses.get(loss))

    def losses(labels, outputs):
        outputs = ops.cast(outputs, "float32")
        values = ops.convert_to_tensor(compute(labels, outputs))
        if not len(values.shape) or _differ(values.shape[0], outputs.shape[0]):
            raise ValueError(
                "The loss must return a value for each example, not their mean. "
                f"Received: a loss of shape {tuple(values.shape)} for outputs of "
                f"shape {tuple(outputs.shape)}. Pass a function without the mean over "
                "the batch."
            )
        return ops.mean(ops.reshape(values, (ops.shape(values)[0], -1)), axis=1)

    return losses


def loss_details(loss):
    """The part of a criterion's name that states the loss: a list of str."""
    return [] if loss is None else [f"loss {loss_name(loss)}"]


def _differ(size, other):
    # None is a size that is known only at run time.
    return None not in (size, other) and size != other


def _cross_entropy(labels, logits):
    kind = (
        keras.losses.categorical_crossentropy
        if tuple(labels.shape) == tuple(logits.shape)
        else keras.losses.sparse_categorical_crossentropy
    )
    return kind(labels, logits, from_logits=True)


def _unreduced(loss):
    """The function that computes a loss as `compile` does, without the reduction."""
    if not isinstance(loss, keras.losses.Loss):
        # The wrapper also aligns `(batch,)` with `(batch, 1)`.
        loss = LossFunctionWrapper(loss)

    def compute(labels, outputs):
        return loss.call(
            ops.cast(labels, loss.dtype), ops.convert_to_tensor(outputs, loss.dtype)
        )

    return compute
