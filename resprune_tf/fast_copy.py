"""A copy of a model that trains faster than it, and the way back."""

import keras

from resprune_tf import graph
from resprune_tf.batch_norm import OnePassBatchNormalization, has_one_pass_form

PRECISIONS = ("float32", "bfloat16")


def fast_copy(model, precision="float32"):
    """A copy with one-pass BatchNormalization, in the precision of the training.

    What is saved and published stays the model itself: `copy_values` brings the
    trained values back to it.

    Args:
        model: a functional `keras.Model`; it is only read.
        precision: `"float32"`, or `"bfloat16"` for Keras's mixed policy: layers of
            policy float32 compute in bfloat16 and keep float32 variables; layers
            that prepare the pixels or make an output stay float32, as do the
            statistics of BatchNormalization. Bfloat16 has the range of float32, so
            the loss needs no scaling. Layers of other policies keep theirs.

    Returns:
        A functional `keras.Model`, not compiled, with a layer of the same name and
        variables for every layer of `model`.

    Raises:
        ValueError: for an unknown precision.
        TypeError: if the model is not functional.

    Reference: Micikevicius et al., Mixed Precision Training, arXiv:1710.03740.
    """
    if precision not in PRECISIONS:
        raise ValueError(
            f"`precision` must be one of {', '.join(PRECISIONS)}. "
            f"Received: {precision!r}."
        )
    graph.check_functional(model, "fast_copy")
    outputs = {id(tensor._keras_history.operation) for tensor in model.outputs}

    def clone(operation):
        if not isinstance(operation, keras.layers.Layer):
            return graph.clone_operation(operation)
        config = operation.get_config()
        exact = isinstance(
            operation, (keras.layers.Rescaling, keras.layers.Normalization)
        )
        plain = operation.dtype_policy.name == "float32"
        if precision == "bfloat16" and plain and not exact:
            if id(operation) not in outputs:
                config["dtype"] = "mixed_bfloat16"
        kind = type(operation)
        if has_one_pass_form(operation):
            kind = OnePassBatchNormalization
        return kind.from_config(config)

    return graph.rebuild(model, clone=clone)
