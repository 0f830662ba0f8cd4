"""What a model costs: layers, parameters, multiply-accumulates (MACs)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import keras

from resprune_tf import graph
from resprune_tf.graph.depth import depths
from resprune_tf.graph.macs import CONVOLUTIONS, count_macs, kernel_shape, opened
from resprune_tf.graph.tracing import trace_example
from resprune_tf.nets.importance import ImportanceScale


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one image costs.

    Attributes:
        layers: weighted layers (convolution, dense, attention) on the longest path
            from input to output; projection shortcuts lie beside it.
        parameters: learned ones, frozen, quantized or not, without ω and moving
            statistics; see `parameter_sizes`.
        macs: multiply-accumulates of everything that can be counted.
        conv_macs: those of convolutions alone.
        uncounted: names of operations that multiply, but have no rule and cannot be
            looked into: those with a weight of two or more axes, and the products
            that `macs.py` lists. Empty means that `macs` is complete, but for layers
            without weights that call another library than Keras, such as a `Lambda` of
            TensorFlow's own functions.
    """

    layers: int
    parameters: int
    macs: int
    conv_macs: int
    uncounted: tuple[str, ...]


def cost(model: keras.Model, input_shape: Sequence[int] | None = None) -> Cost:
    """Layers, parameters and MACs of a functional model, from its shapes alone.

    A layer that is called twice computes twice and is stored once; nested models are
    counted through, and so are layers that hold others.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`; it is only read.
        input_shape: shape without the batch, such as `(224, 224, 3)`, for a model
            whose one input leaves sizes open.

    Returns:
        A `Cost`.

    Raises:
        TypeError: if `model` has no graph to read.
        ValueError: if MACs depend on an unknown dimension (`None`), or `input_shape`
            does not fit.

    >>> cost(resnet56()).conv_macs
    84066304
    """
    model = graph.as_functional(model, "cost")
    calls, outputs = trace_example(model, input_shape)
    images = model.inputs[0].shape[0] or 1  # of a fixed batch
    depth = depths(calls)
    found = [count_macs(call) for call in calls]
    names = [
        call.operation.name
        for call, macs in zip(calls, found, strict=True)
        if macs is None
    ]
    return Cost(
        layers=max(depth[id(tensor)] for tensor in outputs),
        parameters=count_parameters([model]),
        macs=sum(macs or 0 for macs in found) // images,
        conv_macs=sum(map(_conv_macs, calls)) // images,
        uncounted=tuple(dict.fromkeys(names)),
    )


def _conv_macs(call):
    """MACs of a call's convolutions, those inside a closed layer included."""
    if isinstance(call.operation, CONVOLUTIONS):
        return count_macs(call)
    if count_macs(call) and (inside := opened(call)):
        return sum(map(_conv_macs, inside.calls))
    return 0


def count_parameters(operations):
    """Parameters of layers and models, each once and ω left out.

    Args:
        operations: layers, models and other operations, which have none.
    """
    return sum(parameter_sizes(operations).values())


def parameter_sizes(operations):
    """Parameters that each variable holds, of layers and models.

    Parameters are what training sets: all trainable variables, frozen or not, low-rank
    adapters included. Moving statistics and the states of random generators are not
    learned. Quantization changes how large a parameter is, not how many there are: a
    quantized kernel or embedding has as many as the one that it stands for, and its
    scales, zero points and histories are none.

    Args:
        operations: as for `count_parameters`.

    Returns:
        dict from `id(variable)` to the number, without ω.
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
        # Until it is calibrated, a kernel lies there in both forms.
        if v.name not in stored and not getattr(v, "overwrite_with_gradient", False)
    }
    for name, variable in stored.items():
        if name == "kernel":
            found[id(variable)] = math.prod(kernel_shape(layer))
        else:
            found[id(variable)] = layer.input_dim * layer.output_dim
    return found


def _stands_for(variable):
    """Whether a variable of a quantized layer stands for one that was learned."""
    known = variable.name in ("kernel", "embeddings", "reverse_embeddings")
    return known and keras.backend.is_int_dtype(variable.dtype)
