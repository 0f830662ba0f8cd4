"""How long a model takes: wall-clock time of a compiled step."""

import collections
import dataclasses
import time

import keras
import numpy as np

from resprune_tf import graph


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
    model = graph.as_functional(model, "latency")
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
