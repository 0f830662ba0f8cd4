"""One compiled fit: how every net of a run is trained and measured."""

from __future__ import annotations

import functools

import keras
import numpy as np

from resprune_tf.data.augment import RandomCropFlip
from resprune_tf.data.dataset import Split
from resprune_tf.graph.transfer import copy_values
from resprune_tf.training.fast_copy import fast_copy
from resprune_tf.training.labels import packed
from resprune_tf.training.recalibration import MIN_BATCH, refresh_statistics
from resprune_tf.training.resident import ResidentModel, steps_per_dispatch
from resprune_tf.training.schedules import PER_STEP
from resprune_tf.training.strategy import Strategy


def make_repeatable() -> None:
    """Makes training on TensorFlow's CPU repeatable to the last bit.

    TensorFlow adds up the gradients of a tensor with several consumers in the order in
    which their buffers come free. In a residual net that order, and with it the
    rounding, depends on timing unless operations run one after another; each of them
    still uses all cores. `tf.config.experimental.enable_op_determinism` does not change
    that. Other backends need nothing; on a GPU more than this is needed.

    Raises:
        RuntimeError: if TensorFlow has already begun to run operations at a time.
    """
    if keras.backend.backend() != "tensorflow":
        return
    from tensorflow.config import threading

    if threading.get_inter_op_parallelism_threads() != 1:
        threading.set_inter_op_parallelism_threads(1)


def check_batches(split, recipe, replicas=1):
    """Raises a ValueError if an epoch has no step, or replicas cannot share a batch."""
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
            f"A batch is shared among {replicas} replicas, so its size must be a "
            f"multiple of that. Received: batch_size={recipe.batch_size}."
        )


def epoch_order(examples, batch_size, seed, epoch):
    """Image indices of an epoch, int32 `(steps, batch_size)`.

    A pure function of its arguments, so that a resumed run sees the same batches.
    """
    steps = examples // batch_size
    order = np.random.default_rng((seed, epoch)).permutation(examples)
    return order[: steps * batch_size].astype("int32").reshape(steps, batch_size)


class Trainer:
    """Trains a model in a fast copy of it.

    Images in memory are put on the device, others are streamed. What Keras and its
    callbacks take for an epoch is a part of one, if the recipe divides epochs.

    Args:
        core: functional model from float pixels (0 to 255) to logits. It holds the
            trained values once `fit` has come to its end, and is as it was till then.
        dataset: a `Dataset`; its `train` split is trained on.
        recipe: a `Recipe`.
        seed: int; of the order of the images and of their augmentation.
        dispatch: most training steps to give the device at a time; by default what
            suits it (see `steps_per_dispatch`), and 1 where a strategy allows no more.
        teacher: model like `core`, whose logits for the same augmented images are to
            be approached; it is only read. Needs `guidance`.
        guidance: `Guidance`: how much, or None for training by the labels alone.
        strategy: a `Strategy` that shares each batch among devices.

    Attributes:
        model: the compiled `keras.Model` that is trained, from images to logits: what
            a state file keeps.
        steps: training steps of a part.
        recalibrated: training images from which the statistics were estimated anew
            after `fit`; 0 if they are those of the training.
        correct: what `measures` found of single images, as in `Round.correct`.

    Raises:
        ValueError: if there are fewer training images than a batch needs, or a batch
            cannot be shared.
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
        # A divisor, so that no dispatch runs on into the next epoch.
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
        """What the model takes, and the images that its net is to see."""
        dataset = self.dataset
        if not self.resident:  # augmented on the way
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
            initial_epoch: epochs, or parts of epochs, that are already done.
            callbacks: Keras callbacks; the model they see is `model`.
        """
        if initial_epoch < self.total:
            settings = {
                "epochs": self.total,
                "initial_epoch": initial_epoch,
                "verbose": 0,
                "callbacks": [
                    *self._schedule(),
                    # First, as the others may save what it averages.
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
        """What changes the learning rate from epoch to epoch."""
        recipe = self.recipe
        if recipe.schedule in PER_STEP:
            return []
        return [
            keras.callbacks.LearningRateScheduler(
                lambda part, _: recipe.learning_rate_at(part // recipe.parts)
            )
        ]

    def measures(self):
        """Mean loss and accuracy of `core` on validation and test split, by name."""
        measured = {}
        for name in ("validation", "test"):
            logits, labels = predict(self.core, getattr(self.dataset, name))
            values = loss_and_accuracy(logits, labels)
            measured[name] = dict(zip(("loss", "accuracy"), values, strict=True))
            self.correct[name] = packed(logits.argmax(axis=-1), labels)
        return measured

    def _orders(self, done):
        """Rows of indices of the parts to come, int32 `(parts, steps, batch_size)`."""
        parts = self.recipe.parts
        orders = [
            epoch_order(len(self.split), self.recipe.batch_size, self.seed, epoch)
            for epoch in range(done // parts, self.recipe.epochs)
        ]
        rows = np.stack(orders)[:, : parts * self.steps]
        return rows.reshape(-1, self.steps, rows.shape[-1])[done % parts :]

    def _stream(self, done):
        """A function from `(pipelines, pipeline, replicas)` to the batches to come."""

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


# Pixels of the images that are measured at a time: 500 of CIFAR, 63 of ImageNet.
_PIXELS = 3_200_000


def evaluate(core, split, batch_size=None):
    """Mean loss and accuracy (a fraction) of a model on a split.

    Args:
        core: model from float pixels (0 to 255) to logits.
        split: a `Split` or `StreamedSplit`.
        batch_size: images at a time; by default 500 or what memory is likely to hold.
    """
    return loss_and_accuracy(*predict(core, split, batch_size))


def predict(core, split, batch_size=None):
    """Logits `(images, classes)` and labels of a split; arguments as of `evaluate`."""
    if batch_size is None:
        height, width, _ = split.image_shape
        batch_size = min(500, max(1, _PIXELS // (height * width)))
    logits, labels = [], []
    for images, some in split.batches(batch_size):
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
