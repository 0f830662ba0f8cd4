"""One net among several that are trained side by side."""

import dataclasses
import functools
from collections.abc import Sequence

import keras

from resprune_tf.training import Trainer, epoch_order
from resprune_tf.transfer import copy_values


@dataclasses.dataclass(frozen=True)
class Member:
    """One net to train, as `trainer.fit(initial_epoch, callbacks)` would train it.

    Attributes:
        trainer: a `Trainer` of the whole net without any of its units. Its model may
            hold a loaded state; its core holds the trained values in the end.
        initial_epoch: epochs already done.
        callbacks: Keras callbacks for this member alone. The model they see is the
            trainer's, brought up to date when they look at it; they may read it, save
            it and stop its training. They get no logs of batches.
    """

    trainer: Trainer
    initial_epoch: int = 0
    callbacks: Sequence = ()


class Seat:
    """A member in training: where it stands, and its callbacks.

    A context manager that lends the member's model to its callbacks.

    Args:
        place: number of the member.
        member: a `Member`.
        training: the `StackedTraining` of all members.

    Attributes:
        epoch: epochs done.
        running: whether it is to be trained further.
        callbacks: a `keras.callbacks.CallbackList`.
    """

    def __init__(self, place, member, training):
        trainer = member.trainer
        self.member = member
        self.epoch = member.initial_epoch
        self.running = self.epoch < trainer.recipe.epochs
        self.callbacks = keras.callbacks.CallbackList(
            list(member.callbacks),
            model=trainer.model,
            epochs=trainer.recipe.epochs,
            steps=trainer.steps // training.dispatch,
            verbose=0,
        )
        self.store = functools.partial(training.store, place, trainer)

    def __enter__(self):
        model = self.member.trainer.model
        # What Keras's callbacks call before they look at a model that JAX trains.
        model.jax_state_sync = self.store
        model.stop_training = False
        if self.running:
            self.callbacks.on_train_begin()
        else:
            self._publish()
        return self

    def __exit__(self, *_):
        del self.member.trainer.model.jax_state_sync

    @property
    def learning_rate(self):
        """Of the next epoch."""
        return self.member.trainer.recipe.learning_rate_at(self.epoch)

    @property
    def order(self):
        """Image indices of the next epoch, int32 `(steps, batch_size)`."""
        trainer = self.member.trainer
        return epoch_order(
            len(trainer.split), trainer.recipe.batch_size, trainer.seed, self.epoch
        )

    def end_epoch(self, logs):
        """Calls the callbacks; after the last epoch, publishes the trained values."""
        trainer = self.member.trainer
        self.callbacks.on_epoch_end(self.epoch, logs)
        self.epoch += 1
        if self.epoch == trainer.recipe.epochs or trainer.model.stop_training:
            self.running = False
            self.store()
            self.callbacks.on_train_end()
            self._publish()

    def _publish(self):
        trainer = self.member.trainer
        copy_values(trainer.model.get_layer(trainer.core.name), trainer.core)
