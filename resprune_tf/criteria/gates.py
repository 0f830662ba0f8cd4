"""Gates on the branches of residual units: to silence them, or to differentiate."""

import keras
from keras import ops

from resprune_tf import graph


class Gate(keras.layers.Layer):
    """Multiplies a residual branch by a number, at first 1.

    Args:
        images: 1 for one gate, or the largest batch size for a gate of its own for
            every image of a batch.
        **kwargs: base layer arguments.

    Input shape: `(batch, ...)`. Output shape and dtype: the same. The gates are
    float32 of shape `(images,)`.
    """

    def __init__(self, images=1, **kwargs):
        # The branch passes in its own precision.
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
        # Keras would try `call` with batches of its own choice, larger than `images`.
        return keras.KerasTensor(inputs.shape, inputs.dtype)

    def _factors(self, tensor):
        gates = self.gates[: ops.shape(tensor)[0]]
        gates = ops.reshape(gates, (-1,) + (1,) * (len(tensor.shape) - 1))
        return ops.cast(gates, tensor.dtype)

    def get_config(self):
        return {**super().get_config(), "images": self.images}

    def set(self, value):
        """Sets all gates to one number; 0 is the net without the unit."""
        self.gates.assign(ops.full((self.images,), value, "float32"))


class UnitGate(Gate):
    """Blends the input and output of a layer that is a whole residual unit.

    Of `[x, x + F(x)]` it makes `x + g F(x)`, exactly so for a gate of 0 or 1.
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
    """A copy of a model with a `Gate` on the branch of each unit.

    Args:
        model: a functional `keras.Model`; it is only read.
        units: removable `Unit`s of `model`, those in nested models too.
        images: see `Gate`.

    Returns:
        The copy, and a dict from unit name to `Gate`, in the order of `units`.
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
    # Layers' names take no slash, as units in nested models have, and TensorFlow's
    # scopes no #, as later calls of one merge have.
    return f"{unit.name.replace('/', '_').replace('#', '.')}_gate"


def find_gates(model):
    """The gates of a model or of a copy of it, by the names of their layers."""
    return {
        layer.name: layer
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, Gate)
    }


def gate_gradients(model, gates, loss):
    """A compiled function for the gradients of the loss in all gates.

    Args:
        model, gates: from `add_gates`; it has one output.
        loss: from `example_loss`.

    Returns:
        A function from images and labels to a list with a tensor `(images,)` for each
        gate: the derivatives of the sum of the images' losses. Where each image has a
        gate of its own these are the derivatives of each image's.
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

    # A gate inside a frozen nested model is not among the trainable variables.
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
