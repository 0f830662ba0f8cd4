"""What a model costs: layers, parameters, multiply-accumulates (MACs), latency.

One MAC is one multiplication and one addition, for one image. Convolutions, dense
layers and matrix products count; biases, normalisation, activations and additions do
not. Axis 0 of every tensor is taken to be the batch.
"""

import collections
import dataclasses
import inspect
import math
import time

import keras
import numpy as np
from keras import layers
from keras.src.ops import nn
from keras.src.ops.numpy import Dot, Einsum, Inner, Matmul, Tensordot

from resprune_tf import graph
from resprune_tf.importance import ImportanceScale


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one image costs.

    Attributes:
        layers: weighted layers (convolution, dense, attention) on the longest path
            from input to output; projection shortcuts lie beside it.
        parameters: trainable ones, without ω and moving statistics.
        macs: multiply-accumulates of everything that has a rule.
        conv_macs: those of convolutions alone.
        uncounted: names of operations that multiply but have no rule: those with a
            weight of two or more axes, and the raw products listed in this module.
            Empty means that `macs` is complete.
    """

    layers: int
    parameters: int
    macs: int
    conv_macs: int
    uncounted: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Latency:
    """Wall-clock time of one compiled step, milliseconds.

    Attributes:
        median_ms, mean_ms, p10_ms, p90_ms: over `runs` calls, after warming up.
        runs: timed calls.
        batch_size: images a call.
        backward: whether the gradients were computed too.
        precision: dtype policy of most weighted layers, such as `"float32"`.
        device: name of the accelerator, or `"cpu"`.
        backend: `"tensorflow"` or `"jax"`.
    """

    median_ms: float
    mean_ms: float
    p10_ms: float
    p90_ms: float
    runs: int
    batch_size: int
    backward: bool
    precision: str
    device: str
    backend: str


def cost(model):
    """Layers, parameters and MACs of a functional model, from its shapes alone.

    A layer that is called twice computes twice and is stored once; nested models are
    counted through.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`; it is only read.

    Returns:
        A `Cost`.

    Raises:
        TypeError: if `model` has no graph to read.
        ValueError: if MACs depend on an unknown dimension (`None`).

    >>> cost(resnet56()).conv_macs
    84066304
    """
    model = _functional(model, "cost")
    tally = _Tally()
    depths = tally.walk(model, [0] * len(model.inputs))
    return Cost(
        layers=max(depths),
        parameters=_parameters(model),
        macs=tally.macs,
        conv_macs=tally.conv_macs,
        uncounted=tuple(dict.fromkeys(tally.uncounted)),
    )


def _functional(model, purpose):
    """The graph of a functional model or of a built Sequential."""
    model = getattr(model, "_functional", None) or model
    graph.check_functional(model, purpose)
    return model


def _parameters(model):
    scales = {
        id(weight)
        for layer in model._flatten_layers()
        if isinstance(layer, ImportanceScale)
        for weight in layer.weights
    }
    return sum(
        math.prod(w.shape) for w in model.trainable_weights if id(w) not in scales
    )


class _Tally:
    """Sums up one walk over the graph."""

    def __init__(self):
        self.macs = self.conv_macs = 0
        self.uncounted = []

    def walk(self, model, depths):
        """Counts a model whose inputs lie `depths` layers deep; outputs' depths."""
        depth = dict(zip(map(id, model.inputs), depths, strict=True))
        for node in graph.nodes(model):
            if id(node.outputs[0]) in depth:
                continue
            above = [depth[id(tensor)] for tensor in node.input_tensors]
            inner = getattr(node.operation, "_functional", None) or node.operation
            if hasattr(inner, "_inputs_struct"):
                if len(above) != len(inner.inputs):  # optional inputs, masks
                    above = [max(above)] * len(inner.inputs)
                below = self.walk(inner, above)
            else:
                below = [max(above) + self.count(node)] * len(node.outputs)
            depth.update(zip(map(id, node.outputs), below, strict=True))
        return [depth[id(tensor)] for tensor in model.outputs]

    def count(self, node):
        """Adds one call of one operation; 1 if it is a weighted layer, else 0."""
        operation = node.operation
        rule = next((r for kinds, r in _RULES if isinstance(operation, kinds)), None)
        if rule is None:
            weights = getattr(operation, "weights", ())
            if isinstance(operation, _NO_RULE) or any(
                len(w.shape) > 1 for w in weights
            ):
                self.uncounted.append(operation.name)
            return 0
        macs = rule(node)
        self.macs += macs
        if isinstance(operation, _CONVOLUTIONS):
            self.conv_macs += macs
        return int(isinstance(operation, layers.Layer) and macs > 0)


def _product(sizes, node):
    """Product of static sizes."""
    if None in sizes:
        raise ValueError(
            f"The MACs of '{node.operation.name}' depend on its unknown dimensions: "
            f"{[tuple(t.shape) for t in node.input_tensors]} -> "
            f"{[tuple(t.shape) for t in node.outputs]}. Give the model a fixed input "
            "shape, such as keras.Input((224, 224, 3))."
        )
    return math.prod(sizes)


def _spatial(layer, tensor):
    first = 1 if layer.data_format == "channels_last" else 2
    return tensor.shape[first : first + layer.rank]


def _convolution(node):
    layer = node.operation
    return _product((*layer.kernel.shape, *_spatial(layer, node.outputs[0])), node)


def _separable(node):
    layer = node.operation
    kernels = layer.depthwise_kernel, layer.pointwise_kernel
    positions = _product(_spatial(layer, node.outputs[0]), node)
    return positions * sum(math.prod(kernel.shape) for kernel in kernels)


def _transpose(node):
    # Every input position is multiplied with the whole kernel.
    layer = node.operation
    return _product(
        (*layer.kernel.shape, *_spatial(layer, node.input_tensors[0])), node
    )


def _dense(node):
    kernel = node.operation.kernel
    return _product((*kernel.shape, *node.outputs[0].shape[1:-1]), node)


def _matmul(node):
    left = _operands(node)[0]
    return _product((*node.outputs[0].shape[1:], left[-1]), node)


def _einsum(node):
    return _einsum_macs(node.operation.subscripts, _operands(node), node)


def _einsum_dense(node):
    layer = node.operation
    return _einsum_macs(layer.equation, [*_operands(node), layer.kernel.shape], node)


def _operands(node):
    """Shapes of a node's tensors, constants included, the batch being 1."""
    arguments = keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
    return [
        (1, *a.shape[1:]) if isinstance(a, keras.KerasTensor) else tuple(a.shape)
        for a in arguments
        if hasattr(a, "shape")
    ]


def _einsum_macs(equation, shapes, node):
    """Product of the sizes of all labels: the cost of the plain nested loops."""
    if len(shapes) < 2:
        return 0  # a transposition or a sum
    sizes = {}
    terms = equation.replace(" ", "").split("->")[0].split(",")
    for term, shape in zip(terms, shapes, strict=True):
        head, dots, tail = term.partition("...")
        hidden = len(shape) - len(head) - len(tail) if dots else 0
        # Axes behind an ellipsis broadcast, that is, count from the right.
        labels = [*head, *range(-hidden, 0), *tail]
        for label, size in zip(labels, shape, strict=True):
            # Broadcasting: 1 gives way; and one known size is enough.
            if sizes.get(label) in (None, 1):
                sizes[label] = size or sizes.get(label)
    return _product(tuple(sizes.values()), node)


def _attention(node):
    layer = node.operation
    call = inspect.signature(layer.call).bind(
        *node.arguments.args, **node.arguments.kwargs
    )
    query, value = call.arguments["query"], call.arguments["value"]
    key = call.arguments.get("key")
    key = value if key is None else key
    projections = (
        (layer.query_dense, query),
        (layer.key_dense, key),
        (layer.value_dense, value),
        (layer.output_dense, query),
    )
    macs = sum(
        _product((*dense.kernel.shape, *tensor.shape[1:-1]), node)
        for dense, tensor in projections
    )
    # Scores and weighted sum: each query position meets each attended position.
    attended = [value.shape[axis] for axis in layer.attention_axes]
    pairs = _product((*query.shape[1:-1], *attended), node)
    return macs + pairs * layer.num_heads * (layer.key_dim + layer.value_dim)


def _nothing(node):
    """Lookups and elementwise weights do not multiply and accumulate."""
    return 0


_PLAIN = (
    *(layers.Conv1D, layers.Conv2D, layers.Conv3D),
    *(layers.DepthwiseConv1D, layers.DepthwiseConv2D),
)
_SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
_TRANSPOSE = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
_CONVOLUTIONS = (*_PLAIN, *_SEPARABLE, *_TRANSPOSE)
_RULES = (
    (_SEPARABLE, _separable),
    (_TRANSPOSE, _transpose),
    (_PLAIN, _convolution),
    (layers.Dense, _dense),
    (layers.EinsumDense, _einsum_dense),
    (layers.MultiHeadAttention, _attention),
    ((Matmul, Dot), _matmul),
    (Einsum, _einsum),
    (
        (
            *(layers.BatchNormalization, layers.LayerNormalization),
            *(layers.Normalization, layers.Embedding, layers.PReLU),
        ),
        _nothing,
    ),
)
# Products without weights, or with weights that are no layer's: listed, not guessed.
_NO_RULE = (
    *(nn.Conv, nn.ConvTranspose, nn.DepthwiseConv, nn.SeparableConv),
    *(nn.DotProductAttention, Inner, Tensordot),
    *(layers.Attention, layers.AdditiveAttention, layers.Dot),
)


def latency(model, batch_size=1, backward=False, runs=100, warmup=10, seed=0):
    """Times a compiled call of a model on random images.

    The clock stops when the result is there, not when the call returns. Compare
    folded models with folded ones: folding alone makes a net faster.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`. Its variables stay
            as they are, moving statistics included.
        batch_size: images a call, >= 1.
        backward: time a training step without its optimizer: the forward pass in
            training mode and the gradients of all trainable variables. The loss is
            softmax cross-entropy on random labels if the output is `(batch, classes)`,
            else the mean of the outputs.
        runs: timed calls, >= 1.
        warmup: calls before them, >= 1: the first one compiles.
        seed: of the images and labels.

    Returns:
        A `Latency`, in milliseconds.

    Raises:
        TypeError: if `model` has no graph to read.
        ValueError: if a count is too small, an input dimension is unknown, or the
            Keras backend is neither TensorFlow nor JAX.
    """
    for name, value in (("batch_size", batch_size), ("runs", runs), ("warmup", warmup)):
        if value < 1:
            raise ValueError(f"`{name}` must be >= 1. Received: {name}={value}.")
    backend = keras.backend.backend()
    if backend not in _COMPILERS:
        raise ValueError(
            f"latency runs on the Keras backends {', '.join(_COMPILERS)}. "
            f"Received: {backend}."
        )
    model = _functional(model, "latency")
    rng = np.random.default_rng(seed)
    inputs = [_random_input(tensor, batch_size, rng) for tensor in model.inputs]
    step = _training_loss(model, rng, batch_size) if backward else _inference(model)
    run, device = _COMPILERS[backend](model, step, inputs, backward)
    for _ in range(warmup):
        run()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - start))
    return Latency(
        median_ms=float(np.median(times)),
        mean_ms=float(np.mean(times)),
        p10_ms=float(np.percentile(times, 10)),
        p90_ms=float(np.percentile(times, 90)),
        runs=runs,
        batch_size=batch_size,
        backward=bool(backward),
        precision=_precision(model),
        device=device,
        backend=backend,
    )


def _random_input(tensor, batch_size, rng):
    shape = tuple(tensor.shape[1:])
    if None in shape:
        raise ValueError(
            f"latency needs a fixed input shape. Received: input '{tensor.name}' of "
            f"shape {tuple(tensor.shape)}; build the model on a fixed one, such as "
            "keras.Input((224, 224, 3))."
        )
    return rng.random((batch_size, *shape), "float32").astype(tensor.dtype)


# Steps map values to values, `(trainable, other, inputs) -> (result, new state)`: no
# variable changes. The new state is handed on, or the compiler would leave out the
# moving statistics of BatchNormalization.


def _inference(model):
    def forward(trainable, other, inputs):
        inputs = keras.tree.pack_sequence_as(model._inputs_struct, list(inputs))
        return model.stateless_call(trainable, other, inputs, training=False)

    return forward


def _training_loss(model, rng, batch_size):
    shape = model.outputs[0].shape
    labels = None
    if len(model.outputs) == 1 and len(shape) == 2 and shape[1] > 1:
        classes = rng.integers(shape[1], size=batch_size)
        labels = np.eye(shape[1], dtype="float32")[classes]

    def loss(trainable, other, inputs):
        inputs = keras.tree.pack_sequence_as(model._inputs_struct, list(inputs))
        outputs, state = model.stateless_call(trainable, other, inputs, training=True)
        outputs = [keras.ops.cast(y, "float32") for y in keras.tree.flatten(outputs)]
        if labels is None:
            return sum(keras.ops.mean(y) for y in outputs), state
        log_p = keras.ops.log_softmax(outputs[0])
        return -keras.ops.mean(keras.ops.sum(labels * log_p, axis=-1)), state

    return loss


def _compile_tensorflow(model, step, inputs, backward):
    """A function that runs `step` to its end, and the name of the device."""
    import tensorflow as tf

    @tf.function(autograph=False)
    def compiled(*inputs):
        trainable, other = (
            [tf.convert_to_tensor(v.value) for v in variables]
            for variables in (model.trainable_variables, model.non_trainable_variables)
        )
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            if backward:
                tape.watch(trainable)
            result, state = step(trainable, other, inputs)
        if not backward:
            return result
        gradients = [g for g in tape.gradient(result, trainable) if g is not None]
        # No work may be pruned, yet only the loss need be copied to the host.
        with tf.control_dependencies([*state, *gradients]):
            return tf.identity(result)

    inputs = [tf.constant(x) for x in inputs]

    def run():
        return [y.numpy() for y in tf.nest.flatten(compiled(*inputs))]

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus or "GPU" not in inputs[0].device:
        return run, "cpu"
    return run, tf.config.experimental.get_device_details(gpus[0])["device_name"]


def _compile_jax(model, step, inputs, backward):
    """A function that runs `step` to its end, and the name of the device."""
    import jax

    compiled = jax.jit(jax.value_and_grad(step, has_aux=True) if backward else step)
    trainable = [v.value for v in model.trainable_variables]
    other = [v.value for v in model.non_trainable_variables]
    inputs = [jax.numpy.asarray(x) for x in inputs]

    def run():
        return jax.block_until_ready(compiled(trainable, other, inputs))

    return run, next(iter(inputs[0].devices())).device_kind


_COMPILERS = {"tensorflow": _compile_tensorflow, "jax": _compile_jax}


def _precision(model):
    """The dtype policy of most layers with weights."""
    policies = collections.Counter(
        layer.dtype_policy.name
        for layer in model._flatten_layers(include_self=False)
        if layer.weights and not isinstance(layer, keras.Model)
    )
    return policies.most_common(1)[0][0] if policies else model.dtype_policy.name
