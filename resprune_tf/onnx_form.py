"""A model of layers that tf2onnx can write, with the same inference outputs."""

import keras
import numpy as np
from keras import layers

from resprune_tf import graph


def onnx_form(model):
    """A copy in which layers that tf2onnx cannot write are written another way.

    `Normalization` becomes a `Rescaling`: its statistics would turn into inputs of the
    graph. A `Conv2D` that has a group for every input channel becomes a
    `DepthwiseConv2D`: Keras compiles grouped convolutions apart, where tf2onnx does not
    look. Both differ from what they stand for by rounding at most.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`; it is only read.

    Returns:
        A functional `keras.Model`; `model` itself, if it has no such layer.
    """
    written = [layer for layer in model._flatten_layers() if _rule(layer)]
    if not written:
        return model
    values = {}

    def clone(operation):
        if (rule := _rule(operation)) is None:
            return graph.clone_operation(operation)
        made, weights = rule(operation)
        values[id(operation)] = weights
        return made

    def copy(old, new):
        if id(old) in values:
            new.set_weights(values[id(old)])
        else:
            graph.copy_state(old, new)

    return graph.rebuild(model, clone=clone, copy=copy)


def _rule(layer):
    """The function that writes a layer another way, or None."""
    if type(layer) is layers.Normalization and layer.built and not layer.invert:
        last = layer.mean.shape[-1]
        return _rescaling if last == np.size(layer.mean) else None
    if type(layer) is layers.Conv2D and layer.built:
        each = layer.kernel.shape[-2] == 1 and layer.groups > 1
        return _depthwise if each else None
    return None


def _rescaling(layer):
    mean, variance = (
        keras.ops.convert_to_numpy(value).astype("float64").reshape(-1)
        for value in (layer.mean, layer.variance)
    )
    scale = 1.0 / np.maximum(np.sqrt(variance), keras.config.epsilon())
    made = layers.Rescaling(
        scale.tolist(),
        offset=(-mean * scale).tolist(),
        dtype=layer.dtype_policy,
        name=layer.name,
    )
    return made, []


def _depthwise(layer):
    config = layer.get_config()
    for name in ("filters", "groups"):
        del config[name]
    for suffix in ("initializer", "regularizer", "constraint"):
        config[f"depthwise_{suffix}"] = config.pop(f"kernel_{suffix}")
    config["depth_multiplier"] = layer.filters // layer.groups
    kernel, *bias = layer.get_weights()
    # Filters of a group stand side by side, as those of a channel do.
    kernel = kernel.reshape(*kernel.shape[:2], layer.groups, -1)
    return layers.DepthwiseConv2D.from_config(config), [kernel, *bias]
