"""SGD whose weight decay passes through the momentum, as in the paper's framework."""

import keras


@keras.saving.register_keras_serializable(package="resprune_tf")
class L2SGD(keras.optimizers.SGD):
    """SGD on the loss plus `l2 / 2 * ||w||²`, without forming that loss term.

    `keras.optimizers.SGD(weight_decay=...)` shrinks the weights beside the momentum
    instead, which with momentum 0.9 decays about ten times less.

    Args:
        l2: float >= 0. `l2 * w` is added to the gradient of every trainable weight:
            ω, BatchNormalization and biases included, as the paper's framework does.
        **kwargs: as for `keras.optimizers.SGD`.
    """

    def __init__(self, learning_rate=0.1, l2=0.0, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.l2 = float(l2)

    def update_step(self, gradient, variable, learning_rate):
        if self.l2:
            decay = keras.ops.cast(self.l2 * variable, gradient.dtype)
            gradient = keras.ops.add(gradient, decay)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        return {**super().get_config(), "l2": self.l2}
