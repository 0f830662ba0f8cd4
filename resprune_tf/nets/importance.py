"""The importance ω of a residual branch (Eq. 2 of the paper)."""

from __future__ import annotations

from typing import Any

import keras

SUFFIX = "_importance"


@keras.saving.register_keras_serializable(package="resprune_tf")
class ImportanceScale(keras.layers.Layer):
    """Multiplies a residual branch by one learned scalar, its importance ω.

    The residual unit becomes `y = x + ω·F(x)`. With ω = 0 it returns `x`, so units with
    small |ω| are candidates for removal.

    Args:
        initializer: initializer of ω. Defaults to U(-1, 1), as in the paper.
        l1: float >= 0, dimensionless. Adds `l1 * |ω|` to the training loss, which
            pushes ω towards 0. Defaults to 0: the paper has no such penalty.
        `**kwargs`: base layer arguments, such as `name` and `dtype`.

    Input: any shape, usually `(batch, height, width, channels)`. Output: the same
    shape. ω has shape `()` and the variable dtype (float32 under mixed precision).

    Raises:
        ValueError: if `l1` is negative.

    References: Ida and Fujiwara, Network Implosion, arXiv:1906.03826 (learned scalar);
    Huang and Wang, Data-Driven Sparse Structure Selection, arXiv:1707.01213 (L1
    penalty).

    >>> branch = ImportanceScale(name="unit1_importance")(branch)
    >>> outputs = keras.layers.Add(name="unit1_add")([inputs, branch])
    """

    def __init__(self, initializer: Any = None, l1: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True  # the addition uses the masks of its addends
        if l1 < 0:
            raise ValueError(
                "`l1` must be >= 0: it is the weight of a penalty. "
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

    def to_rescaling(self) -> keras.layers.Rescaling:
        """Returns a layer of Keras that multiplies by the present ω.

        It has the same name and dtype policy. Models with it load without this package.
        """
        value = float(keras.ops.convert_to_numpy(self.importance))
        return keras.layers.Rescaling(value, dtype=self.dtype_policy, name=self.name)

    def get_config(self):
        return {
            **super().get_config(),
            "initializer": keras.initializers.serialize(self.initializer),
            "l1": self.l1,
        }
