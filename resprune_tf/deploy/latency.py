"""Latency of models: wall-clock time of a compiled step on the Keras backend."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Sequence

import keras
import numpy as np

from resprune_tf import graph
from resprune_tf.deploy.runtimes import BackgroundLoad, take_turns
from resprune_tf.graph.resizing import fixed_sizes
from resprune_tf.system.counts import check_counts


@dataclasses.dataclass(frozen=True)
class Latency:
    """Wall-clock time of one compiled step in milliseconds.

    Attributes:
        median_ms, mean_ms, p10_ms, p90_ms: statistics of `runs` calls after warm-up.
        runs: number of timed calls.
        batch_size: images per call; None if `device_latencies` measured it.
        backward: whether the gradients were computed too.
        precision: dtype policy of most layers with weights, such as `"float32"`, or
            `"as written"` for a file.
        device: name of the accelerator, or `"cpu"`; for `device_latencies`, the name of
            the function that measured.
        backend: Keras backend in use, `"tensorflow"` or `"jax"`.
        runtime: what ran the model: the Keras backend, or the `runtime` of
            `runtime_latencies`.
        times_ms: tuple of the times of the calls, in their order.
        load: fraction of the processor cores that other processes used during the
            measurement; None if the system does not report it.
    """

    median_ms: float
    mean_ms: float
    p10_ms: float
    p90_ms: float
    runs: int
    batch_size: int | None
    backward: bool
    precision: str
    device: str
    backend: str
    runtime: str
    times_ms: tuple[float, ...] = dataclasses.field(repr=False)
    load: float | None = None

    @classmethod
    def of(cls, times_ms, **fields):
        """Creates a `Latency` from the times of single calls.

        Args:
            times_ms: float array of shape `(runs,)`.
            **fields: the attributes that do not follow from the times.
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
        """Returns this time as a fraction of another one, run by run.

        Args:
            other: a `Latency` from the same call of `latencies`.

        Returns:
            list of `runs` floats.

        Raises:
            ValueError: if the numbers of runs differ.
        """
        if self.runs != other.runs:
            raise ValueError(
                "Times are compared run by run, so both models must be timed in one "
                f"call of `latencies`. Received: {self.runs} and {other.runs} runs."
            )
        return [a / b for a, b in zip(self.times_ms, other.times_ms, strict=True)]


def latency(
    model: keras.Model,
    batch_size: int = 1,
    backward: bool = False,
    runs: int = 100,
    warmup: int = 10,
) -> Latency:
    """Times a compiled call of a model on random images.

    The time includes waiting for the result. To compare models, use `latencies`.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`; it is not changed,
            including its moving statistics.
        batch_size: int, images per call.
        backward: whether to time a training step without the optimizer: the forward
            pass in training mode and the gradients of all trainable variables. The loss
            is softmax cross-entropy on random labels if the output has the shape
            `(batch, classes)`, otherwise the mean of the outputs.
        runs: int, number of timed calls.
        warmup: int, calls before them. The first call compiles.

    Returns:
        A `Latency` in milliseconds.

    Raises:
        TypeError: if `model` is not functional.
        ValueError: if a count is below 1, if an input size is unknown, if an input is
            text, or if the Keras backend is neither TensorFlow nor JAX.

    >>> rp.latency(rp.fold(model), batch_size=32).median_ms
    """
    return latencies([model], batch_size, backward, runs, warmup)[0]


def latencies(
    models: Sequence[keras.Model],
    batch_size: int = 1,
    backward: bool = False,
    runs: int = 100,
    warmup: int = 10,
) -> tuple[Latency, ...]:
    """Times several models in turns, so that background load affects all of them.

    All models are compiled and warmed up first. Then each run calls every model once.
    Compare folded models only with folded models, because folding alone reduces
    latency.

    Args:
        models: list of one or more models, as for `latency`.
        batch_size, backward, runs, warmup: as for `latency`.

    Returns:
        tuple of `Latency`, one per model. `small.ratios(full)` compares two of them.

    Raises:
        TypeError, ValueError: as for `latency`; TypeError also if `models` is a single
            model, ValueError also if there is none.

    >>> full, small = latencies([fold(model), fold(remove_units(model, units))])
    >>> np.percentile(small.ratios(full), [10, 50, 90])
    """
    check_counts(batch_size=batch_size, runs=runs, warmup=warmup)
    backend = keras.backend.backend()
    if backend not in _COMPILERS:
        raise ValueError(
            "`latency` supports the Keras backends "
            f"{', '.join(_COMPILERS)}. Received: {backend}."
        )
    models = [graph.as_functional(model, "latency") for model in listed(models)]
    background = BackgroundLoad()
    compiled = [_compile(model, batch_size, backward) for model in models]
    times = take_turns([run for run, _ in compiled], runs, warmup)
    load = background.share()
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


def listed(models):
    """Returns `models` as a list of at least one model or path.

    Raises:
        TypeError: for a single model or path.
        ValueError: if there is none.
    """
    if isinstance(models, keras.Model | str | os.PathLike):
        raise TypeError(
            "`models` must be a list of models. Received: a single "
            f"{type(models).__name__}. Pass `[model]`."
        )
    models = list(models)
    if not models:
        raise ValueError("`models` must contain at least one model. Received: none.")
    return models


def _compile(model, batch_size, backward):
    """A function that runs a model and waits for the result, and the device name."""
    rng = np.random.default_rng(0)
    inputs = [_random_input(tensor, batch_size, rng) for tensor in model.inputs]
    step = _training_loss(model, rng, batch_size) if backward else _inference(model)
    return _COMPILERS[keras.backend.backend()](model, step, inputs, backward)


def _random_input(tensor, batch_size, rng):
    shape = tuple(tensor.shape[1:])
    if None in shape:
        raise ValueError(
            f"`latency` requires fixed input shapes. Received: input '{tensor.name}' "
            f"of shape {tuple(tensor.shape)}. To fix it, {fixed_sizes()}."
        )
    if tensor.dtype == "string":
        raise ValueError(
            "`latency` generates random numbers and does not support text. Received: "
            f"input '{tensor.name}' of dtype string. Time the part of the model after "
            "its text layers."
        )
    return rng.random((batch_size, *shape), "float32").astype(tensor.dtype)


# Steps are pure functions, `(trainable, other, inputs) -> (result, new state)`, which
# change no variable. They return the new state, because otherwise the compiler would
# remove the computation of the moving statistics of BatchNormalization.


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
        # All of this must be computed, but only the loss is copied to the host.
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
