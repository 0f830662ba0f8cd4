"""One compiled fit: how every net of a run is trained and measured."""

import keras
import numpy as np

from resprune_tf.augment import RandomCropFlip
from resprune_tf.fast_copy import copy_values, fast_copy
from resprune_tf.resident import ResidentModel, steps_per_dispatch
from resprune_tf.strategy import Strategy


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


def check_batches(split, recipe, replicas=1):
    """Raises a ValueError if a split has no batch, or replicas cannot share one."""
    if len(split) < recipe.batch_size:
        raise ValueError(
            f"A batch needs {recipe.batch_size} images. Received: {len(split)} "
            "training images. Lower the batch size."
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
    """Trains a model in a fast copy of it, with images resident on the device.

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
        model: the compiled `keras.Model` that is trained, from uint8 images to
            logits: what a state file keeps.

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
        self.steps = len(dataset.train) // recipe.batch_size
        most = dispatch or steps_per_dispatch(self.steps)
        if not self.strategy.many_steps:
            most = 1
        # A divisor, so that no dispatch runs on into the next epoch.
        self.dispatch = max(
            count for count in range(1, most + 1) if self.steps % count == 0
        )
        with self.strategy.scope():
            self._make(teacher, guidance)

    def _make(self, teacher, guidance):
        dataset = self.dataset
        self._fast = fast_copy(self.core, self.recipe.precision)
        pixels = keras.Input(dataset.image_shape, dtype="uint8", name="pixels")
        augmented = RandomCropFlip(
            padding=dataset.crop_padding,
            flip=dataset.flip,
            fill=dataset.mean,
            seed=self.seed,
            name="augment",
        )(pixels)
        logits, label_weight = self._fast(augmented), 1.0
        if guidance is not None:
            teacher = fast_copy(teacher, self.recipe.precision)
            logits = guidance(logits, teacher, augmented)
            label_weight -= guidance.weight
        self.model = ResidentModel(pixels, logits, name="training")
        self.model.compile(
            optimizer=self.recipe.optimizer(),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            loss_weights=[label_weight],
            metrics=["accuracy"],
            steps_per_execution=self.dispatch
            if keras.backend.backend() == "tensorflow"
            else 1,
        )
        self._average = self.strategy.averaging(self._fast)

    def fit(self, initial_epoch=0, callbacks=()):
        """Trains from `initial_epoch` (epochs already done) to the recipe's last.

        Args:
            initial_epoch: epochs already done.
            callbacks: Keras callbacks; the model they see is `model`.
        """
        if initial_epoch < self.recipe.epochs:
            with self.strategy.scope():
                self.model.fit_rows(
                    self.split,
                    self._orders(range(initial_epoch, self.recipe.epochs)),
                    self.dispatch,
                    epochs=self.recipe.epochs,
                    initial_epoch=initial_epoch,
                    verbose=0,
                    callbacks=[
                        keras.callbacks.LearningRateScheduler(
                            lambda epoch, _: self.recipe.learning_rate_at(epoch)
                        ),
                        # First, as the others may save what it averages.
                        keras.callbacks.LambdaCallback(
                            on_epoch_end=lambda epoch, logs: self._average()
                        ),
                        *callbacks,
                    ],
                )
        copy_values(self._fast, self.core)

    def _orders(self, epochs):
        return np.stack(
            [
                epoch_order(len(self.split), self.recipe.batch_size, self.seed, epoch)
                for epoch in epochs
            ]
        )


def evaluate(core, split, batch_size=500):
    """Mean loss and accuracy (a fraction) of a model on a split.

    Args:
        core: model from float pixels (0 to 255) to logits.
        split: a `Split`.
        batch_size: images at a time.
    """
    logits = np.concatenate(
        [
            core.predict_on_batch(
                split.images[start : start + batch_size].astype("float32")
            )
            for start in range(0, len(split), batch_size)
        ]
    )
    return measures(logits, split.labels)


def measures(logits, labels):
    """Mean cross entropy and accuracy of logits `(images, classes)`."""
    losses = keras.losses.sparse_categorical_crossentropy(
        labels, logits, from_logits=True
    )
    accuracy = np.mean(logits.argmax(axis=-1) == labels)
    return float(keras.ops.mean(losses)), float(accuracy)
