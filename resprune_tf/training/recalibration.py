"""BatchNormalization statistics estimated anew from examples."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
from keras import ops

from resprune_tf import graph
from resprune_tf.data.augment import RandomCropFlip
from resprune_tf.data.dataset import Dataset, Split
from resprune_tf.data.examples import batches, check_images
from resprune_tf.data.fit_data import FitData

# Of a data set; more of them change the accuracy of CIFAR's nets by less than 0.1 %.
EXAMPLES = 4096
# Of its statistics, a batch that is normalized by its own deviates too much if smaller.
MIN_BATCH = 128
# Moving averages are trusted once this share of them, or less, is from before.
STALE = 0.01


def recalibrate(
    model: keras.Model,
    data: Any,
    batch_size: int = 256,
    examples: int = EXAMPLES,
    seed: int = 0,
) -> keras.Model:
    """A copy of a model whose BatchNormalization statistics are those of `data`.

    A model that lost a unit still normalizes with the statistics of the model it was,
    which costs more accuracy than the removal itself. Here every BatchNormalization
    normalizes each batch by the batch's own mean and variance, as in training, and
    keeps the mean and variance of all elements that it saw: pooled over the batches,
    without a momentum. Layers that augment images do so, too, because statistics of
    images that are not augmented are not those of the training. All other layers work
    as at inference, so dropout is off. With one batch of all examples the statistics
    are exact; smaller batches deviate a little behind the first BatchNormalization.

    Args:
        model: a functional `keras.Model`; it is only read.
        data: what it was trained on: a `Dataset`, whose training images are augmented
            as in training; `FitData`, whose training data are taken as `fit` takes
            them; or inputs of the model, an array `(examples, ...)` or a list, tuple
            or dict of them, which are all used as they are.
        batch_size: examples a step; pipelines come in batches.
        examples: how many of a `Dataset` or of `FitData` to look at.
        seed: int, of the choice of the examples and of their augmentation.

    Returns:
        A functional `keras.Model`, not compiled, that shares nothing with `model`.

    Raises:
        ValueError: if there are no examples, or if a BatchNormalization lies inside a
            layer that is no functional model, where it cannot be replaced.
        TypeError: if `model` is not functional.

    Reference: adaptive batch normalization in Li et al., EagleEye, arXiv:2007.02491.

    >>> shorter = rp.recalibrate(rp.remove_units(model, ["add_3"]), images)
    """
    graph.check_functional(model, "recalibrate")
    copy = graph.rebuild(model)
    recalibration = Recalibration(copy, seed=seed)
    if isinstance(data, (Dataset, FitData)):
        recalibration.run_on(training_batches(data, batch_size, examples, seed))
    else:
        recalibration.run(data, batch_size)
    return copy


def training_batches(data, batch_size=256, examples=EXAMPLES, seed=0):
    """Batches of inputs as a training sees them: in random order, and augmented.

    Args:
        data: a `Dataset` or `FitData`.
        batch_size: inputs a batch, except of pipelines.
        examples: how many, or a few more where batches come whole.
        seed: int.

    Yields:
        Inputs of a model.
    """
    if isinstance(data, Dataset):
        yield from _images(data, batch_size, examples, seed)
        return
    split = data.splits["train"]
    count = 0
    for batch in split.sample(batch_size, seed):
        inputs = batch[0] if isinstance(batch, (tuple, list)) else batch
        yield inputs
        count += len(keras.tree.flatten(inputs)[0])
        if count >= examples:
            return


def _images(dataset, batch_size, examples, seed):
    split = dataset.train
    count = min(examples, len(split))
    if not isinstance(split, Split):  # augmented on the way
        steps = max(1, count // batch_size)
        size = min(batch_size, len(split))
        stream = split.training(size, seed, steps_per_epoch=steps).take(steps)
        yield from (images for images, _ in stream.as_numpy_iterator())
        return
    augment = RandomCropFlip(
        padding=dataset.crop_padding, flip=dataset.flip, fill=dataset.mean, seed=seed
    )
    order = np.random.default_rng(seed).permutation(len(split))[:count]
    for start in range(0, count, batch_size):
        images = split.images[np.sort(order[start : start + batch_size])]
        yield ops.convert_to_numpy(augment(images, training=True))


def stale_share(model, steps: int) -> float:
    """How much of a model's moving statistics is from before its last training.

    Args:
        model: a functional `keras.Model`.
        steps: of the training, each of which multiplies that share by the momentum.

    Returns:
        The largest share of all BatchNormalizations that trained; 0.0 if none did.
    """
    return max(
        (
            layer.momentum**steps
            for layer in model._flatten_layers()
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        ),
        default=0.0,
    )


def has_statistics(model) -> bool:
    """Whether a BatchNormalization of a model has seen a batch."""
    return any(
        np.any(ops.convert_to_numpy(layer.moving_mean))
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    )


def refresh_statistics(model, data, steps: int, batch_size: int, seed: int) -> int:
    """Estimates the statistics of a trained model anew where its training was short.

    Only those of layers that were trained: frozen ones belong to weights that learned
    with their statistics as they are.

    Args:
        model: a functional `keras.Model`; its statistics are set.
        data: a `Dataset` or `FitData`.
        steps: that it trained.
        batch_size: examples a step.
        seed: int.

    Returns:
        How many examples were looked at; 0 if the moving averages can be trusted.

    Raises:
        ValueError: as for `recalibrate`.
    """
    if steps == 0 or stale_share(model, steps) <= STALE:
        return 0
    try:
        recalibration = Recalibration(model, frozen=False, seed=seed)
    except ValueError as error:
        warnings.warn(
            f"{error} Its moving averages are used as they are, and after {steps} "
            "steps they may lag behind.",
            stacklevel=2,
        )
        return 0
    return recalibration.run_on(training_batches(data, batch_size, seed=seed))


class Recalibration:
    """Estimates the BatchNormalization statistics of one model, again and again.

    Args:
        model: a functional `keras.Model`; `run` sets its moving statistics.
        frozen: whether those of layers that are not trainable, too.
        seed: int, of layers that augment.

    Attributes:
        recorder: the model that runs over the images, with copies of the layers of
            `model`. What is changed in `model` later has to be changed here too.

    Raises:
        ValueError: as for `recalibrate`.
    """

    def __init__(self, model, frozen=True, seed=0):
        self._frozen, self._seed = frozen, seed
        self._augmenting = []
        self._pools = []  # (a BatchNormalization of `model`, its pool)
        self.recorder = self._recording(model)
        found = {id(layer) for layer, _ in self._pools}
        if hidden := [
            layer.name
            for layer in model._flatten_layers()
            if self._is_estimated(layer) and id(layer) not in found
        ]:
            raise ValueError(
                f"BatchNormalization {', '.join(hidden)} of '{model.name}' cannot be "
                "recalibrated: it lies inside a layer that is no functional model."
            )

    def run(self, images, batch_size=256) -> int:
        """Sets the moving statistics of the model to those of `images`."""
        check_images(images, batch_size)
        return self.run_on(batches(images, batch_size))

    def run_on(self, inputs) -> int:
        """Sets the moving statistics to those of batches; returns their examples."""
        for _, pool in self._pools:
            pool.reset()
        for number, layer in enumerate(self._augmenting):
            layer.restart((self._seed, number))
        count = 0
        if self._pools:
            for batch in inputs:
                self._run(batch)
                count += len(keras.tree.flatten(batch)[0])
        for layer, pool in self._pools:
            layer.moving_mean.assign(ops.convert_to_numpy(pool.mean).copy())
            layer.moving_variance.assign(ops.convert_to_numpy(pool.variance).copy())
        return count

    def _run(self, batch):
        if keras.backend.backend() == "tensorflow":
            # Compiling takes longer than the few batches do without.
            self.recorder(batch, training=False)
        else:
            self.recorder.predict_on_batch(batch)

    def _is_estimated(self, layer):
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        return is_norm and (self._frozen or layer.trainable)

    def _recording(self, model):
        pools = {}

        def clone(operation):
            if self._is_estimated(operation):
                pools[id(operation)] = _Pool(graph.clone_operation(operation))
                self._pools.append((operation, pools[id(operation)]))
                return pools[id(operation)]
            if isinstance(operation, _AUGMENTING):
                pools[id(operation)] = _Augment(graph.clone_operation(operation))
                self._augmenting.append(pools[id(operation)])
                return pools[id(operation)]
            return graph.clone_operation(operation)

        def copy(old, new):
            if id(old) not in pools:
                graph.copy_state(old, new)
                return
            graph.copy_state(old, new.inner)
            new.inner.trainable = True  # a frozen one would not look at the batch

        return graph.rebuild(model, clone=clone, copy=copy)


# Keras's layers that change images at random while training.
_AUGMENTING = tuple(
    getattr(keras.layers, name)
    for name in dir(keras.layers)
    if name.startswith("Random") or name == "AugMix"
) + (RandomCropFlip,)


class _Augment(keras.layers.Layer):
    """A layer that augments outside of training, too."""

    def __init__(self, inner):
        super().__init__(name=inner.name, dtype=inner.dtype_policy)
        self.inner = inner

    def call(self, inputs):
        return self.inner(inputs, training=True)

    def restart(self, seed):
        """Begins with the random numbers of a seed, two integers."""
        for layer in self._flatten_layers():
            for generator in getattr(layer, "_seed_generators", ()):
                generator.state.assign(np.array(seed, generator.state.dtype))

    def compute_output_spec(self, inputs):
        return self.inner.compute_output_spec(inputs)


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
