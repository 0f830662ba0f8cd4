"""Applies ω to the weights of the layer before it instead of to its output.

`ω · conv(z, K) = conv(z, ω · K)`. Multiplying a kernel is cheap, but multiplying
activations takes a pass over the widest tensors of the network, and two more for the
gradient. `fast_copy` uses this form for training.
"""

import collections
import functools

import keras
from keras import activations, layers

from resprune_tf import graph
from resprune_tf.graph.ancestry import Uses, count_calls
from resprune_tf.nets.importance import ImportanceScale

# The exact classes: a subclass may compute something else with the same weights.
_KERNELS_BY_FILTER = (layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.Dense)
DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
TRANSPOSE = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)


class AppliedImportance(ImportanceScale):
    """An `ImportanceScale` that returns its input: the layer before it applies ω."""

    def call(self, inputs):
        return inputs


class ScaledWeights:
    """Mixin for layers that multiply their weights by an ω in each call.

    The variables keep their values. The products have the dtype of the variables and
    are cast to the compute dtype like all weights.
    """

    def scale_by(self, applied):
        """Sets the built `AppliedImportance` that contains ω."""
        # In a closure, because Keras would track a layer as a sublayer.
        self._importance = lambda: applied.importance

    def __call__(self, *args, **kwargs):
        if not self.built or _symbolic(args):
            return super().__call__(*args, **kwargs)  # only computes shapes
        factor = self._importance().value
        moving = [getattr(self, name, None) for name in _MOVING]
        values = [
            v.value if any(v is each for each in moving) else v.value * factor
            for v in self.variables
        ]
        # Within the scope the layer reads these values. The moving statistics that it
        # updates there are assigned to the variables afterwards.
        scope = keras.StatelessScope(zip(self.variables, values, strict=True))
        before = [scope.get_current_value(variable) for variable in self.variables]
        with scope:
            outputs = super().__call__(*args, **kwargs)
        for variable, value in zip(self.variables, before, strict=True):
            updated = scope.get_current_value(variable)
            if updated is not value:
                variable.assign(updated)
        return outputs


_MOVING = ("moving_mean", "moving_variance")


@functools.cache
def scaled_kind(kind):
    """The subclass of the layer class `kind` that scales its weights."""
    return type(f"Scaled{kind.__name__}", (ScaledWeights, kind), {})


def scalable(model):
    """Finds the layers that can apply an ω to their weights.

    These are layers that `absorbs` accepts, that are called once, and whose output is
    used by an `ImportanceScale` only. Not included are layers with an activity
    regularizer, whose loss ω would change, and a BatchNormalization without gamma,
    which has no weight to multiply, or with `renorm`, which has more statistics.

    Args:
        model: a functional `keras.Model`; nested models are searched too.

    Returns:
        dict from `id(layer)` to the `ImportanceScale` after that layer.
    """
    uses = [Uses(level) for _, level in graph.levels(model)]
    nodes = [node for each in uses for node in each.nodes]
    calls = count_calls(nodes)
    consumers = sum((each.counts for each in uses), collections.Counter())
    found = {}
    for node in nodes:
        if type(node.operation) is not ImportanceScale:
            continue
        source = node.input_tensors[0]
        producer = graph.node_of(source).operation
        if (
            calls[id(node.operation)] == calls[id(producer)] == 1
            and consumers[id(source)] == 1
            and absorbs(producer)
            and producer.activity_regularizer is None
            and getattr(producer, "scale", True)
            and not getattr(producer, "renorm", False)
        ):
            found[id(producer)] = node.operation
    return found


def _symbolic(tensors):
    return any(
        isinstance(each, keras.KerasTensor) for each in keras.tree.flatten(tensors)
    )


def absorbs(layer):
    """Whether scaling the weights of a layer scales its output by the same factor.

    Args:
        layer: any layer or operation.

    Returns:
        True for a BatchNormalization, and for a convolution or dense layer without an
        activation whose kernel is one variable: `c * (K x + b) = (c K) x + c b`.
    """
    if type(layer) is layers.BatchNormalization:
        return True
    return (
        type(layer) in (*_KERNELS_BY_FILTER, *DEPTHWISE, *TRANSPOSE)
        and layer.activation is activations.linear
        # Their kernels are computed from other variables.
        and layer.quantization_mode is None
        and not getattr(layer, "lora_enabled", False)
    )
