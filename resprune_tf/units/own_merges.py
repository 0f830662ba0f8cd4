"""Merges of the user's own: what they return where the branches are zero.

Removing a unit replaces the output of its merge by the shortcut. For additions, this is
what the unit computes with its branch at zero. Any other layer is called on random
values to find out, with random values in place of its trainable weights, because
training changes them.
"""

import contextlib
import hashlib
import math
import weakref

import keras
import numpy as np
from keras.src.backend import get_keras_mask

from resprune_tf.graph import trial

# Sizes of the batch and of other open axes, the first that fit. Some layers join
# examples, such as the frames of a video, or divide an image into windows.
_SIZES = ((2, 8), (48, 8), (2, 56), (2, 64), (1, 8))
_MOST = 2**26  # values of all inputs; larger calls are not tried
_LARGEST = 1000.0  # of the shortcut's values, so that limits of a merge show
_HASHED = 100_000  # values of weights; the results of larger merges are not kept
# Relative differences: half a step of rounding in half precision, two steps otherwise,
# because `a * (x / a)` differs from `x` by one.
_STEPS = {"float16": 2**-11, "bfloat16": 2**-8}
_STEP = 2**-22
_KNOWN = weakref.WeakKeyDictionary()


def returns_shortcut(node, place, beside=()):
    """Whether a merge returns one of its inputs where its branches are zero.

    Args:
        node: node of the merge.
        place: position of the input.
        beside: positions of inputs that are no branches, such as a gate that is
            computed elsewhere. They are random.

    Returns:
        bool, for random values; None if the merge cannot be run by itself.
    """
    state = _state(node.operation)
    known = _KNOWN.setdefault(node, {})
    key = place, tuple(sorted(beside)), state
    if key not in known:
        found = _each_size(_returns_shortcut, node, place, beside)
        if state is None or found is None:
            return found
        known[key] = found
    return known[key]


def uses_branches(node, place):
    """Whether the other inputs of a merge matter, and only for its output.

    Args:
        node, place: as for `returns_shortcut`.

    Returns:
        bool; None if the merge cannot be run by itself.
    """
    return _each_size(_uses_branches, node, place)


def _state(operation):
    """What a merge depends on besides its inputs; None if that is too large."""
    if not isinstance(operation, keras.layers.Layer):
        return ()
    weights = [v for v in operation.weights if keras.backend.is_float_dtype(v.dtype)]
    if sum(math.prod(v.shape) for v in weights) > _HASHED:
        return None
    plain = (bool, int, float, str, tuple)
    settings = {k: v for k, v in vars(operation).items() if isinstance(v, plain)}
    digest = hashlib.sha256(repr(sorted(settings.items())).encode())
    for weight in weights:
        value = keras.ops.convert_to_numpy(keras.ops.cast(weight, "float32"))
        digest.update(value.tobytes())
    return digest.digest()


def _each_size(measure, node, *arguments):
    """The result for the first sizes that the merge can process, or None."""
    for sizes in _SIZES:
        if trial.values_in(node.input_tensors, *sizes) > _MOST:
            continue
        try:
            return measure(node, sizes, *arguments)
        except Exception:  # code of the layer, which may raise anything
            continue
    return None


def _returns_shortcut(node, sizes, place, beside):
    # Roots and logarithms of gates and weights need positive values.
    for positive in (False, True):
        with contextlib.suppress(_NotFinite):
            return _returns(node, sizes, place, beside, positive)
    raise _NotFinite


class _NotFinite(Exception):
    pass


def _returns(node, sizes, place, beside, positive):
    shortcut = node.input_tensors[place]
    step = _STEPS.get(shortcut.dtype, _STEP)
    tensors = node.input_tensors
    masks = any(get_keras_mask(t) is not None or t.dtype == "bool" for t in tensors)
    for masked in (False, True) if masks else (False,):
        rng = np.random.default_rng(0)
        values = {}
        for index, tensor in enumerate(tensors):
            value = trial.random_value(tensor, *sizes, rng)
            if tensor.dtype == "bool":
                value = value if masked else keras.ops.ones_like(value)
            elif index == place:
                if keras.backend.is_float_dtype(tensor.dtype):
                    spread = _LARGEST ** rng.random(value.shape, "float32")
                    value = value * keras.ops.cast(spread, tensor.dtype)
            elif index not in beside:
                value = keras.ops.zeros_like(value)
            elif positive:
                value = keras.ops.abs(value)
            values[id(tensor)] = value
        trial.give_masks(values, tensors, *sizes, rng if masked else None)
        output, _ = _call(node, values, rng, positive)
        if not keras.ops.all(keras.ops.isfinite(output)):
            raise _NotFinite
        if not trial.close([output], [values[id(shortcut)]], step):
            return False
    return True


def _uses_branches(node, sizes, place):
    rng = np.random.default_rng(1)
    outputs = []
    for scale in (0, 1):
        values = {
            id(tensor): trial.random_value(tensor, *sizes, rng) * scale
            for tensor in node.input_tensors
            if tensor.dtype != "bool"
        }
        shortcut = node.input_tensors[place]
        values[id(shortcut)] = keras.ops.ones_like(values[id(shortcut)])
        for tensor in node.input_tensors:
            if tensor.dtype == "bool":
                shape = trial.shape_of(tensor, *sizes)
                values[id(tensor)] = keras.ops.ones(shape, "bool")
        trial.give_masks(values, node.input_tensors, *sizes)
        output, losses = _call(node, values, np.random.default_rng(2))
        if losses:
            return False
        outputs.append(output)
    return not trial.close(*([output] for output in outputs), _STEP)


def _call(node, values, rng, positive=False):
    """The first output of a merge with random weights, and the losses that it adds."""
    weights = []
    if isinstance(node.operation, keras.layers.Layer):
        for layer in node.operation._flatten_layers():
            weights += layer._trainable_variables
    state = []
    for weight in weights:
        value = trial.random_value(weight, 1, 1, rng)
        value = keras.ops.abs(value) if positive else value
        if weight.constraint is not None:
            value = weight.constraint(value)
        state.append((weight, value))
    with keras.StatelessScope(state, collect_losses=True) as scope:
        output, *_ = trial.call_node(node, values)
    return output, scope.losses
