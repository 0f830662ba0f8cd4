"""What a model costs: layers, parameters, multiply-accumulates (MACs)."""

import dataclasses

from keras import layers

from resprune_tf import graph
from resprune_tf.importance import count_parameters
from resprune_tf.macs import CONVOLUTIONS, count_macs


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one image costs.

    Attributes:
        layers: weighted layers (convolution, dense, attention) on the longest path
            from input to output; projection shortcuts lie beside it.
        parameters: trainable ones, without ω and moving statistics.
        macs: multiply-accumulates of everything that has a rule.
        conv_macs: those of convolutions alone.
        uncounted: names of operations that multiply but have no rule: those with a
            weight of two or more axes, and the products that `macs.py` lists. Empty
            means that `macs` is complete.
    """

    layers: int
    parameters: int
    macs: int
    conv_macs: int
    uncounted: tuple[str, ...]


def cost(model):
    """Layers, parameters and MACs of a functional model, from its shapes alone.

    A layer that is called twice computes twice and is stored once; nested models are
    counted through.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`; it is only read.

    Returns:
        A `Cost`.

    Raises:
        TypeError: if `model` has no graph to read.
        ValueError: if MACs depend on an unknown dimension (`None`).

    >>> cost(resnet56()).conv_macs
    84066304
    """
    model = graph.as_functional(model, "cost")
    tally = _Tally()
    depths = tally.walk(model, [0] * len(model.inputs))
    return Cost(
        layers=max(depths),
        parameters=count_parameters([model]),
        macs=tally.macs,
        conv_macs=tally.conv_macs,
        uncounted=tuple(dict.fromkeys(tally.uncounted)),
    )


class _Tally:
    """Sums up one walk over the graph."""

    def __init__(self):
        self.macs = self.conv_macs = 0
        self.uncounted = []

    def walk(self, model, depths):
        """Counts a model whose inputs lie `depths` layers deep; outputs' depths."""
        depth = dict(zip(map(id, model.inputs), depths, strict=True))
        for node in graph.nodes(model):
            if id(node.outputs[0]) in depth:
                continue
            above = [depth[id(tensor)] for tensor in node.input_tensors]
            inner = getattr(node.operation, "_functional", None) or node.operation
            if hasattr(inner, "_inputs_struct"):
                if len(above) != len(inner.inputs):  # optional inputs, masks
                    above = [max(above)] * len(inner.inputs)
                below = self.walk(inner, above)
            else:
                below = [max(above) + self.count(node)] * len(node.outputs)
            depth.update(zip(map(id, node.outputs), below, strict=True))
        return [depth[id(tensor)] for tensor in model.outputs]

    def count(self, node):
        """Adds one call of one operation; 1 if it is a weighted layer, else 0."""
        macs = count_macs(node)
        if macs is None:
            self.uncounted.append(node.operation.name)
            return 0
        self.macs += macs
        if isinstance(node.operation, CONVOLUTIONS):
            self.conv_macs += macs
        return int(isinstance(node.operation, layers.Layer) and macs > 0)
