"""Gates on the branches of residual units, to zero them or to get their gradients."""

import keras
from keras import ops

from resprune_tf import graph


class Gate(keras.layers.Layer):
    """Multiplies a residual branch by a gate, which is initially 1.

    Args:
        images: 1 for one gate, or the largest batch size for one gate per image of a
            batch.
        `**kwargs`: base layer arguments.

    Input and output: `(batch, ...)`, of the same dtype. The gates are a float32 weight
    of shape `(images,)`.
    """

    def __init__(self, images=1, **kwargs):
        # The branch keeps its own precision.
        super().__init__(autocast=False, **kwargs)
        self.supports_masking = True
        self.images = images

    def build(self, input_shape):
        self.gates = self.add_weight(
            shape=(self.images,), initializer="ones", dtype="float32", name="gates"
        )

    def call(self, inputs):
        return inputs * self._factors(inputs)

    def compute_output_spec(self, inputs):
        # Keras's default would run `call` on batches larger than `images`.
        return keras.KerasTensor(inputs.shape, inputs.dtype)

    def _factors(self, tensor):
        gates = self.gates[: ops.shape(tensor)[0]]
        gates = ops.reshape(gates, (-1,) + (1,) * (len(tensor.shape) - 1))
        return ops.cast(gates, tensor.dtype)

    def get_config(self):
        return {**super().get_config(), "images": self.images}

    def set(self, value):
        """Sets all gates to `value`; 0 is equivalent to removing the unit."""
        self.gates.assign(ops.full((self.images,), value, "float32"))


class UnitGate(Gate):
    """Applies a gate g to a layer that is a whole residual unit.

    It computes `x + g F(x)` from `[x, x + F(x)]`, exactly if g is 0 or 1.
    """

    def build(self, input_shapes):
        super().build(input_shapes[0])

    def call(self, inputs):
        x, total = inputs
        gates = self._factors(x)
        return (1 - gates) * x + gates * total

    def compute_output_spec(self, inputs):
        return super().compute_output_spec(inputs[1])

    def compute_mask(self, inputs, previous_mask=None):
        return previous_mask[1] if previous_mask else None


def add_gates(model, units, images=1):
    """Copies a model and puts a `Gate` on the branch of each unit.

    Args:
        model: a functional `keras.Model`; it is not changed.
        units: removable `Unit`s of `model`, including those in nested models.
        images: see `Gate`.

    Returns:
        `(copy, gates)`: `gates` is a dict from unit name to `Gate`, in the order of
        `units`.
    """
    gates = {
        unit.name: (Gate if unit.branches else UnitGate)(images, name=_gate_name(unit))
        for unit in units
    }
    insert = {
        (id(unit.merge), id(branch)): gates[unit.name]
        for unit in units
        for branch in unit.branches
    }
    wrap = {id(unit.merge): gates[unit.name] for unit in units if not unit.branches}
    return graph.rebuild(model, insert=insert, wrap=wrap), gates


def _gate_name(unit):
    # Names of layers must not contain /, and TensorFlow's scopes no #. Names of units
    # in nested models, and of later calls of a merge, do.
    return f"{unit.name.replace('/', '_').replace('#', '.')}_gate"


def find_gates(model):
    """The gates of a model, or of a copy of it, by layer name."""
    return {
        layer.name: layer
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, Gate)
    }


def gate_gradients(model, gates, loss):
    """Compiles a function that computes the gradients of the loss w.r.t. all gates.

    Args:
        model, gates: from `add_gates`; the model has one output.
        loss: from `example_loss`.

    Returns:
        A function from images and labels to a list with one tensor `(images,)` per
        gate: the derivatives of the sum of the images' losses. With one gate per image
        these are the derivatives of each image's loss.
    """
    backends = {"tensorflow": _tensorflow_gradients, "jax": _jax_gradients}
    variables = [gate.gates for gate in gates.values()]
    return backends[keras.backend.backend()](model, variables, loss)


def _tensorflow_gradients(model, variables, loss):
    import tensorflow as tf

    watched = [variable.value for variable in variables]

    @tf.function(reduce_retracing=True)
    def gradients(images, labels):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(watched)
            total = ops.sum(loss(labels, model(images, training=False)))
        return tape.gradient(total, watched)

    return gradients


def _jax_gradients(model, variables, loss):
    import jax

    # Gates inside a frozen nested model are not trainable, so both lists are searched.
    count = len(model.trainable_variables)
    every = [*model.trainable_variables, *model.non_trainable_variables]
    place = {id(variable): index for index, variable in enumerate(every)}
    places = [place[id(variable)] for variable in variables]

    def total(gates, values, images, labels):
        values = list(values)
        for index, gate in zip(places, gates, strict=True):
            values[index] = gate
        outputs, _ = model.stateless_call(
            values[:count], values[count:], images, training=False
        )
        return ops.sum(loss(labels, outputs))

    compiled = jax.jit(jax.grad(total))

    def gradients(images, labels):
        gates = [variable.value for variable in variables]
        return compiled(gates, [v.value for v in every], images, labels)

    return gradients
