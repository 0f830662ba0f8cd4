"""Trains and evaluates the models of a run on a `Dataset`."""

from __future__ import annotations

import functools
import math

import keras
import numpy as np

from resprune_tf.data.augment import RandomCropFlip
from resprune_tf.data.dataset import Split
from resprune_tf.graph.transfer import copy_values
from resprune_tf.system.precision import exact_float32
from resprune_tf.system.progress import tracked_part
from resprune_tf.training.fast_copy import fast_copy
from resprune_tf.training.labels import packed
from resprune_tf.training.recalibration import MIN_BATCH, refresh_statistics
from resprune_tf.training.resident import ResidentModel, steps_per_dispatch
from resprune_tf.training.schedules import PER_STEP
from resprune_tf.training.strategy import Strategy


def make_repeatable() -> None:
    """Makes training on TensorFlow's CPU bit-for-bit repeatable.

    TensorFlow sums the gradients of a tensor with several consumers in the order in
    which they are computed. In a residual network this order, and with it the rounding,
    depends on timing unless operations run one after another. Each operation still uses
    all cores. `tf.config.experimental.enable_op_determinism` does not change the order.
    Other backends are not affected; on a GPU, this is not sufficient. Call it before
    any other use of TensorFlow.

    Raises:
        RuntimeError: if TensorFlow has already started with parallel operations.

    >>> make_repeatable()
    """
    if keras.backend.backend() != "tensorflow":
        return
    from tensorflow.config import threading

    if threading.get_inter_op_parallelism_threads() != 1:
        threading.set_inter_op_parallelism_threads(1)


def check_batches(split, recipe, replicas=1):
    """Raises a ValueError if images do not fill a batch, or replicas cannot divide it.

    Args:
        split: the training split.
        recipe: a `Recipe`.
        replicas: int, replicas among which a batch is divided.
    """
    if len(split) < recipe.batch_size * recipe.parts:
        of_parts, or_parts = "", ""
        if recipe.parts > 1:
            of_parts = f" for each of {recipe.parts} parts"
            or_parts = ", or the parts of an epoch"
        raise ValueError(
            f"A batch needs {recipe.batch_size} images{of_parts}. Received: "
            f"{len(split)} training images. Lower the batch size{or_parts}."
        )
    if recipe.batch_size % replicas:
        raise ValueError(
            f"A batch is divided among {replicas} replicas, so its size must be a "
            f"multiple of that. Received: batch_size={recipe.batch_size}."
        )


def epoch_order(examples, batch_size, seed, epoch):
    """Image indices of an epoch in random order, int32 `(steps, batch_size)`.

    They depend only on the arguments, so that a resumed run has the same batches.
    """
    steps = examples // batch_size
    order = np.random.default_rng((seed, epoch)).permutation(examples)
    return order[: steps * batch_size].astype("int32").reshape(steps, batch_size)


