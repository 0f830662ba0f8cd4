"""Losses and gradients of one batch, on the backend that runs."""

import keras

from resprune_tf import Architecture, build_resnet
from tests.conftest import randomise


def two_stages(**fields):
    """The least ResNet with removable units, and a shortcut that changes the shape."""
    fields = {"kept": ((1, 2),) * 2, "widths": (4, 8), "num_classes": 5, **fields}
    model = build_resnet(Architecture(**{"image_shape": (8, 8, 3), **fields}))
    randomise(model)
    return model


def loss_and_gradients(model, images, labels):
    """Mean cross entropy in training, and its gradients by the trainable variables.

    Moving statistics change on TensorFlow only.
    """
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = loss(labels, model(images, training=True))
        found = tape.gradient(value, [v.value for v in model.trainable_variables])
    else:
        import jax

        def compute(trainable):
            logits, _ = model.stateless_call(
                trainable, model.non_trainable_variables, images, training=True
            )
            return loss(labels, logits)

        values = [v.value for v in model.trainable_variables]
        # As one program: each operation on its own takes longer to compile.
        value, found = jax.jit(jax.value_and_grad(compute))(values)
    return float(value), [keras.ops.convert_to_numpy(g) for g in found]
