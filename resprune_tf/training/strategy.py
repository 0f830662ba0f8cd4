"""Strategies: training on one device, or data-parallel on several."""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
from collections.abc import Sequence

import keras
import numpy as np

from resprune_tf.system.checksum import checksum

STRATEGIES = ("none", "mirrored", "multiworker")


class Strategy:
    """Training on one device, and the interface of all strategies.

    Create other strategies by `training_strategy`.

    Attributes:
        name: `"none"`, `"mirrored"` or `"multiworker"`.
        replicas: int, copies of the model, each of which trains on a part of a batch.
        workers: int, processes that train together.
        is_chief: whether this worker writes the records; exactly one does.
        many_steps: whether many steps can run as one dispatch.

    >>> strategy = training_strategy("mirrored")
    >>> strategy.replicas
    """

    name, replicas, workers, is_chief, many_steps = "none", 1, 1, True, True

    def scope(self):
        """Returns the context in which models are created and trained."""
        return contextlib.nullcontext()

    def averaging(self, model):
        """Returns a function that averages the moving statistics over all replicas.

        Each replica normalizes its part of a batch by the statistics of that part, and
        updates its own moving statistics. These are linear in the batch statistics and
        not used in training. So averaging them once, before they are read, equals
        averaging them after every step.
        """
        return lambda: None

    # All workers must call each of the following methods at the same point.

    def share(self, value):
        """Returns the chief's JSON value on every worker."""
        return value

    def any(self, fact):
        """Returns whether `fact` is true on any worker."""
        return fact

    def agree(self, reason):
        """Returns a reason to stop if any worker has one, otherwise None."""
        return reason

    def follow(self, run_dir, folder):
        """Copies the chief's run directory to `folder`, on all other workers.

        Afterwards all workers compute the same from their own copies of the files.
        """

    def check_equal(self, arrays, **facts):
        """Raises a ValueError on all workers unless all of them have equal values.

        Args:
            arrays: the weights of the model.
            `**facts`: JSON values.
        """


def training_strategy(
    name: str = "none", devices: Sequence[str] | None = None
) -> Strategy:
    """Creates a strategy for training on several devices.

    Call it before models are created, or anything else uses the backend.

    Args:
        name: `"none"`: one device. `"mirrored"`: all devices of this machine, by
            `tf.distribute.MirroredStrategy`, or `keras.distribution.DataParallel` on
            JAX. `"multiworker"`: the devices of several machines, by
            `tf.distribute.MultiWorkerMirroredStrategy`; TensorFlow reads the addresses
            from `TF_CONFIG`, and every worker runs the same program.
        devices: device names such as `["GPU:0", "GPU:1"]` (on JAX `"gpu:0"`), for
            `"mirrored"`. Defaults to all accelerators, or to all CPU devices.

    Returns:
        A `Strategy`, to pass to `RunOptions(strategy=...)`. BatchNormalization uses the
        statistics of each replica's part of a batch on TensorFlow, and those of the
        whole batch on JAX.

    Raises:
        ValueError: if the name is unknown, the backend does not support the strategy,
            a device does not exist, or `TF_CONFIG` has no cluster.
        TypeError: if `devices` is a string.
        RuntimeError: if TensorFlow has already run operations, which is too late for
            several workers.

    References: <https://www.tensorflow.org/guide/distributed_training>,
    <https://keras.io/guides/distribution/>

    >>> strategy = training_strategy("mirrored", devices=["GPU:0", "GPU:1"])
    """
    backend = keras.backend.backend()
    if name not in STRATEGIES:
        raise ValueError(
            f"`name` must be one of {', '.join(STRATEGIES)}. Received: {name!r}."
        )
    if devices is not None and name != "mirrored":
        raise ValueError(
            "`devices` can be given for the mirrored strategy only. "
            f"Received: {name!r}."
        )
    if isinstance(devices, str):
        raise TypeError(
            '`devices` must be a list of names, such as ["GPU:0"]. '
            f"Received: {devices!r}."
        )
    if name == "none":
        return Strategy()
    if backend == "tensorflow":
        return _Mirrored(devices) if name == "mirrored" else _Multiworker()
    if backend == "jax" and name == "mirrored":
        return _DataParallel(devices)
    raise ValueError(
        f"The {name} strategy does not support the Keras backend {backend}. "
        "Set KERAS_BACKEND=tensorflow."
    )


def _check_devices(devices, available):
    if unknown := sorted(set(devices or ()).difference(available)):
        raise ValueError(
            f"There is no device {', '.join(unknown)}. Devices: {', '.join(available)}."
        )


