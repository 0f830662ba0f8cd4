"""Recalibration: re-estimates BatchNormalization statistics from examples."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
from keras import ops

from resprune_tf import graph
from resprune_tf.data.augment import RandomCropFlip
from resprune_tf.data.dataset import Dataset, Split
from resprune_tf.data.examples import (
    batch_count,
    batch_length,
    batches,
    check_images,
)
from resprune_tf.data.fit_data import FitData
from resprune_tf.system.counts import check_counts
from resprune_tf.system.progress import say, tracked_part

# More examples change the accuracy of CIFAR models by less than 0.1 percentage points.
EXAMPLES = 4096
# The statistics of smaller batches deviate too much from those of the data set.
MIN_BATCH = 128
# Moving averages are kept if at most this share of them predates the training.
STALE = 0.01


def recalibrate(
    model: keras.Model,
    data: Any,
    batch_size: int = 256,
    examples: int = EXAMPLES,
    seed: int = 0,
) -> keras.Model:
    """Copies a model and re-estimates its BatchNormalization statistics from `data`.

    After a removal, a model still normalizes with the statistics of the unpruned model.
    This may cost more accuracy than the removal itself. Here every BatchNormalization
    normalizes each batch by its own mean and variance, as in training, and stores the
    mean and variance of all elements, pooled over the batches without momentum. Layers
    that augment images are active too, as the training statistics include augmentation.
    All other layers run in inference mode, so dropout is off. With a single batch the
    statistics are exact; with smaller batches those after the first BatchNormalization
    deviate slightly.

    Args:
        model: a functional `keras.Model`; it is not changed.
        data: the training data: a `Dataset`, whose images are augmented as in
            training; `FitData`, read as `fit` reads them; or inputs of the model, an
            array `(examples, ...)` or a list, tuple or dict of arrays, all of which are
            used without augmentation outside the model.
        batch_size: int, examples per step; pipelines keep their own batches, and fewer
            examples of an array are used if the model needs too much memory for them.
        examples: int, number of examples to use of a `Dataset` or of `FitData`.
        seed: int, seed of the choice of examples and of their augmentation.

    Returns:
        A new functional `keras.Model`, not compiled, that shares no layer with `model`.

    Raises:
        ValueError: if `batch_size` or the number of examples is below 1, or if a
            BatchNormalization is inside a layer that is not a functional model, where
            it cannot be replaced.
        TypeError: if `model` is not functional.

    Reference: Li et al., EagleEye: Fast Sub-net Evaluation for Efficient Neural Network
    Pruning, arXiv:2007.02491, adaptive batch normalization.

    >>> smaller = rp.recalibrate(rp.remove_units(model, ["add_3"]), images)
    """
    graph.check_functional(model, "recalibrate")
    check_counts(batch_size=batch_size, examples=examples)
    copy = graph.rebuild(model)
    recalibration = Recalibration(copy, seed=seed)
    if isinstance(data, (Dataset, FitData)):
        recalibration.run_on(training_batches(data, batch_size, examples, seed))
    else:
        recalibration.run(data, batch_size)
    return copy


def training_batches(data, batch_size=256, examples=EXAMPLES, seed=0):
    """Yields batches of inputs as in training: in random order, and augmented.

    Args:
        data: a `Dataset` or `FitData`.
        batch_size: inputs per batch; pipelines keep their own batches.
        examples: number of inputs; a few more if the last batch is not divided.
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
        count += batch_length(inputs)
        if count >= examples:
            return


