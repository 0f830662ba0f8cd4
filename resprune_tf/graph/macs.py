"""Multiply-accumulates (MACs) of one call of an operation, by one rule per class.

One MAC is one multiplication and one addition, for one image. Convolutions, dense
layers and matrix products count. Biases, normalisation, activations and additions do
not count, nor does a depthwise convolution with one weight per channel. An open first
axis is the batch and counts as 1.
"""

import inspect
import math

import keras
from keras import layers
from keras.src.ops import nn
from keras.src.ops.numpy import Dot, Einsum, Inner, Matmul, Tensordot

from resprune_tf.graph.resizing import fixed_sizes


def count_macs(call):
    """MACs of a `tracing.Call`; None if it multiplies but cannot be counted.

    For a layer without a rule, the calls inside it are counted (see `opened`).

    Raises:
        ValueError: if the MACs depend on an unknown dimension (`None`).
    """
    operation = call.operation
    for kinds, rule in _RULES:
        if isinstance(operation, kinds):
            return rule(call)
    if type(operation) in _ELEMENTWISE:
        return 0
    inside = opened(call)
    if inside is not None:
        return _sum(call, inside)
    multiplies = isinstance(operation, _NO_RULE) or has_kernel(operation)
    return None if multiplies else 0


def opened(call):
    """The calls inside a layer that has no rule and may multiply.

    Returns:
        `Inside`; None for all other operations, and for layers whose calls symbolic
        tensors cannot show.
    """
    operation = call.operation
    decided = (*_WITH_RULE, *_NO_RULE)
    if type(operation) in _ELEMENTWISE:
        return None
    if not isinstance(operation, layers.Layer) or isinstance(operation, decided):
        return None
    # Layers of Keras and of this package, whose implementation is known.
    known = type(operation).__module__.startswith(("keras.src.layers", "resprune_tf."))
    if known and not has_kernel(operation) and not isinstance(operation, _OPENED):
        return None  # such as an activation, a reshape or a sum
    return call.inside


def _sum(call, inside):
    try:
        found = [count_macs(each) for each in inside.calls]
    except ValueError:
        if any(None in tensor.shape[1:] for tensor in call.inputs):
            raise
        return None  # the layer's own operations lose the sizes
    return None if None in found else sum(found)


def has_kernel(operation):
    """Whether an operation has a weight of two or more axes."""
    return any(len(weight.shape) > 1 for weight in getattr(operation, "weights", ()))


def _product(sizes, call):
    """Product of static sizes."""
    if None in sizes:
        raise ValueError(
            f"The MACs of '{call.operation.name}' depend on its unknown dimensions: "
            f"{[tuple(t.shape) for t in call.inputs]} -> "
            f"{[tuple(t.shape) for t in call.outputs]}. To fix them, {fixed_sizes()}."
        )
    return math.prod(sizes)


def _sizes(tensor):
    """Shape of a tensor; an open batch counts as 1."""
    shape = tuple(tensor.shape)
    return (1, *shape[1:]) if shape and shape[0] is None else shape


def _positions(tensor, data_format):
    """All sizes of a tensor, batch included, except that of the channels."""
    sizes = _sizes(tensor)
    chosen = data_format or keras.config.image_data_format()
    return (sizes[0], *sizes[2:]) if chosen == "channels_first" else sizes[:-1]


def _convolution(call):
    return _kernel_macs(call, call.outputs[0])


def _transpose(call):
    # Every input position is multiplied with the whole kernel.
    return _kernel_macs(call, call.inputs[0])


def _kernel_macs(call, tensor):
    """MACs of a convolution that applies its kernel at each position of `tensor`."""
    operation = call.operation
    is_layer = isinstance(operation, layers.Layer)
    kernel = operation.kernel.shape if is_layer else _operands(call)[1]
    return _product((*kernel, *_positions(tensor, operation.data_format)), call)


def _depthwise(call):
    # One weight per channel scales it, as BatchNormalization does. `fold` replaces
    # BatchNormalization by such layers, and folding must not increase the MACs.
    layer = call.operation
    if math.prod(layer.kernel_size) == layer.depth_multiplier == 1:
        return 0
    return _convolution(call)


def _separable(call):
    layer = call.operation
    kernels = layer.depthwise_kernel, layer.pointwise_kernel
    positions = _product(_positions(call.outputs[0], layer.data_format), call)
    return positions * sum(math.prod(kernel.shape) for kernel in kernels)


def kernel_shape(layer):
    """Shape of the kernel of a `Dense` or `EinsumDense`, before any quantization.

    4-bit kernels are stored packed, in another shape.
    """
    if layer.quantization_mode is None:
        return tuple(layer.kernel.shape)
    if isinstance(layer, layers.Dense):
        return layer.input_spec.axes[-1], layer.units
    return tuple(getattr(layer, "original_kernel_shape", layer._kernel.shape))