class _Mirrored(Strategy):
    """`tf.distribute.MirroredStrategy`."""

    name = "mirrored"
    # Keras's loop over steps puts the synchronization of replicas inside conditions,
    # which fails (keras issue 19246).
    many_steps = False

    def __init__(self, devices):
        import tensorflow as tf

        kinds = [tf.config.list_logical_devices(kind) for kind in ("GPU", "CPU")]
        gpus, cpus = [[d.name.removeprefix("/device:") for d in kind] for kind in kinds]
        _check_devices(devices, gpus + cpus)
        self._set(tf.distribute.MirroredStrategy(devices or gpus or cpus))

    def _set(self, strategy):
        self._strategy, self.replicas = strategy, strategy.num_replicas_in_sync

    def scope(self):
        return self._strategy.scope()

    def averaging(self, model):
        import tensorflow as tf

        variables = [
            variable
            for layer in model._flatten_layers()
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
            for variable in (layer.moving_mean, layer.moving_variance)
        ]

        def average():
            # `identity` places the value on a device, which collectives require.
            values = [tf.identity(variable.value) for variable in variables]
            means = tf.distribute.get_replica_context().all_reduce("MEAN", values)
            for variable, mean in zip(variables, means, strict=True):
                variable.assign(mean)

        if self.replicas == 1 or not variables:
            return super().averaging(model)
        return tf.function(lambda: self._strategy.run(average))


class _Multiworker(_Mirrored):
    """`tf.distribute.MultiWorkerMirroredStrategy`."""

    name = "multiworker"

    def __init__(self):
        import tensorflow as tf

        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        cluster = resolver.cluster_spec().as_dict()
        if not cluster:
            raise ValueError(
                "The multiworker strategy needs TF_CONFIG, with the addresses of all "
                'workers and this one\'s number: {"cluster": {"worker": ["host0:port", '
                '"host1:port"]}, "task": {"type": "worker", "index": 0}}.'
            )
        self.workers = sum(map(len, cluster.values()))
        self.is_chief = resolver.task_id == 0 and (
            resolver.task_type == "chief" or "chief" not in cluster
        )
        self._set(tf.distribute.MultiWorkerMirroredStrategy(resolver))

    def share(self, value):
        text = np.frombuffer(json.dumps(value).encode(), "uint8")
        length = self._total([len(text) if self.is_chief else 0])[0]
        own = text if self.is_chief else np.zeros(int(length))
        return json.loads(self._total(own).astype("uint8").tobytes())

    def any(self, fact):
        return self._total([fact])[0] > 0

    def agree(self, reason):
        stops = self.any(reason is not None)
        return reason or ("another worker stops" if stops else None)

    def follow(self, run_dir, folder):
        self.any(False)  # waits until the chief has locked and tidied its directory
        if not self.is_chief and run_dir is not None and pathlib.Path(run_dir).exists():
            omitted = shutil.ignore_patterns("lock", ".writing-*", "export")
            shutil.copytree(run_dir, folder, ignore=omitted, dirs_exist_ok=True)
        self.any(False)  # the copies are made, so the chief may write

    def check_equal(self, arrays, **facts):
        own = json.loads(json.dumps({**facts, "weights": checksum(arrays)}))
        expected = self.share(own)
        differing = [name for name in own if own[name] != expected[name]]
        if self.any(bool(differing)):
            raise ValueError(
                "All workers must have the same settings, model and data, and read the "
                "chief's run directory on shared storage. Different on this worker: "
                f"{', '.join(differing) or 'nothing, but on another worker'}."
            )

    def _total(self, numbers):
        """The sum of an array over the workers."""
        import tensorflow as tf

        numbers = tf.constant(numbers, "float32")

        def add():
            context = tf.distribute.get_replica_context()
            number = tf.get_static_value(context.replica_id_in_sync_group)
            # Only the first replica of a worker contributes.
            first = number % (self.replicas // self.workers) == 0
            return context.all_reduce("SUM", tf.identity(numbers * float(first)))

        totals = tf.function(lambda: self._strategy.run(add))()
        return self._strategy.experimental_local_results(totals)[0].numpy()


class _DataParallel(Strategy):
    """`keras.distribution.DataParallel` on JAX.

    Batches are gathered on the host and split among the devices. XLA computes as on a
    single device, so results agree with those of one device to within rounding.
    """

    name, many_steps = "mirrored", False

    def __init__(self, devices):
        available = keras.distribution.list_devices()
        _check_devices(devices, available)
        devices = devices or available
        self._distribution = keras.distribution.DataParallel(devices=devices)
        self.replicas = len(devices)

    def scope(self):
        return self._distribution.scope()
