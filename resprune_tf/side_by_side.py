"""Several nets of one origin, trained and measured side by side (JAX)."""

import contextlib
import dataclasses
import functools
from collections.abc import Sequence

import keras
import numpy as np

from resprune_tf.callbacks import RunInterrupted, TrainingDiverged
from resprune_tf.embedding import embed, silenced, variables_by_name
from resprune_tf.fast_copy import copy_values
from resprune_tf.matmul_conv import matmul_copy
from resprune_tf.stacked import StackedTraining
from resprune_tf.training import Trainer, epoch_order

# What the program is compiled for. Epochs, learning rates and schedules may differ.
_SHARED = ("batch_size", "momentum", "nesterov", "l2", "precision")


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


class SideBySide:
    """Trains and measures nets that come from one net by removal, all at once.

    One compiled program serves all of them, whichever units they have lost, and all
    their rounds: each net is put into the whole one, and the importances of its lost
    units are held at 0 (see `embedding`). Orders of images, augmentation, optimizer,
    schedule and metrics are each member's own, so each comes to what its `Trainer`
    alone would come to, but for rounding.

    Args:
        core: the whole net, such as the initial one; it is only read.
        dataset: the `Dataset` of all members.
        recipe: a `Recipe`; the members' may differ in epochs, learning rate and
            schedule.
        dispatch: as for `Trainer`.

    Raises:
        RuntimeError: if Keras's backend is not JAX.
        ValueError: if there are fewer training images than a batch needs.
        TypeError: if `core` is not functional.
    """

    def __init__(self, core, dataset, recipe, dispatch=None):
        if keras.backend.backend() != "jax":
            raise RuntimeError(
                "Training side by side needs Keras's JAX backend "
                f"(KERAS_BACKEND=jax). Received: {keras.backend.backend()}."
            )
        import jax

        self.recipe, self.split = recipe, dataset.train
        self._net = matmul_copy(core)
        self._training = StackedTraining(self._net, dataset, recipe, dispatch)
        self._predict = jax.jit(jax.vmap(self._logits, in_axes=(0, None)))

    def fit(self, members):
        """Trains every member to the last epoch of its recipe.

        Args:
            members: `Member`s; they need not be in the same epoch.

        Raises:
            ValueError: if there are no members, or one does not fit the program.
            RunInterrupted, TrainingDiverged: when a callback of a member raises it.
                At the end of an epoch, those of all members are called before.
        """
        self._check(members)
        self._training.load([member.trainer for member in members])
        with contextlib.ExitStack() as stack:
            seats = [
                stack.enter_context(_Seat(place, member, self._training))
                for place, member in enumerate(members)
            ]
            while any(seat.running for seat in seats):
                self._train_epoch(seats)

    def _check(self, members):
        if not members:
            raise ValueError("There is no member to train.")
        for member in members:
            trainer = member.trainer
            for name in _SHARED:
                ours, theirs = getattr(self.recipe, name), getattr(trainer.recipe, name)
                if ours != theirs:
                    raise ValueError(
                        f"Members must share `{name}` of the recipe, {ours!r} here. "
                        f"Received: {theirs!r}."
                    )
            if trainer.split is not self.split:
                raise ValueError("Members must share the data set.")

    def _train_epoch(self, seats):
        running = [seat for seat in seats if seat.running]
        for seat in running:
            seat.callbacks.on_epoch_begin(seat.epoch)
        training, steps = self._training, seats[0].member.trainer.steps
        training.begin_epoch([seat.learning_rate for seat in seats])
        orders = np.stack([seat.order for seat in seats])
        for batch, start in enumerate(range(0, steps, training.dispatch)):
            for seat in running:
                seat.callbacks.on_train_batch_begin(batch)
            training.run(orders[:, start : start + training.dispatch])
            for seat in running:
                seat.callbacks.on_train_batch_end(batch)
        errors = []
        for seat, logs in zip(seats, training.logs(), strict=True):
            if seat in running:
                try:
                    seat.end_epoch(logs)
                except (RunInterrupted, TrainingDiverged) as error:
                    errors.append(error)
        # A net that diverged must not look like a run that was asked to stop.
        errors.sort(key=lambda error: isinstance(error, RunInterrupted))
        if errors:
            raise errors[0]

    def evaluate(self, cores, split, batch_size=500):
        """Mean loss and accuracy of nets on a split, as `training.evaluate` gives.

        Args:
            cores: the whole net without any of its units, each.
            split: a `Split`.
            batch_size: images at a time.

        Returns:
            list of `(loss, accuracy)`.
        """
        nets = []
        for core in cores:
            zeros = {(name, 0): np.zeros(()) for name in silenced(self._net, core)}
            nets.append({**variables_by_name(core), **zeros})
        whole = variables_by_name(self._net)
        values = embed(nets, whole)
        keys = {id(variable): key for key, variable in whole.items()}
        state = [
            [values[keys[id(variable)]] for variable in variables]
            for variables in (
                self._net.trainable_variables,
                self._net.non_trainable_variables,
            )
        ]
        import jax

        state = jax.device_put(state)
        logits = np.concatenate(
            [
                self._predict(state, split.images[start : start + batch_size])
                for start in range(0, len(split), batch_size)
            ],
            axis=1,
        )
        return [_measures(each, split.labels) for each in logits]

    def _logits(self, state, images):
        images = keras.ops.cast(images, "float32")
        return self._net.stateless_call(*state, images, training=False)[0]


class _Seat:
    """A member in training. A context manager that lends the member's model."""

    def __init__(self, place, member, training):
        trainer = member.trainer
        self.place, self.member, self.training = place, member, training
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
        return self.member.trainer.recipe.learning_rate_at(self.epoch)

    @property
    def order(self):
        trainer = self.member.trainer
        return epoch_order(
            len(trainer.split), trainer.recipe.batch_size, trainer.seed, self.epoch
        )

    def end_epoch(self, logs):
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


def _measures(logits, labels):
    losses = keras.losses.sparse_categorical_crossentropy(
        labels, logits, from_logits=True
    )
    accuracy = np.mean(logits.argmax(axis=-1) == labels)
    return float(keras.ops.mean(losses)), float(accuracy)
