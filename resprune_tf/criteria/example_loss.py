"""The loss of each single example, from any loss of Keras."""

import keras
from keras import ops
from keras.src.backend import get_keras_mask
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
        `(batch,)`, the mean over the positions of an example. Positions that the Keras
        mask of the outputs excludes, such as padding, do not count. It raises a
        ValueError if `loss` returns a mean over the examples, or over positions of
        which some are masked.

    Raises:
        ValueError: if Keras has no loss of this name.
    """
    compute = _cross_entropy if loss is None else _unreduced(keras.losses.get(loss))

    def losses(labels, outputs):
        mask = get_keras_mask(outputs)  # the cast drops it
        outputs = ops.cast(outputs, "float32")
        values = ops.convert_to_tensor(compute(labels, outputs))
        if not len(values.shape) or _differ(values.shape[0], outputs.shape[0]):
            raise ValueError(
                "The loss must return a value for each example, not their mean. "
                f"Received: a loss of shape {tuple(values.shape)} for outputs of "
                f"shape {tuple(outputs.shape)}. Pass a function without the mean over "
                "the batch."
            )
        if mask is not None:
            return _masked_means(values, mask)
        return ops.mean(ops.reshape(values, (ops.shape(values)[0], -1)), axis=1)

    return losses


def _masked_means(values, mask):
    """Means over the positions of each example that a mask `(batch, ...)` includes."""
    if len(values.shape) < len(mask.shape):
        raise ValueError(
            "The outputs have a mask, such as that of padding, so the loss must return "
            f"a value for each position. Received: a loss of shape "
            f"{tuple(values.shape)} for a mask of shape {tuple(mask.shape)}. Pass a "
            "function without the mean over positions."
        )
    for _ in range(len(values.shape) - len(mask.shape)):
        mask = ops.expand_dims(mask, -1)
    mask = ops.cast(mask, values.dtype) * ops.ones_like(values)
    axes = tuple(range(1, len(values.shape)))
    total, count = ops.sum(values * mask, axis=axes), ops.sum(mask, axis=axes)
    return total / ops.maximum(count, 1)


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
