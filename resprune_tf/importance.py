"""The importance ω of a residual branch (Eq. 2 of the paper)."""

import math

import keras

from resprune_tf import graph
from resprune_tf.macs import kernel_shape

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

    def __init__(self, initializer=None, l1=0.0, **kwargs):
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


def importances(model):
    """ω of every unit that has one.

    Args:
        model: a `keras.Model`; nested models are searched too.

    Returns:
        dict from unit name (the layer's name without `_importance`, after the names
        of the models it lies in: `"backbone/stage1_unit2"`) to ω as a Python float,
        in the order of the layers.
    """
    return {
        name.removesuffix(SUFFIX): float(keras.ops.convert_to_numpy(layer.importance))
        for name, layer in _named_layers(model)
        if isinstance(layer, ImportanceScale)
    }


def layer_name(unit, suffix=SUFFIX):
    """Name for a layer that a unit is given, in the model in which the unit lies.

    Layers' names hold no `/`, and TensorFlow's scopes no `#`.
    """
    return unit.rpartition("/")[2].replace("#", ".") + suffix


def _named_layers(model, path=""):
    """Layers with the path of nested models that leads to them."""
    for layer in model.layers:
        if graph.inner(layer) is not None:
            yield from _named_layers(layer, f"{path}{layer.name}/")
        else:
            yield from (
                (f"{path}{each.name}", each) for each in layer._flatten_layers()
            )


def count_parameters(operations):
    """Parameters of layers and models, each once and ω left out.

    Args:
        operations: layers, models and other operations, which have none.
    """
    return sum(parameter_sizes(operations).values())


def parameter_sizes(operations):
    """Parameters that each variable holds, of layers and models.

    Parameters are what training sets: all trainable variables, frozen or not, low-rank
    adapters included. Moving statistics and the states of random generators are not
    learned. Quantization changes how large a parameter is, not how many there are: a
    quantized kernel or embedding has as many as the one that it stands for, and its
    scales, zero points and histories are none.

    Args:
        operations: as for `count_parameters`.

    Returns:
        dict from `id(variable)` to the number, without ω.
    """
    found = {}
    for operation in operations:
        if isinstance(operation, keras.layers.Layer):
            for layer in operation._flatten_layers():
                if not isinstance(layer, ImportanceScale):
                    found.update(_sizes(layer))
    return found


def _sizes(layer):
    stored = {}
    if layer.quantization_mode is not None:
        stored = {v.name: v for v in layer._non_trainable_variables if _stands_for(v)}
    found = {
        id(v): math.prod(v.shape)
        for v in layer._trainable_variables
        # Until it is calibrated, a kernel lies there in both forms.
        if v.name not in stored and not getattr(v, "overwrite_with_gradient", False)
    }
    for name, variable in stored.items():
        if name == "kernel":
            found[id(variable)] = math.prod(kernel_shape(layer))
        else:
            found[id(variable)] = layer.input_dim * layer.output_dim
    return found


def _stands_for(variable):
    """Whether a variable of a quantized layer stands for one that was learned."""
    known = variable.name in ("kernel", "embeddings", "reverse_embeddings")
    return known and keras.backend.is_int_dtype(variable.dtype)
