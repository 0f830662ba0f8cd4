"""What a model costs: layers, parameters, multiply-accumulates (MACs)."""

import collections
import dataclasses

from keras import layers

from resprune_tf import graph
from resprune_tf.importance import count_parameters
from resprune_tf.macs import CONVOLUTIONS, count_macs
from resprune_tf.tracing import trace


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one image costs.

    Attributes:
        layers: weighted layers (convolution, dense, attention) on the longest path
            from input to output; projection shortcuts lie beside it.
        parameters: learned ones, frozen or not, without ω and moving statistics.
        macs: multiply-accumulates of everything that has a rule.
        conv_macs: those of convolutions alone.
        uncounted: names of operations that multiply but have no rule: those with a
            weight of two or more axes, and the products that `macs.py` lists. Empty
            means that `macs` is complete, but for what a layer without weights, such
            as a `Lambda`, multiplies inside itself.
    """

    layers: int
    parameters: int
    macs: int
    conv_macs: int
    uncounted: tuple[str, ...]


def cost(model, input_shape=None):
    """Layers, parameters and MACs of a functional model, from its shapes alone.

    A layer that is called twice computes twice and is stored once; nested models are
    counted through.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`; it is only read.

        input_shape: shape without the batch, such as `(224, 224, 3)`, for a model
            whose one input leaves sizes open.

    Returns:
        A `Cost`.

    Raises:
        TypeError: if `model` has no graph to read.
        ValueError: if MACs depend on an unknown dimension (`None`), or `input_shape`
            does not fit.

    >>> cost(resnet56()).conv_macs
    84066304
    """
    model = graph.as_functional(model, "cost")
    calls, outputs = trace(model, input_shape=input_shape)
    depth = collections.defaultdict(int)  # of inputs: 0
    macs = conv_macs = 0
    uncounted = []
    for call in calls:
        found = count_macs(call)
        if found is None:
            uncounted.append(call.operation.name)
        own = found or 0
        macs += own
        if isinstance(call.operation, CONVOLUTIONS):
            conv_macs += own
        weighted = isinstance(call.operation, layers.Layer) and own > 0
        below = max((depth[id(t)] for t in call.inputs), default=0) + weighted
        depth.update((id(tensor), below) for tensor in call.outputs)
    return Cost(
        layers=max(depth[id(tensor)] for tensor in outputs),
        parameters=count_parameters([model]),
        macs=macs,
        conv_macs=conv_macs,
        uncounted=tuple(dict.fromkeys(uncounted)),
    )
