"""A copy of a model that trains faster than it, and the way back."""

import keras

from resprune_tf import graph
from resprune_tf.system.precision import PRECISIONS
from resprune_tf.training.batch_norm import OnePassBatchNormalization, has_one_pass_form
from resprune_tf.training.scaled_weights import AppliedImportance, scalable, scaled_kind


def fast_copy(model, precision="float32"):
    """A copy that trains with fewer passes over the activations of the model.

    BatchNormalization takes its statistics in one pass, and an ω is applied to the
    weights of the layer before it (see `ScaledWeights`) where one can take it. The
    results are the same within rounding. What is saved and published stays the model
    itself: `copy_values` brings the trained values back to it.

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
    whole = graph.as_functional(model, "fast_copy")
    outputs = {id(tensor._keras_history.operation) for tensor in model.outputs}
    scales = scalable(whole)

    def config(operation):
        made = operation.get_config()
        exact = isinstance(
            operation, (keras.layers.Rescaling, keras.layers.Normalization)
        )
        plain = operation.dtype_policy.name == "float32"
        if precision == "bfloat16" and plain and not exact:
            if id(operation) not in outputs:
                made["dtype"] = "mixed_bfloat16"
        return made

    applied = {}
    for scale in scales.values():
        made = AppliedImportance.from_config(config(scale))
        made.build(scale.input.shape)  # the layer that applies it comes before it
        applied[id(scale)] = made

    def clone(operation):
        if id(operation) in applied:
            return applied[id(operation)]
        if not isinstance(operation, keras.layers.Layer):
            return graph.clone_operation(operation)
        kind = type(operation)
        if has_one_pass_form(operation):
            kind = OnePassBatchNormalization
        if id(operation) not in scales:
            return kind.from_config(config(operation))
        made = scaled_kind(kind).from_config(config(operation))
        made.scale_by(applied[id(scales[id(operation)])])
        return made

    return graph.rebuild(model, clone=clone)