def _dense(call):
    return _product(
        (*kernel_shape(call.operation), *_sizes(call.outputs[0])[:-1]), call
    )


def _matmul(call):
    summed = _operands(call)[0][-1]
    return _product((*_sizes(call.outputs[0]), summed), call)


def _einsum(call):
    return _einsum_macs(call.operation.subscripts, _operands(call), call)


def _einsum_dense(call):
    layer = call.operation
    return _einsum_macs(layer.equation, [*_operands(call), kernel_shape(layer)], call)


def _operands(call):
    """Shapes of a call's tensors, constants included."""
    arguments = keras.tree.flatten((call.args, call.kwargs))
    return [_sizes(a) for a in arguments if hasattr(a, "shape")]


def _einsum_macs(equation, shapes, call):
    """Product of the sizes of all labels: the cost of plain nested loops."""
    if len(shapes) < 2:
        return 0  # a transpose or a sum
    sizes = {}
    terms = equation.replace(" ", "").split("->")[0].split(",")
    for term, shape in zip(terms, shapes, strict=True):
        head, dots, tail = term.partition("...")
        hidden = len(shape) - len(head) - len(tail) if dots else 0
        # The axes of an ellipsis broadcast, so they are aligned at the right.
        labels = [*head, *range(-hidden, 0), *tail]
        for label, size in zip(labels, shape, strict=True):
            # Broadcasting: any other size overrides 1. One known size suffices.
            if sizes.get(label) in (None, 1):
                sizes[label] = size or sizes.get(label)
    return _product(tuple(sizes.values()), call)


def _attention(call):
    layer = call.operation
    bound = inspect.signature(layer.call).bind(*call.args, **call.kwargs)
    query, value = bound.arguments["query"], bound.arguments["value"]
    key = bound.arguments.get("key")
    key = value if key is None else key
    projections = (
        (layer.query_dense, query),
        (layer.key_dense, key),
        (layer.value_dense, value),
        (layer.output_dense, query),
    )
    macs = sum(
        _product((*kernel_shape(dense), *_sizes(tensor)[:-1]), call)
        for dense, tensor in projections
    )
    # Scores and weighted sum: one product per query position and attended position.
    attended = [value.shape[axis] for axis in layer.attention_axes]
    pairs = _product((*_sizes(query)[:-1], *attended), call)
    return macs + pairs * layer.num_heads * (layer.key_dim + layer.value_dim)


def _recurrent(call):
    layer = call.operation
    cells = getattr(layer.cell, "cells", [layer.cell])
    if not all(isinstance(cell, _CELLS) for cell in cells):
        return None
    return _product(_sizes(call.inputs[0])[:2], call) * sum(map(_macs_per_step, cells))


def _cell(call):
    return _product(_sizes(call.inputs[0])[:1], call) * _macs_per_step(call.operation)


def _macs_per_step(cell):
    """MACs of a recurrent cell for one step of one sequence."""
    return math.prod(cell.kernel.shape) + math.prod(cell.recurrent_kernel.shape)


def _dot_product_attention(call):
    # Shapes are (batch, positions, heads, size) in every backend.
    query, key, value = _operands(call)[:3]
    pairs = _product((*query[:3], key[1]), call)
    return pairs * _product((query[3] + value[3],), call)


_PLAIN = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
_DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
_SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
_TRANSPOSE = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
# Lookups and elementwise weights. Subclasses are not included: they may multiply.
_ELEMENTWISE = (
    *(layers.BatchNormalization, layers.LayerNormalization),
    *(layers.Normalization, layers.Embedding, layers.PReLU),
)
_CELLS = (layers.LSTMCell, layers.GRUCell, layers.SimpleRNNCell)
_RAW = (nn.Conv, nn.DepthwiseConv, nn.ConvTranspose)
CONVOLUTIONS = (*_PLAIN, *_DEPTHWISE, *_SEPARABLE, *_TRANSPOSE, *_RAW)
_RULES = (
    (_SEPARABLE, _separable),
    ((*_TRANSPOSE, nn.ConvTranspose), _transpose),
    (_DEPTHWISE, _depthwise),
    ((*_PLAIN, nn.Conv, nn.DepthwiseConv), _convolution),
    (layers.Dense, _dense),
    (layers.EinsumDense, _einsum_dense),
    (layers.MultiHeadAttention, _attention),
    (layers.RNN, _recurrent),
    (_CELLS, _cell),
    ((Matmul, Dot), _matmul),
    (Einsum, _einsum),
    (nn.DotProductAttention, _dot_product_attention),
)
_WITH_RULE = tuple(
    kind
    for kinds, _ in _RULES
    for kind in (kinds if isinstance(kinds, tuple) else (kinds,))
)
# Keras's own layers that multiply without a kernel.
_OPENED = (layers.Lambda, layers.Attention, layers.Dot)
# Products without a rule: they are reported as uncounted.
_NO_RULE = (nn.SeparableConv, Inner, Tensordot, layers.AdditiveAttention)
