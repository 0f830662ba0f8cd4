"""Folds importances and BatchNormalization into the preceding layers."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers
from keras.src.backend import get_keras_mask

from resprune_tf import graph
from resprune_tf.graph.ancestry import Uses, count_calls
from resprune_tf.graph.call_names import is_label
from resprune_tf.nets.importance import ImportanceScale
from resprune_tf.training.scaled_weights import DEPTHWISE, TRANSPOSE, absorbs


def fold(model: keras.Model) -> keras.Model:
    """Returns a standard Keras model with the same inference outputs and fewer layers.

    - ω is multiplied into the preceding layer: into gamma and beta of a
      BatchNormalization, or into kernel and bias of a linear convolution or dense
      layer. If that is not possible, it becomes a `keras.layers.Rescaling` of the same
      name.
    - A BatchNormalization is merged into the preceding convolution or dense layer. If
      there is none, as after a ReLU or an addition, then on the TensorFlow backend it
      becomes a depthwise 1x1 convolution of the same name, which TensorFlow computes in
      one pass with a following ReLU.
    - Dropout and other layers that do nothing at inference are removed.

    A layer is folded only if the preceding layer has one call and one consumer, so that
    no other path changes. Outputs keep their names. The factors are multiplied in
    float64 and rounded once. The result is for inference only, because the
    BatchNormalization layers that training needs are gone.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`; it is not changed.
            Nested functional models are folded separately.

    Returns:
        A functional `keras.Model`. The remaining layers keep their names.

    Raises:
        TypeError: if `model` is not functional.

    Reference: Jacob et al. 2017, arXiv:1712.05877, section 3.2 (BatchNormalization).

    >>> plain = rp.fold(model)
    """
    whole = graph.as_functional(model, "fold")
    replace, absorbed, to_depthwise = _plan(whole)
    depthwise = {
        id(layer): layers.DepthwiseConv2D(
            1,
            data_format="channels_last",
            dtype=layer.dtype_policy,
            name=layer.name,
        )
        for layer in to_depthwise
    }

    def clone(operation):
        if id(operation) in depthwise:
            convolution = depthwise[id(operation)]
            return lambda x, *_, **__: convolution(x)  # drops `training` and `mask`
        if type(operation) is ImportanceScale:
            return operation.to_rescaling()
        if id(operation) in absorbed:
            _, shift = absorbed[id(operation)]
            return _clone_with_parameters(operation, shift)
        return graph.clone_operation(operation)

    def copy(old, new):
        if type(old) is ImportanceScale:
            return  # `clone` set its value
        if id(old) in depthwise:
            scale, shift = absorbed.get(id(old), (1.0, 0.0))
            own_scale, own_shift = _normalization(old)
            kernel = depthwise[id(old)].kernel
            kernel.assign(np.reshape(scale * own_scale, kernel.shape))
            depthwise[id(old)].bias.assign(scale * own_shift + shift)
            return
        if id(old) in absorbed:
            _assign(old, new, *absorbed[id(old)])
        else:
            graph.copy_state(old, new)

    return graph.rebuild(model, replace, clone, copy)


def _plan(model):
    """Determines which layers are folded into which.

    Returns:
        `(replace, absorbed, to_depthwise)`: the argument of `graph.rebuild`; a dict
        from `id(layer)` to `(scale, shift)`, float64 arrays with which the output of
        the layer becomes `scale * output + shift`; and the BatchNormalization layers
        that become depthwise convolutions.
    """
    uses = {id(level): Uses(level) for _, level in graph.levels(model)}
    everywhere = [node for each in uses.values() for node in each.nodes]
    calls = count_calls(everywhere)
    in_training = _levels_in_training(model)
    replace, absorbed = {}, {}
    for level, each in uses.items():
        if level not in in_training:
            _plan_level(each, calls, replace, absorbed)
    return replace, absorbed, _depthwise_layers(uses, in_training, replace)


def _depthwise_layers(uses, in_training, replace):
    """The remaining BatchNormalization layers that become depthwise convolutions.

    This is for TensorFlow only: XLA fuses the standard layer, which is faster there.
    """
    if keras.backend.backend() != "tensorflow":
        return []
    found, excluded = {}, set()
    for level, each in uses.items():
        for node in each.nodes:
            layer, output = node.operation, node.outputs[0]
            if type(layer) is not layers.BatchNormalization or id(output) in replace:
                continue
            found[id(layer)] = layer
            if (
                len(output.shape) != 4
                or layer.axis % 4 != 3
                or _trains(node)
                or level in in_training
                or get_keras_mask(output) is not None
            ):
                excluded.add(id(layer))
    return [layer for key, layer in found.items() if key not in excluded]


def _levels_in_training(model, trains=False):
    """Ids of the models called with `training=True`, and of those nested in them."""
    found = {id(model)} if trains else set()
    for node in graph.nodes(model):
        nested = graph.inner(node.operation)
        if nested is not None:
            found |= _levels_in_training(nested, trains or _trains(node))
    return found


def _plan_level(uses, calls, replace, absorbed):
    """Fills `replace` and `absorbed` for one model, without nested models."""
    consumers = uses.counts.copy()
    for node in uses.nodes:
        if len(node.input_tensors) != 1 or len(node.outputs) != 1:
            continue
        source = graph.resolve(node.input_tensors[0], replace)
        output = node.outputs[0]
        if (source.shape, source.dtype) != (output.shape, output.dtype):
            continue
        if not _is_identity(node):
            producer = graph.node_of(source).operation
            once = calls[id(node.operation)] == calls[id(producer)] == 1
            if not once or consumers[id(source)] > 1 or not absorbs(producer):
                continue
            affine = _affine(node, _channel_axis(producer, len(source.shape)))
            if affine is None:
                continue
            scale, shift = absorbed.get(id(producer), (1.0, 0.0))
            absorbed[id(producer)] = (affine[0] * scale, affine[0] * shift + affine[1])
        replace[id(output)] = source
        consumers[id(source)] += consumers[id(output)] - 1


def _value(variable):
    """The value of a variable as a float64 array."""
    return keras.ops.convert_to_numpy(variable.value).astype("float64")


def _trains(node):
    """Whether a call has `training=True`, which also applies at inference."""
    return node.arguments.kwargs.get("training") is True


def _is_identity(node):
    """Whether a call returns its input at inference."""
    operation = node.operation
    if type(operation) is layers.Activation:
        return operation.activation is keras.activations.linear
    if is_label(operation):
        return False
    return type(operation) in _IDENTITIES and not _trains(node)


def _affine(node, channel_axis):
    """`(scale, shift)` of a call that only scales and shifts channels, or None."""
    layer = node.operation
    if type(layer) is ImportanceScale:
        return _value(layer.importance), 0.0
    if type(layer) is not layers.BatchNormalization or _trains(node):
        return None
    if layer.axis % len(node.outputs[0].shape) != channel_axis:
        return None
    return _normalization(layer)


def _normalization(layer):
    """`(scale, shift)` that a BatchNormalization applies to channels at inference."""
    scale = 1.0 / np.sqrt(_value(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        scale = scale * _value(layer.gamma)
    shift = -_value(layer.moving_mean) * scale
    return scale, shift + _value(layer.beta) if layer.center else shift


_IDENTITIES = (
    layers.ActivityRegularization,
    layers.AlphaDropout,
    layers.Dropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.Identity,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
)


def _channel_axis(layer, rank):
    """The axis of the channels in the output of a layer, from 0."""
    if type(layer) is layers.BatchNormalization:
        return layer.axis % rank
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    return 1 if first else rank - 1


def _clone_with_parameters(layer, shift):
    """A clone that has the parameters for a scale and, if needed, a shift."""
    config = layer.get_config()
    # Zeros count as a shift, so that the folded graph does not depend on the weights.
    shifts = np.ndim(shift) > 0
    if type(layer) is layers.BatchNormalization:
        config["scale"] = True
        config["center"] = layer.center or shifts
    else:
        config["use_bias"] = layer.use_bias or shifts
    return type(layer).from_config(config)


def _assign(old, new, scale, shift):
    """Sets the weights of a clone so that it computes `scale * old(x) + shift`."""
    values = {variable.name: _value(variable) for variable in old.variables}
    if type(old) is layers.BatchNormalization:
        values["gamma"] = values.get("gamma", 1.0) * scale
        values["beta"] = values.get("beta", 0.0) * scale + shift
    else:
        values["kernel"] = values["kernel"] * _along_outputs(old, scale)
        values["bias"] = values.get("bias", 0.0) * scale + shift
    for variable in new.variables:
        variable.assign(np.broadcast_to(values[variable.name], variable.shape))


def _along_outputs(layer, scale):
    """`scale`, a scalar or one value per channel, shaped to broadcast to the kernel."""
    if np.ndim(scale) == 0:
        return scale
    if type(layer) in DEPTHWISE:
        return scale.reshape(layer.kernel.shape[-2:])
    if type(layer) in TRANSPOSE:
        return scale[:, None]
    return scale
