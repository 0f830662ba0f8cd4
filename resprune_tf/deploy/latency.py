"""How long a model takes: wall-clock time of a compiled step."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from resprune_tf import graph
from resprune_tf.deploy.runtimes import OtherWork, take_turns
from resprune_tf.graph.resizing import fixed_sizes


@dataclasses.dataclass(frozen=True)
class Latency:
    """Wall-clock time of one compiled step, milliseconds.

    Attributes:
        median_ms, mean_ms, p10_ms, p90_ms: over `runs` calls, after warming up.
        runs: timed calls.
        batch_size: images a call.
        backward: whether the gradients were computed too.
        precision: dtype policy of most weighted layers, such as `"float32"`; of a file
            `"as written"`.
        device: name of the accelerator, or `"cpu"`.
        backend: Keras backend in use, `"tensorflow"` or `"jax"`.
        runtime: what ran the model: the Keras backend, or that of
            `runtime_latencies`.
        times_ms: of the single calls, in their order.
        load: share of the processor cores that other processes used meanwhile, from 0
            to 1; None where the system does not state it.
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
    runtime: str
    times_ms: tuple[float, ...] = dataclasses.field(repr=False)
    load: float | None = None

    @classmethod
    def of(cls, times_ms, **fields):
        """The `Latency` of single calls.

        Args:
            times_ms: float array `[runs]`.
            **fields: the attributes that times do not tell.
        """
        return cls(
            median_ms=float(np.median(times_ms)),
            mean_ms=float(np.mean(times_ms)),
            p10_ms=float(np.percentile(times_ms, 10)),
            p90_ms=float(np.percentile(times_ms, 90)),
            runs=len(times_ms),
            times_ms=tuple(map(float, times_ms)),
            **fields,
        )

    def ratios(self, other: Latency) -> list[float]:
        """This time as a fraction of another one, turn by turn.

        Args:
            other: a `Latency` of the same call of `latencies`.

        Returns:
            A list of `runs` floats.

        Raises:
            ValueError: if the numbers of turns differ.
        """
        if self.runs != other.runs:
            raise ValueError(
                "Times are compared turn by turn, so both models must be timed by one "
                f"call of `latencies`. Received: {self.runs} and {other.runs} runs."
            )
        return [a / b for a, b in zip(self.times_ms, other.times_ms, strict=True)]


def latency(
    model: keras.Model,
    batch_size: int = 1,
    backward: bool = False,
    runs: int = 100,
    warmup: int = 10,
    seed: int = 0,
) -> Latency:
    """Times a compiled call of a model on random images.

    The clock stops when the result is there, not when the call returns. To compare
    models, time them side by side with `latencies`.

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
    return latencies([model], batch_size, backward, runs, warmup, seed)[0]


def latencies(
    models: Sequence[keras.Model],
    batch_size: int = 1,
    backward: bool = False,
    runs: int = 100,
    warmup: int = 10,
    seed: int = 0,
) -> list[Latency]:
    """Times models in turns: a machine that slows down slows all of them.

    All are compiled and warmed up before the first turn; in each turn every model is
    called once. Compare folded models with folded ones: folding alone makes a net
    faster.

    Args:
        models: models as for `latency`, at least one.
        batch_size, backward, runs, warmup, seed: as for `latency`.

    Returns:
        A tuple of `Latency`, one a model. `small.ratios(full)` compares two of them.

    Raises:
        TypeError, ValueError: as `latency` does; also if there is no model.

    >>> full, small = latencies([fold(model), fold(remove_units(model, units))])
    >>> np.percentile(small.ratios(full), [10, 50, 90])
    """
    check_counts(batch_size=batch_size, runs=runs, warmup=warmup)
    backend = keras.backend.backend()
    if backend not in _COMPILERS:
        raise ValueError(
            f"latency runs on the Keras backends {', '.join(_COMPILERS)}. "
            f"Received: {backend}."
        )
    models = [graph.as_functional(model, "latency") for model in models]
    if not models:
        raise ValueError("`models` must hold at least one model. Received: none.")
    others = OtherWork()
    compiled = [_compile(model, batch_size, backward, seed) for model in models]
    times = take_turns([run for run, _ in compiled], runs, warmup)
    load = others.share()
    return tuple(
        Latency.of(
            own,
            batch_size=batch_size,
            backward=bool(backward),
            precision=_precision(model),
            device=device,
            backend=backend,
            runtime=backend,
            load=load,
        )
        for model, (_, device), own in zip(models, compiled, times.T, strict=True)
    )


def check_counts(**counts):
    """Raises a ValueError for a count below 1, by its name."""
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"`{name}` must be >= 1. Received: {name}={value}.")


def _compile(model, batch_size, backward, seed):
    """A function that runs a model to its end, and the name of the device."""
    rng = np.random.default_rng(seed)
    inputs = [_random_input(tensor, batch_size, rng) for tensor in model.inputs]
    step = _training_loss(model, rng, batch_size) if backward else _inference(model)
    return _COMPILERS[keras.backend.backend()](model, step, inputs, backward)


def _random_input(tensor, batch_size, rng):
    shape = tuple(tensor.shape[1:])
    if None in shape:
        raise ValueError(
            f"latency needs a fixed input shape. Received: input '{tensor.name}' of "
            f"shape {tuple(tensor.shape)}; {fixed_sizes()}."
        )
    if tensor.dtype == "string":
        raise ValueError(
            "latency runs on random numbers, which are no text. Received: input "
            f"'{tensor.name}' of dtype string. Time the model behind its text layers."
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
