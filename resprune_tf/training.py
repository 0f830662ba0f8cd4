"""One recipe, one compiled fit: how every net of a run is trained and measured."""

import dataclasses

import keras
import numpy as np

from resprune_tf.augment import RandomCropFlip
from resprune_tf.optimizers import L2SGD

# The paper divides the learning rate at epochs 81 and 122 of 200.
_DROPS = (81 / 200, 122 / 200)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a net is trained. The defaults are the paper's for CIFAR.

    Args:
        epochs: passes over the training images.
        batch_size: images a step; what remains of an epoch's last step is left out,
            other images each epoch.
        learning_rate: of the first epochs.
        momentum, nesterov: of SGD.
        l2: weight decay, on every weight (see `L2SGD`).
        milestones: epochs, counted from 1, from which on the learning rate is ten
            times smaller. Defaults to 81 and 122 of 200, scaled to `epochs`.

    Raises:
        ValueError: if a value is out of range.
    """

    epochs: int = 200
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    l2: float = 1e-4
    milestones: tuple[int, ...] | None = None

    def __post_init__(self):
        if self.milestones is None:
            drops = tuple(max(1, round(self.epochs * drop)) for drop in _DROPS)
            object.__setattr__(self, "milestones", drops)
        for name, valid, expected in (
            ("epochs", self.epochs >= 1, ">= 1"),
            ("batch_size", self.batch_size >= 1, ">= 1"),
            ("learning_rate", self.learning_rate > 0, "> 0"),
            ("momentum", 0 <= self.momentum < 1, "in [0, 1)"),
            ("l2", self.l2 >= 0, ">= 0"),
        ):
            if not valid:
                raise ValueError(
                    f"`{name}` must be {expected}. Received: {getattr(self, name)}."
                )

    def with_epochs(self, epochs):
        """The same recipe with its milestones scaled to other `epochs`."""
        return dataclasses.replace(self, epochs=epochs, milestones=None)

    def learning_rate_at(self, epoch):
        """Learning rate of an epoch, counted from 0."""
        passed = sum(epoch + 1 >= milestone for milestone in self.milestones)
        return self.learning_rate * 0.1**passed

    def optimizer(self):
        """A fresh optimizer at the initial learning rate."""
        return L2SGD(
            self.learning_rate,
            l2=self.l2,
            momentum=self.momentum,
            nesterov=self.nesterov and self.momentum > 0,
        )


def make_repeatable():
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


def training_model(core, dataset, recipe, seed):
    """Wraps a model so that one compiled step augments, normalises and trains.

    Args:
        core: functional model from float pixels (0 to 255) to logits; it is trained
            in place.
        dataset: a `Dataset`; says how its images may be augmented.
        recipe: a `Recipe`.
        seed: int; of the augmentation.

    Returns:
        A compiled `keras.Model` from uint8 images to `core`'s logits.
    """
    pixels = keras.Input(dataset.image_shape, dtype="uint8", name="pixels")
    augmented = RandomCropFlip(
        padding=dataset.crop_padding,
        flip=dataset.flip,
        fill=dataset.mean,
        seed=seed,
        name="augment",
    )(pixels)
    model = keras.Model(pixels, core(augmented), name="training")
    model.compile(
        optimizer=recipe.optimizer(),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def epoch_order(examples, batch_size, seed, epoch):
    """Image indices of an epoch, int32 `(steps, batch_size)`.

    A pure function of its arguments, so that a resumed run sees the same batches.
    """
    steps = examples // batch_size
    order = np.random.default_rng((seed, epoch)).permutation(examples)
    return order[: steps * batch_size].astype("int32").reshape(steps, batch_size)


def check_batches(split, recipe):
    """Raises a ValueError if a split is smaller than a batch."""
    if len(split) < recipe.batch_size:
        raise ValueError(
            f"A batch needs {recipe.batch_size} images. Received: {len(split)} "
            "training images. Lower the batch size."
        )


def fit(model, split, recipe, seed, initial_epoch=0, callbacks=()):
    """Trains a `training_model` from `initial_epoch` to the recipe's last epoch.

    Args:
        model: from `training_model`.
        split: `Split` to train on.
        recipe: a `Recipe`.
        seed: int; of the order of the images.
        initial_epoch: epochs already done.
        callbacks: Keras callbacks.

    Raises:
        ValueError: if the split is smaller than a batch.
    """
    check_batches(split, recipe)
    orders = [
        epoch_order(len(split), recipe.batch_size, seed, epoch)
        for epoch in range(initial_epoch, recipe.epochs)
    ]
    if orders:
        model.fit(
            _batches(split, np.concatenate(orders)),
            epochs=recipe.epochs,
            initial_epoch=initial_epoch,
            steps_per_epoch=len(orders[0]),
            shuffle=False,  # the orders are shuffled
            verbose=0,
            callbacks=[
                keras.callbacks.LearningRateScheduler(
                    lambda epoch, _: recipe.learning_rate_at(epoch)
                ),
                *callbacks,
            ],
        )


def evaluate(model, split, batch_size=500):
    """Mean loss and accuracy (a fraction) of a `training_model` on a split."""
    starts = range(0, len(split), batch_size)
    orders = [
        np.arange(start, min(start + batch_size, len(split)), dtype="int32")
        for start in starts
    ]
    values = model.evaluate(
        _batches(split, orders), steps=len(orders), verbose=0, return_dict=True
    )
    # The metric is a float32; a count of images is exact.
    return values["loss"], round(values["accuracy"] * len(split)) / len(split)


def _batches(split, orders):
    """Batches of images and labels by rows of indices, as Keras likes them best."""
    if keras.backend.backend() != "tensorflow":
        return ((split.images[order], split.labels[order]) for order in orders)
    import tensorflow as tf

    images, labels = tf.constant(split.images), tf.constant(split.labels)
    if isinstance(orders, list):  # rows of different length
        rows = tf.data.Dataset.from_generator(
            lambda: iter(orders), output_signature=tf.TensorSpec([None], tf.int32)
        )
    else:
        rows = tf.data.Dataset.from_tensor_slices(orders)
    # tf.data's autotuner delays the end of an iteration by up to a minute, and has
    # nothing to tune here.
    options = tf.data.Options()
    options.autotune.enabled = False
    return (
        rows.map(lambda row: (tf.gather(images, row), tf.gather(labels, row)))
        .prefetch(2)
        .with_options(options)
    )
