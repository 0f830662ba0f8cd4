"""Several nets of one origin, trained and measured side by side (JAX)."""

import contextlib

import keras
import numpy as np

from resprune_tf import graph
from resprune_tf.callbacks import RunInterrupted, TrainingDiverged
from resprune_tf.distillation import Distillation, Guidance
from resprune_tf.embedding import embed, silenced, variables_by_name
from resprune_tf.matmul_conv import matmul_copy
from resprune_tf.members import Seat
from resprune_tf.stacked import StackedTraining
from resprune_tf.training import measures

# What the program is compiled for. Epochs, learning rates and schedules may differ.
_SHARED = ("batch_size", "momentum", "nesterov", "l2", "precision")


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
        guidance: the `Guidance` of all members, if they have one; each has a teacher
            of its own, a whole net.
        matmul: whether convolutions become matrix products (see `MatmulConv2D`); a
            program for one net at a time may do without.

    Raises:
        ValueError: if Keras's backend is not JAX, or there are fewer training images
            than a batch needs.
        TypeError: if `core` is not functional.
    """

    def __init__(
        self, core, dataset, recipe, dispatch=None, guidance=None, matmul=True
    ):
        check_side_by_side()
        import jax

        self.recipe, self.split, self.guidance = recipe, dataset.train, guidance
        self._net = matmul_copy(core) if matmul else graph.rebuild(core)
        self._training = StackedTraining(self._net, dataset, recipe, dispatch, guidance)
        self._predict = jax.jit(jax.vmap(self._logits, in_axes=(0, None)))

    @classmethod
    def like(cls, core, trainer):
        """What trains such nets of `core` as a trainer has, and others like it."""
        dataset = trainer.dataset
        guidance = _guidance(trainer.model)
        return cls(core, dataset, trainer.recipe, trainer.dispatch, guidance)

    def fit(self, members, diverged=None):
        """Trains every member to the last epoch of its recipe.

        Args:
            members: `members.Member`s; they need not be in the same epoch.
            diverged: dict that gets the TrainingDiverged of a member, by its place,
                while the others are trained on. By default it is raised.

        Raises:
            ValueError: if there are no members, or one does not fit the program.
            RunInterrupted, TrainingDiverged: when a callback of a member raises it.
                At the end of an epoch, those of all members are called before.
        """
        self._check(members)
        self._training.load([member.trainer for member in members])
        with contextlib.ExitStack() as stack:
            seats = [
                stack.enter_context(Seat(place, member, self._training))
                for place, member in enumerate(members)
            ]
            while any(seat.running for seat in seats):
                self._train_epoch(seats, diverged)

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
            if _guidance(trainer.model) != self.guidance:
                raise ValueError(
                    f"Members must share the guidance, {self.guidance} here. "
                    f"Received: {_guidance(trainer.model)}."
                )
            if trainer.split is not self.split:
                raise ValueError("Members must share the data set.")

    def _train_epoch(self, seats, diverged):
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
        for place, (seat, logs) in enumerate(zip(seats, training.logs(), strict=True)):
            if seat in running:
                try:
                    seat.end_epoch(logs)
                except (RunInterrupted, TrainingDiverged) as error:
                    if diverged is None or isinstance(error, RunInterrupted):
                        errors.append(error)
                    else:
                        diverged[place] = error.with_traceback(None)
                        seat.running = False
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
        import jax

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
        state = jax.device_put(state)
        logits = np.concatenate(
            [
                self._predict(state, split.images[start : start + batch_size])
                for start in range(0, len(split), batch_size)
            ],
            axis=1,
        )
        return [measures(each, split.labels) for each in logits]

    def _logits(self, state, images):
        images = keras.ops.cast(images, "float32")
        return self._net.stateless_call(*state, images, training=False)[0]


def check_side_by_side(strategy="none"):
    """Raises a ValueError unless nets can be trained side by side here.

    Args:
        strategy: name of the strategy that is asked for.
    """
    if keras.backend.backend() != "jax" or strategy != "none":
        raise ValueError(
            "Training side by side needs Keras's JAX backend (KERAS_BACKEND=jax) and "
            f"strategy none. Received: {keras.backend.backend()}, {strategy}."
        )


def program_key(trainer):
    """What trainers must have in common to be trained by one program."""
    shared = [getattr(trainer.recipe, name) for name in _SHARED]
    return (*shared, _guidance(trainer.model))


def _guidance(model):
    for layer in model.layers:
        if isinstance(layer, Distillation):
            return Guidance(layer.temperature, layer.weight)
    return None