def _images(dataset, batch_size, examples, seed):
    split = dataset.train
    count = min(examples, len(split))
    if not isinstance(split, Split):  # a `StreamedSplit`, which augments by itself
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
    """The share of a model's moving statistics that predates its last training.

    Args:
        model: a functional `keras.Model`.
        steps: steps of that training; each multiplies the share by the momentum.

    Returns:
        The largest share of all trainable BatchNormalizations; 0.0 without any.
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
    """Whether a model has BatchNormalization statistics other than the initial ones."""
    return any(
        np.any(ops.convert_to_numpy(layer.moving_mean))
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    )


def refresh_statistics(model, data, steps: int, batch_size: int, seed: int) -> int:
    """Re-estimates the statistics of a model if its training was short.

    Frozen layers keep their statistics, because their weights were trained with them.
    If a layer cannot be recalibrated, a warning is issued and nothing changes.

    Args:
        model: a functional `keras.Model`; its statistics are set.
        data: a `Dataset` or `FitData`.
        steps: steps of its training.
        batch_size: examples per step.
        seed: int.

    Returns:
        Number of examples used; 0 if the moving averages are kept.
    """
    if steps == 0 or stale_share(model, steps) <= STALE:
        return 0
    say("Re-estimating the BatchNormalization statistics ...")
    try:
        recalibration = Recalibration(model, frozen=False, seed=seed)
    except ValueError as error:
        warnings.warn(
            f"{error} The moving averages of the training are kept. After only {steps} "
            "steps they may be inaccurate.",
            stacklevel=2,
        )
        return 0
    return recalibration.run_on(training_batches(data, batch_size, seed=seed))


class Recalibration:
    """Estimates the BatchNormalization statistics of one model, repeatedly.

    Args:
        model: a functional `keras.Model`; `run` sets its moving statistics.
        frozen: whether to include layers that are not trainable.
        seed: int, seed of layers that augment.

    Attributes:
        recorder: the model that runs on the images, with copies of the layers of
            `model`. Later changes of `model` must be applied to it too.

    Raises:
        ValueError: as for `recalibrate`.
    """

    def __init__(self, model, frozen=True, seed=0):
        self._frozen, self._seed = frozen, seed
        self._augmenting = []
        self._pools = []  # (a BatchNormalization of `model`, its `_Pool`)
        self.recorder = self._recording(model)
        found = {id(layer) for layer, _ in self._pools}
        if hidden := [
            layer.name
            for layer in model._flatten_layers()
            if self._is_estimated(layer) and id(layer) not in found
        ]:
            raise ValueError(
                f"BatchNormalization {', '.join(hidden)} of '{model.name}' cannot be "
                "recalibrated: it is inside a layer that is not a functional model. "
                "`expand` replaces such a layer by its contents."
            )

    def run(self, images, batch_size=256) -> int:
        """Sets the moving statistics of the model to those of `images`."""
        check_images(images, batch_size)
        batch_size = graph.fitting_batch(self.recorder, images, batch_size)
        number = batch_count(images, batch_size)
        return self.run_on(batches(images, batch_size), number=number)

    def run_on(self, inputs, outputs=None, number=None) -> int:
        """Sets the moving statistics to those of batches of inputs.

        Args:
            inputs: iterable of batches.
            outputs: list, to which the outputs for each batch are appended.
            number: number of batches, for the report of progress; None if unknown.

        Returns:
            Number of examples used; 0 if no BatchNormalization is estimated.
        """
        for _, pool in self._pools:
            pool.reset()
        for place, layer in enumerate(self._augmenting):
            layer.restart((self._seed, place))
        count = 0
        if self._pools:
            text = "Re-estimating the BatchNormalization statistics, batch"
            for batch in tracked_part(inputs, text, number):
                found = graph.run(self.recorder, batch)
                if outputs is not None:
                    outputs.append(found)
                count += batch_length(batch)
        for layer, pool in self._pools:
            layer.moving_mean.assign(ops.convert_to_numpy(pool.mean).copy())
            layer.moving_variance.assign(ops.convert_to_numpy(pool.variance).copy())
            if getattr(layer, "renorm", False):
                deviation = np.sqrt(ops.convert_to_numpy(pool.variance) + layer.epsilon)
                layer.renorm_mean.assign(ops.convert_to_numpy(pool.mean).copy())
                layer.renorm_stddev.assign(deviation)
                layer.moving_stddev.assign(deviation.copy())
        return count

    def _is_estimated(self, layer):
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        return is_norm and (self._frozen or layer.trainable)

    def _recording(self, model):
        wrapped = {}

        def clone(operation):
            if self._is_estimated(operation):
                wrapped[id(operation)] = _Pool(graph.clone_operation(operation))
                self._pools.append((operation, wrapped[id(operation)]))
                return wrapped[id(operation)]
            if isinstance(operation, _AUGMENTING):
                wrapped[id(operation)] = _Augment(graph.clone_operation(operation))
                self._augmenting.append(wrapped[id(operation)])
                return wrapped[id(operation)]
            return graph.clone_operation(operation)

        def copy(old, new):
            if id(old) not in wrapped:
                graph.copy_state(old, new)
                return
            graph.copy_state(old, new.inner)
            # A frozen BatchNormalization does not use batch statistics, and one with
            # `renorm` corrects them by its moving averages.
            new.inner.trainable = True
            new.inner.renorm = False

        return graph.rebuild(model, clone=clone, copy=copy)


# Layers that augment images in training.
_AUGMENTING = tuple(
    getattr(keras.layers, name)
    for name in dir(keras.layers)
    if name.startswith("Random") or name == "AugMix"
) + (RandomCropFlip,)


class _Augment(keras.layers.Layer):
    """Wraps a layer so that it augments outside training too."""

    def __init__(self, inner):
        super().__init__(name=inner.name, dtype=inner.dtype_policy)
        self.inner = inner

    def call(self, inputs):
        return self.inner(inputs, training=True)

    def restart(self, seed):
        """Restarts the random numbers from a seed of two integers."""
        for layer in self._flatten_layers():
            for generator in getattr(layer, "_seed_generators", ()):
                generator.state.assign(np.array(seed, generator.state.dtype))

    def compute_output_spec(self, inputs):
        return self.inner.compute_output_spec(inputs)


class _Pool(keras.layers.Layer):
    """Wraps a BatchNormalization so that it uses batch statistics and pools them.

    Each batch updates the pooled mean and variance by the method of Chan, Golub and
    LeVeque (1979), which is accurate even if the mean is large.
    """

    def __init__(self, inner):
        super().__init__(name=inner.name, dtype=inner.dtype_policy)
        inner.momentum = 0.0  # so its moving statistics are those of the last batch
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

    def compute_output_spec(self, inputs, mask=None):
        # Keras would trace the call under the name of the layer, which TensorFlow
        # refuses if it begins with an underscore.
        return self.inner.compute_output_spec(inputs)

    def reset(self):
        for variable in (self.count, self.mean, self.variance):
            variable.assign(ops.zeros(variable.shape, variable.dtype))