class Trainer:
    """Trains a model by means of a faster copy (`fast_copy`).

    Images in memory are copied to the device, others are streamed. If the recipe
    divides epochs, an epoch of Keras and its callbacks is a part of an epoch.

    Args:
        core: functional model from float pixels (0 to 255) to logits. `fit` writes the
            trained values into it at its end, and not before.
        dataset: a `Dataset`; its `train` split is trained on.
        recipe: a `Recipe`.
        seed: int, seed of the order of the images and of their augmentation.
        dispatch: maximum steps per dispatch. Defaults to `steps_per_dispatch`, or to 1
            if the strategy requires it.
        teacher: a teacher model with the inputs and outputs of `core`; it is not
            changed. Needs `guidance`.
        guidance: a `Guidance`, or None to train on the labels alone.
        strategy: a `Strategy` that divides each batch among devices.

    Attributes:
        model: the compiled `keras.Model` that is trained, from images to logits. Its
            state is what a state file stores.
        steps: training steps of a part.
        recalibrated: number of training images from which the statistics were
            re-estimated after `fit`; 0 if the moving averages were kept.
        correct: dict from split to the images that `measures` found to be classified
            correctly, as in `Round.correct`.

    Raises:
        ValueError: if there are fewer training images than a batch needs, or a batch
            cannot be divided among the replicas.
    """

    def __init__(
        self,
        core,
        dataset,
        recipe,
        seed,
        dispatch=None,
        teacher=None,
        guidance=None,
        strategy=None,
    ):
        self.strategy = strategy or Strategy()
        check_batches(dataset.train, recipe, self.strategy.replicas)
        self.core, self.dataset, self.split = core, dataset, dataset.train
        self.recipe, self.seed = recipe, seed
        self.recalibrated, self.correct = 0, {}
        self.steps = len(dataset.train) // recipe.batch_size // recipe.parts
        self.resident = isinstance(dataset.train, Split)
        most = dispatch or steps_per_dispatch(self.steps)
        if not (self.strategy.many_steps and self.resident):
            most = 1
        # A divisor, so that no dispatch crosses the end of an epoch.
        self.dispatch = max(
            count for count in range(1, most + 1) if self.steps % count == 0
        )
        with self.strategy.scope():
            self._make(teacher, guidance)

    def _make(self, teacher, guidance):
        copy = functools.partial(fast_copy, precision=self.recipe.precision)
        self._fast = copy(self.core)
        pixels, augmented = self._images()
        logits, label_weight = self._fast(augmented), 1.0
        if guidance is not None:
            logits = guidance(logits, teacher, augmented, copy)
            label_weight -= guidance.weight
        self.model = ResidentModel(pixels, logits, name="training")
        self.model.compile(
            optimizer=self.recipe.optimizer(self.total * self.steps),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            loss_weights=[label_weight],
            metrics=["accuracy"],
            steps_per_execution=self.dispatch
            if keras.backend.backend() == "tensorflow"
            else 1,
        )
        self._average = self.strategy.averaging(self._fast)

    @property
    def total(self):
        """Parts of all epochs of the recipe."""
        return self.recipe.epochs * self.recipe.parts

    def _images(self):
        """The input of the model, and the augmented images."""
        dataset = self.dataset
        if not self.resident:  # the stream augments
            pixels = keras.Input(dataset.image_shape, dtype="float32", name="pixels")
            return pixels, pixels
        pixels = keras.Input(dataset.image_shape, dtype="uint8", name="pixels")
        augmented = RandomCropFlip(
            padding=dataset.crop_padding,
            flip=dataset.flip,
            fill=dataset.mean,
            seed=self.seed,
            name="augment",
        )(pixels)
        return pixels, augmented

    def fit(self, initial_epoch=0, callbacks=()):
        """Trains to the end of the recipe.

        Args:
            initial_epoch: number of epochs, or parts of epochs, that are already done.
            callbacks: Keras callbacks; their model is `model`.
        """
        if initial_epoch < self.total:
            settings = {
                "epochs": self.total,
                "initial_epoch": initial_epoch,
                "verbose": 0,
                "callbacks": [
                    *self._schedule(),
                    # Before callbacks that may save the averaged statistics.
                    keras.callbacks.LambdaCallback(
                        on_epoch_end=lambda part, logs: self._average()
                    ),
                    *callbacks,
                ],
            }
            with self.strategy.scope():
                if self.resident:
                    orders = self._orders(initial_epoch)
                    self.model.fit_rows(self.split, orders, self.dispatch, **settings)
                else:
                    stream = self._stream(initial_epoch)
                    self.model.fit_stream(stream, self.steps, **settings)
        copy_values(self._fast, self.core)
        self.recalibrated = refresh_statistics(
            self.core,
            self.dataset,
            self.total * self.steps,
            max(MIN_BATCH, self.recipe.batch_size),
            self.seed,
        )

    def _schedule(self):
        """The callbacks that change the learning rate from epoch to epoch."""
        recipe = self.recipe
        if recipe.schedule in PER_STEP:
            return []
        return [
            keras.callbacks.LearningRateScheduler(
                lambda part, _: recipe.learning_rate_at(part // recipe.parts)
            )
        ]

    def measures(self):
        """Returns the mean loss and accuracy of `core` on validation and test split."""
        measured = {}
        for name in ("validation", "test"):
            logits, labels = predict(self.core, getattr(self.dataset, name))
            values = loss_and_accuracy(logits, labels)
            measured[name] = dict(zip(("loss", "accuracy"), values, strict=True))
            self.correct[name] = packed(logits.argmax(axis=-1), labels)
        return measured

    def _orders(self, done):
        """Image indices of the remaining parts, int32 `(parts, steps, batch_size)`."""
        parts = self.recipe.parts
        orders = [
            epoch_order(len(self.split), self.recipe.batch_size, self.seed, epoch)
            for epoch in range(done // parts, self.recipe.epochs)
        ]
        rows = np.stack(orders)[:, : parts * self.steps]
        return rows.reshape(-1, self.steps, rows.shape[-1])[done % parts :]

    def _stream(self, done):
        """Function from `(pipelines, pipeline, replicas)` to the remaining batches."""

        def stream(pipelines, pipeline, replicas):
            return self.split.training(
                self.recipe.batch_size,
                self.seed,
                steps_per_epoch=self.recipe.parts * self.steps,
                first_step=done * self.steps,
                replicas=replicas,
                pipelines=pipelines,
                pipeline=pipeline,
            )

        return stream


# Pixels per evaluation step: 500 images of CIFAR, 63 of ImageNet.
_PIXELS = 3_200_000


def evaluate(core, split, batch_size=None):
    """Returns the mean loss and the accuracy (a fraction) of a model on a split.

    Args:
        core: model from float pixels (0 to 255) to logits.
        split: a `Split` or `StreamedSplit`.
        batch_size: images per step. Defaults to 500, or fewer if they are large.
    """
    return loss_and_accuracy(*predict(core, split, batch_size))


def predict(core, split, batch_size=None):
    """Logits `(images, classes)` and labels of a split; arguments as of `evaluate`."""
    if batch_size is None:
        height, width, _ = split.image_shape
        batch_size = min(500, max(1, _PIXELS // (height * width)))
    logits, labels = [], []
    with exact_float32():
        for images, some in tracked_part(
            split.batches(batch_size),
            "Measuring the accuracy, batch",
            math.ceil(len(split) / batch_size),
        ):
            logits.append(core.predict_on_batch(images))
            labels.append(some)
    return np.concatenate(logits), np.concatenate(labels)


def loss_and_accuracy(logits, labels):
    """Mean cross entropy and accuracy of logits `(images, classes)`."""
    losses = keras.losses.sparse_categorical_crossentropy(
        labels, logits, from_logits=True
    )
    accuracy = np.mean(logits.argmax(axis=-1) == labels)
    return float(keras.ops.mean(losses)), float(accuracy)
