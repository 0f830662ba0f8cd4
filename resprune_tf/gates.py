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
        self.images = images

    def build(self, input_shape):
        self.gates = self.add_weight(
            shape=(self.images,), initializer="ones", dtype="float32", name="gates"
        )

    def call(self, inputs):
        gates = self.gates[: ops.shape(inputs)[0]]
        gates = ops.reshape(gates, (-1,) + (1,) * (len(inputs.shape) - 1))
        return inputs * ops.cast(gates, inputs.dtype)

    def compute_output_spec(self, inputs):
        # Keras would try `call` with batches of its own choice, larger than `images`.
        return keras.KerasTensor(inputs.shape, inputs.dtype)

    def get_config(self):
        return {**super().get_config(), "images": self.images}

    def set(self, value):
        """Sets all gates to one number; 0 is the net without the unit."""
        self.gates.assign(ops.full((self.images,), value, "float32"))


def add_gates(model, units, images=1):
    """A copy of a model with a `Gate` on the branch of each unit.

    Args:
        model: a functional `keras.Model`; it is only read.
        units: removable `Unit`s of `model`.
        images: see `Gate`.

    Returns:
        The copy, and a dict from unit name to `Gate`, in the order of `units`.
    """
    gates = {unit.name: Gate(images, name=f"{unit.name}_gate") for unit in units}
    insert = {
        (id(unit.merge), id(branch)): gates[unit.name]
        for unit in units
        for branch in unit.branches
    }
    return graph.rebuild(model, insert=insert), gates


def gate_gradients(model, gates):
    """A compiled function for the gradients of the cross entropy in all gates.

    Args:
        model, gates: from `add_gates`, with logits `(batch, classes)` as output. All
            layers of `model` but the gates become not trainable.

    Returns:
        A function from images, float32 `(batch, ...)`, and labels, int32 `(batch,)`,
        to a list with a tensor `(images,)` for each gate: the derivatives of the sum
        of the images' cross entropies. Where each image has a gate of its own these
        are the derivatives of each image's.
    """
    layers = {id(gate) for gate in gates.values()}
    for layer in model.layers:
        layer.trainable = id(layer) in layers
    place = {id(variable): i for i, variable in enumerate(model.trainable_variables)}
    order = [place[id(gate.gates)] for gate in gates.values()]
    backends = {"tensorflow": _tensorflow_gradients, "jax": _jax_gradients}
    compiled = backends[keras.backend.backend()](model)

    def gradients(images, labels):
        found = compiled(images, labels)
        return [found[index] for index in order]

    return gradients


def _loss(labels, logits):
    return ops.sum(
        keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    )


def _tensorflow_gradients(model):
    import tensorflow as tf

    variables = [variable.value for variable in model.trainable_variables]

    @tf.function(reduce_retracing=True)
    def gradients(images, labels):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            total = _loss(labels, model(images, training=False))
        return tape.gradient(total, variables)

    return gradients


def _jax_gradients(model):
    import jax

    def total(gates, others, images, labels):
        logits, _ = model.stateless_call(gates, others, images, training=False)
        return _loss(labels, logits)

    compiled = jax.jit(jax.grad(total))

    def gradients(images, labels):
        gates = [variable.value for variable in model.trainable_variables]
        others = [variable.value for variable in model.non_trainable_variables]
        return compiled(gates, others, images, labels)

    return gradients
