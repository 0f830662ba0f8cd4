"""The importance ω of a residual branch (Eq. 2 of the paper)."""

from __future__ import annotations

from typing import Any

import keras

SUFFIX = "_importance"


@keras.saving.register_keras_serializable(package="resprune_tf")
class ImportanceScale(keras.layers.Layer):
    """Multiplies a residual branch by one learned scalar, its importance ω.

    The residual unit becomes `y = x + ω·F(x)`. With ω = 0 the unit passes `x` on, so
    the units with the smallest |ω| are those whose removal changes the net least.

    Args:
        initializer: initial value of ω. Defaults to U(-1, 1), as in the paper.
        l1: float >= 0, dimensionless. Adds `l1 * |ω|` to the training loss, which
            pushes ω towards 0. Defaults to 0: the paper has no such penalty.
        **kwargs: base layer arguments, such as `name` and `dtype`.

    Input shape: any, usually `(batch, height, width, channels)`. Output shape: the
    same. ω has shape `()` and is stored in the variable dtype (float32 under the
    mixed precision policies).

    Raises:
        ValueError: if `l1` is negative.

    References: Ida and Fujiwara, Network Implosion, arXiv:1906.03826 (learned scalar,
    |ω| as the rank of a unit); Huang and Wang, arXiv:1707.01213 (L1 on the scalar).
    """

    def __init__(self, initializer: Any = None, l1: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True  # a sum passes the masks of its addends on
        if l1 < 0:
            raise ValueError(
                "`l1` weighs a penalty and must be >= 0. "
                f"Received: l1={l1} (layer '{self.name}')."
            )
        self.initializer = keras.initializers.get(
            keras.initializers.RandomUniform(-1.0, 1.0)
            if initializer is None
            else initializer
        )
        self.l1 = float(l1)

    def build(self, input_shape):
        self.importance = self.add_weight(
            name="importance",
            shape=(),
            initializer=self.initializer,
            regularizer=keras.regularizers.L1(self.l1) if self.l1 else None,
        )

    def call(self, inputs):
        return keras.ops.multiply(inputs, self.importance)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "initializer": keras.initializers.serialize(self.initializer),
            "l1": self.l1,
        }
