"""The training of several nets of one origin as one compiled program (JAX)."""

import keras
import numpy as np

from resprune_tf.embedding import embed, silenced, variables_by_name
from resprune_tf.resident import scan_steps
from resprune_tf.training import Trainer
from resprune_tf.units import find_units


class StackedTraining:
    """Training steps of members, each a net in the place of the whole one.

    The variables of all members lie stacked on the device, `(members, ...)`, those of
    the optimizer, the augmentation and the metrics too; `jax.vmap` runs `Trainer`'s
    own step over them. After every step the importances of lost units are set to 0.
    The program is compiled once for a number of members and of steps.

    Args:
        core: the whole net; it is only read.
        dataset: the `Dataset` of all members.
        recipe: a `Recipe`, of which batch size, momentum, weight decay and precision
            are those of all members.
        dispatch, guidance: as for `Trainer`; teachers are whole nets.

    Attributes:
        dispatch: steps to run at a time.
    """

    def __init__(self, core, dataset, recipe, dispatch=None, guidance=None):
        import jax

        trainer = Trainer(
            core, dataset, recipe, 0, dispatch, teacher=core, guidance=guidance
        )
        self.core, self.dispatch = core, trainer.dispatch
        self._model, split = trainer.model, dataset.train
        first = slice(0, recipe.batch_size)
        # What `fit` would do before its first step; it makes the metrics' variables.
        self._model._symbolic_build(
            data_batch=(split.images[first], split.labels[first])
        )
        self._whole = _variables(trainer)
        keys = {id(variable): key for key, variable in self._whole.items()}
        self._keys = [
            [keys[id(variable)] for variable in variables]
            for variables in (
                self._model.trainable_variables,
                self._model.non_trainable_variables,
                self._model.optimizer.variables,
            )
        ]
        units = find_units(core)
        self._scales = {("net", unit.importance, 0) for unit in units}
        self._rate = self._keys[2].index(("learning_rate",))
        self._data = jax.device_put((split.images, split.labels))
        self._program = jax.jit(
            jax.vmap(self._steps, in_axes=(0, 0, 0, None)), donate_argnums=0
        )

    def load(self, trainers):
        """Takes the state of these `Trainer`s' models as that of the members.

        Raises:
            ValueError: if a trainer's net is not the whole one without some units.
        """
        import jax

        nets, silent = [], []
        for trainer in trainers:
            names = silenced(self.core, trainer.core)
            silent.append({("net", name, 0) for name in names})
            zeros = dict.fromkeys(silent[-1], np.zeros(()))
            nets.append({**_variables(trainer), **zeros})
        values = embed(nets, self._whole)
        # Of all units: another choice of them is no other program.
        kept = {
            place: np.array([key not in zeros for zeros in silent])
            for place, key in enumerate(self._keys[0])
            if key in self._scales
        }
        self._state, self._kept = jax.device_put(
            ([[values[key] for key in keys] for keys in self._keys], kept)
        )
        self._fetched = values

    def begin_epoch(self, learning_rates):
        """Sets each member's learning rate and starts the metrics anew."""
        import jax

        rates = self._state[2]
        dtype = rates[self._rate].dtype
        rates[self._rate] = jax.device_put(np.asarray(learning_rates, dtype))
        self._fetched = None
        self._model.reset_metrics()
        members = len(learning_rates)
        self._metrics = jax.device_put(
            [
                np.stack([keras.ops.convert_to_numpy(variable)] * members)
                for variable in self._model.metrics_variables
            ]
        )

    def run(self, rows):
        """Trains on batches of image indices, int32 `(members, steps, batch_size)`."""
        state = (*self._state, self._metrics)
        self._logs, state = self._program(state, self._kept, rows, self._data)
        *self._state, self._metrics = state
        self._fetched = None

    def logs(self):
        """For each member, a dict of the epoch's metrics and its learning rate."""
        import jax

        logs, rates = jax.device_get((self._logs, self._state[2][self._rate]))
        logs["learning_rate"] = rates
        return [
            {name: float(values[member]) for name, values in logs.items()}
            for member in range(len(rates))
        ]

    def store(self, member, trainer):
        """Gives a trainer's model the present state of a member."""
        import jax

        if self._fetched is None:
            # Copies: what is fetched may lie in memory that the next steps reuse.
            arrays = jax.tree.map(np.array, jax.device_get(self._state))
            self._fetched = {
                key: array
                for keys, group in zip(self._keys, arrays, strict=True)
                for key, array in zip(keys, group, strict=True)
            }
        for key, variable in _variables(trainer).items():
            variable.assign(self._fetched[key][member])

    def _steps(self, state, kept, rows, data):
        """One member's training on some batches."""
        import jax

        images, labels = data

        def step(state, row):
            logs, state = self._model.train_step(state, (images[row], labels[row]))
            for place, keep in kept.items():
                state[0][place] = jax.numpy.where(keep, state[0][place], 0)
            return logs, state

        return scan_steps(step, state, rows)


def _variables(trainer):
    """What training changes, under keys that agree between nets of one origin."""
    model, optimizer = trainer.model, trainer.model.optimizer
    optimizer.build(model.trainable_variables)
    net = model.get_layer(trainer.core.name)
    found = {("net", *key): each for key, each in variables_by_name(net).items()}
    for layer in model.layers:
        if layer is not net:
            for place, variable in enumerate(layer.variables):
                found["around", layer.name, place] = variable
    keys = {id(variable): key for key, variable in found.items()}
    if optimizer.momentum:
        for variable, slot in zip(
            model.trainable_variables, optimizer.momentums, strict=True
        ):
            found["momentum", *keys[id(variable)]] = slot
    found["iterations",] = optimizer.iterations
    found["learning_rate",] = optimizer.learning_rate
    return found
