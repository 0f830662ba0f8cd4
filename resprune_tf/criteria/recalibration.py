"""BatchNormalization statistics estimated anew from images."""

import keras
from keras import ops

from resprune_tf import graph
from resprune_tf.data.examples import batches, check_images


def recalibrate(model, images, batch_size=256):
    """A copy of a model whose BatchNormalization statistics are those of `images`.

    A net that lost a unit still normalizes with the statistics of the net it was.
    Every BatchNormalization here normalizes each batch by the batch's own mean and
    variance, as in training, and keeps the mean and variance of all elements it saw:
    pooled over the batches, without a momentum. All other layers work as at
    inference, so dropout is off. With one batch of all images the statistics are
    exact; smaller batches deviate a little behind the first BatchNormalization.

    Args:
        model: a functional `keras.Model`; it is only read.
        images: `(images, height, width, channels)`, or other arrays that the model
            takes; see `examples.count_images`.
        batch_size: images a step.

    Returns:
        A functional `keras.Model`, not compiled, that shares nothing with `model`.

    Raises:
        ValueError: if there are no images, or if a BatchNormalization lies inside a
            layer that is no functional model, where it cannot be replaced.
        TypeError: if `model` is not functional.

    Reference: adaptive batch normalization in Li et al., EagleEye, arXiv:2007.02491.
    """
    graph.check_functional(model, "recalibrate")
    copy = graph.rebuild(model)
    Recalibration(copy).run(images, batch_size)
    return copy


class Recalibration:
    """Estimates the BatchNormalization statistics of one model, again and again.

    Args:
        model: a functional `keras.Model`; `run` sets its moving statistics.

    Attributes:
        recorder: the model that runs over the images, with copies of the layers of
            `model`. What is changed in `model` later has to be changed here too.

    Raises:
        ValueError: as for `recalibrate`.
    """

    def __init__(self, model):
        self._pools = []  # (a BatchNormalization of `model`, its pool)
        self.recorder = self._recording(model)
        found = {id(layer) for layer, _ in self._pools}
        if hidden := [
            layer.name
            for layer in model._flatten_layers()
            if isinstance(layer, keras.layers.BatchNormalization)
            and id(layer) not in found
        ]:
            raise ValueError(
                f"BatchNormalization {', '.join(hidden)} of '{model.name}' cannot be "
                "recalibrated: it lies inside a layer that is no functional model."
            )

    def run(self, images, batch_size=256):
        """Sets the moving statistics of the model to those of `images`."""
        check_images(images, batch_size)
        for _, pool in self._pools:
            pool.reset()
        if self._pools:
            for batch in batches(images, batch_size):
                self.recorder.predict_on_batch(batch)
        for layer, pool in self._pools:
            layer.moving_mean.assign(ops.convert_to_numpy(pool.mean).copy())
            layer.moving_variance.assign(ops.convert_to_numpy(pool.variance).copy())

    def _recording(self, model):
        pools = {}

        def clone(operation):
            if isinstance(operation, keras.layers.BatchNormalization):
                pools[id(operation)] = _Pool(graph.clone_operation(operation))
                self._pools.append((operation, pools[id(operation)]))
                return pools[id(operation)]
            return graph.clone_operation(operation)

        def copy(old, new):
            if id(old) not in pools:
                graph.copy_state(old, new)
                return
            graph.copy_state(old, new.inner)
            new.inner.trainable = True  # a frozen one would not look at the batch

        return graph.rebuild(model, clone=clone, copy=copy)


class _Pool(keras.layers.Layer):
    """A BatchNormalization at work on batch statistics, which are pooled.

    Pooling adds each batch to the mean and variance so far, which loses no digits
    where the mean is large (Chan, Golub and LeVeque, 1979).
    """

    def __init__(self, inner):
        super().__init__(name=inner.name, dtype=inner.dtype_policy)
        inner.momentum = 0.0  # its moving statistics are those of the last batch
        self.inner = inner

    def build(self, input_shape):
        if not self.inner.built:
            self.inner.build(input_shape)
        shape = self.inner.moving_mean.shape
        options = {"initializer": "zeros", "trainable": False, "autocast": False}
        options["dtype"] = self.inner.moving_mean.dtype
        self.count = self.add_weight(shape=(), name="count", **options)
        self.mean = self.add_weight(shape=shape, name="mean", **options)
        self.variance = self.add_weight(shape=shape, name="variance", **options)

    def call(self, inputs, mask=None):
        outputs = self.inner(inputs, training=True, mask=mask)
        count = ops.cast(ops.size(inputs), self.count.dtype)
        total = self.count + count
        share = count / total
        shift = self.inner.moving_mean - self.mean
        change = self.inner.moving_variance - self.variance
        self.variance.assign(
            self.variance + share * (change + (1 - share) * ops.square(shift))
        )
        self.mean.assign(self.mean + share * shift)
        self.count.assign(total)
        return outputs

    def reset(self):
        for variable in (self.count, self.mean, self.variance):
            variable.assign(ops.zeros(variable.shape, variable.dtype))
