"""Cost of a model: layers, parameters and multiply-accumulates (MACs)."""

from __future__ import annotations

import dataclasses
import math

import keras

from resprune_tf import graph
from resprune_tf.graph.depth import depths
from resprune_tf.graph.macs import CONVOLUTIONS, count_macs, kernel_shape, opened
from resprune_tf.graph.tracing import trace_example
from resprune_tf.nets.importance import ImportanceScale


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cost of a model, for one image.

    Attributes:
        layers: number of weighted layers (convolution, dense, attention) on the
            longest path from input to output. Projection shortcuts do not add to it.
        parameters: number of learned parameters, frozen and quantized ones included,
            without ω and moving statistics.
        macs: multiply-accumulates of all operations that can be counted.
        conv_macs: multiply-accumulates of convolutions only.
        uncounted: names of operations that multiply but cannot be counted: those that
            have no rule and a weight of two or more axes, and some products without a
            rule. If it is empty, `macs` is complete, except for layers without weights
            that call functions of other libraries, such as a `Lambda` with TensorFlow's
            functions.
    """

    layers: int
    parameters: int
    macs: int
    conv_macs: int
    uncounted: tuple[str, ...]


def cost(model: keras.Model) -> Cost:
    """Counts layers, parameters and MACs of a functional model from its shapes.

    The MACs of a layer count for each of its calls, its parameters once. Nested models
    and layers that contain layers are included.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`; it is not changed.

    Returns:
        A `Cost`.

    Raises:
        TypeError: if `model` is not functional.
        ValueError: if the MACs depend on an unknown dimension (`None`);
            `with_input_shape` fixes the sizes of inputs.

    >>> cost(resnet56()).conv_macs
    84066304
    """
    model = graph.as_functional(model, "cost")
    calls, outputs = trace_example(model)
    images = model.inputs[0].shape[0] or 1  # a fixed batch size, if any
    depth = depths(calls)
    found = [count_macs(call) for call in calls]
    named = zip((call.operation.name for call in calls), found, strict=True)
    return Cost(
        layers=max(depth[id(tensor)] for tensor in outputs),
        parameters=count_parameters([model]),
        macs=sum(macs or 0 for macs in found) // images,
        conv_macs=sum(map(_conv_macs, calls)) // images,
        uncounted=tuple(dict.fromkeys(name for name, macs in named if macs is None)),
    )


def _conv_macs(call):
    """MACs of a call's convolutions, those inside its layer included."""
    if isinstance(call.operation, CONVOLUTIONS):
        return count_macs(call)
    if count_macs(call) and (inside := opened(call)):
        return sum(map(_conv_macs, inside.calls))
    return 0


def count_parameters(operations):
    """Number of parameters of layers and models, without ω; shared ones count once.

    Args:
        operations: layers, models and other operations, which have no parameters.
    """
    return sum(parameter_sizes(operations).values())


def parameter_sizes(operations):
    """Number of parameters in each variable of layers and models.

    Parameters are the variables that training can change: all trainable variables,
    frozen or not, low-rank adapters included. Moving statistics and states of random
    generators are not parameters. Quantization changes the size of a parameter, not
    the number of parameters: a quantized kernel or embedding counts as before, and its
    scales, zero points and histories do not count.

    Args:
        operations: as for `count_parameters`.

    Returns:
        dict from `id(variable)` to int, without ω.
    """
    found = {}
    for operation in operations:
        if isinstance(operation, keras.layers.Layer):
            for layer in operation._flatten_layers():
                if not isinstance(layer, ImportanceScale):
                    found.update(_sizes(layer))
    return found


def _sizes(layer):
    stored = {}
    if layer.quantization_mode is not None:
        stored = {v.name: v for v in layer._non_trainable_variables if _stands_for(v)}
    found = {
        id(v): math.prod(v.shape)
        for v in layer._trainable_variables
        # Until it is calibrated, a layer has the kernel in both forms.
        if v.name not in stored and not getattr(v, "overwrite_with_gradient", False)
    }
    for name, variable in stored.items():
        if name == "kernel":
            found[id(variable)] = math.prod(kernel_shape(layer))
        else:
            found[id(variable)] = layer.input_dim * layer.output_dim
    return found


def _stands_for(variable):
    """Whether a variable is the quantized form of a learned one."""
    known = variable.name in ("kernel", "embeddings", "reverse_embeddings")
    return known and keras.backend.is_int_dtype(variable.dtype)
