"""A model that trains on images in device memory, or on a stream of batches.

A CIFAR-size data set fits into the memory of the device, and one training step of a
small model takes less time there than the host needs to prepare and dispatch a batch.
So the images are copied to the device once, and an epoch is a table of row indices,
from which each step gathers its batch. On accelerators many steps run as one dispatch.
"""

import keras
import numpy as np

from resprune_tf.data.streamed import pipeline_options


def steps_per_dispatch(steps):
    """Number of training steps per dispatch, for `steps` per epoch.

    On an accelerator all steps of an epoch, because a step may take no longer than its
    dispatch. On a CPU one: steps are long there, and XLA's CPU compiler makes
    convolutions inside a loop several times slower.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return 1 if jax.default_backend() == "cpu" else steps
    if backend == "tensorflow":
        import tensorflow as tf

        kinds = {device.device_type for device in tf.config.list_logical_devices()}
        return steps if kinds & {"GPU", "TPU"} else 1
    return 1


class ResidentModel(keras.Model):
    """A functional model whose training step gathers its batch on the device.

    The images stay there as uint8, and `fit` reads rows of indices. Many steps can run
    as one dispatch: a `jax.lax.scan` on JAX, `steps_per_execution` on
    TensorFlow. Losses, metrics and weights are those of a plain `fit` on the same
    batches. Callbacks are called once per dispatch instead of once per batch.
    """

    def fit_rows(self, split, orders, dispatch, **kwargs):
        """Calls `fit` on batches that are given by rows of indices.

        Args:
            split: `Split` to train on; it is copied to the device here.
            orders: int32 `(epochs, steps, batch_size)`, indices of images.
            dispatch: steps per dispatch, a divisor of the steps of an epoch. On
                TensorFlow the model must be compiled with the same number as
                `steps_per_execution`.
            `**kwargs`: passed to `fit`.
        """
        steps = orders.shape[1]
        batches = orders.reshape(-1, orders.shape[2])
        self._build_state(split.labels[batches[0]])
        backend = keras.backend.backend()
        if backend == "tensorflow":
            data = self._rows(split, batches)
        elif backend == "jax" and dispatch > 1:
            data, steps = _dispatches(split, batches, dispatch), steps // dispatch
        else:
            data = ((split.images[row], split.labels[row]) for row in batches)
        self.fit(data, steps_per_epoch=steps, shuffle=False, **kwargs)

    def fit_stream(self, stream, steps, **kwargs):
        """Calls `fit` on batches that come from a `tf.data.Dataset`.

        Args:
            stream: function from `(pipelines, pipeline, replicas)` to an endless
                dataset of `(images, labels)`: the share of one input pipeline, in
                batches for one replica each.
            steps: training steps per epoch of `fit`.
            `**kwargs`: passed to `fit`.
        """
        self._build_state(np.zeros(2, "int32"))
        if keras.backend.backend() == "tensorflow":
            strategy = self.distribute_strategy
            replicas = strategy.num_replicas_in_sync
            self._gather = lambda batch: batch
            data = strategy.distribute_datasets_from_function(
                lambda context: stream(
                    context.num_input_pipelines, context.input_pipeline_id, replicas
                )
            )
        else:
            data = stream(1, 0, 1)
        self.fit(data, steps_per_epoch=steps, shuffle=False, **kwargs)

    def _build_state(self, labels):
        """Creates the variables of metrics, loss and optimizer.

        `fit` would create them by tracing the model on its data, which are indices.
        The shapes of the outputs are known, and these and the labels suffice.
        """
        for part in (self._compile_metrics, self._compile_loss):
            if not part.built:
                part.build(labels, self.output)
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)

    def _rows(self, split, batches):
        """Rows of indices as a `tf.data.Dataset`; `train_step` gathers the images."""
        import tensorflow as tf

        strategy = self.distribute_strategy
        replicas = strategy.num_replicas_in_sync
        # Every replica may need any row, so every device gets a copy of all images.
        devices = strategy.extended.worker_devices if replicas > 1 else [None]
        copies = []
        for device in devices:
            with tf.device(device):
                copies.append((tf.constant(split.images), tf.constant(split.labels)))

        # In a closure, because Keras would track attributes as state of the model.
        def gather(row):
            context = tf.distribute.get_replica_context()
            number = tf.get_static_value(context.replica_id_in_sync_group)
            images, labels = copies[number % len(copies)]
            return tf.gather(images, row), tf.gather(labels, row)

        self._gather = gather

        def shares(context):
            """The rows of the replicas of one worker, batch by batch."""
            each = batches.reshape(len(batches), replicas, -1)
            local = replicas // context.num_input_pipelines
            first = context.input_pipeline_id * local
            each = each[:, first : first + local].reshape(-1, each.shape[-1])
            rows = tf.data.Dataset.from_tensor_slices(each)
            return rows.prefetch(2 * local).with_options(pipeline_options())

        return strategy.distribute_datasets_from_function(shares)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Does nothing: `fit_rows` and `fit_stream` have created all state."""

    def train_step(self, *arguments):
        """Runs one training step, or on JAX one step per row of indices."""
        *state, data = arguments
        if keras.backend.backend() == "tensorflow":
            logs = super().train_step(self._gather(data))
            if self.distribute_strategy.cluster_resolver is None:
                return logs
            # Keras 3 averages the logs of several workers along their first axis, which
            # scalars do not have (keras issue 20585).
            return {name: value[None] for name, value in logs.items()}
        if len(data) == 2:  # a batch
            return super().train_step(*arguments)
        images, labels, rows = data
        step = super().train_step
        return scan_steps(
            lambda state, row: step(state, (images[row], labels[row])), *state, rows
        )


def scan_steps(step, state, rows):
    """Runs training steps over rows of indices in one compiled loop (JAX).

    A loop inside the program removes the overhead of one dispatch per step, and the
    state stays on the device. Metrics accumulate in the state, so the logs of the last
    step cover all steps.

    Args:
        step: function `(state, row)` that returns `(logs, state)`.
        state: state before the first step.
        rows: one row of indices per step.

    Returns:
        `(logs, state)` after the last step.
    """
    import jax

    if len(rows) == 1:  # XLA's CPU compiler is slow even for loops of one step
        return step(state, rows[0])

    def body(state, row):
        logs, state = step(state, row)
        return state, logs

    state, logs = jax.lax.scan(body, state, rows)
    return jax.tree.map(lambda values: values[-1], logs), state


def _dispatches(split, batches, dispatch):
    """Yields images and labels on JAX's device, with the rows of one dispatch."""
    import jax

    images, labels = jax.device_put((split.images, split.labels))
    for start in range(0, len(batches), dispatch):
        yield images, labels, batches[start : start + dispatch]
