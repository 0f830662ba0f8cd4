"""Merges of the user's own: what they return where the branches are zero.

Removing a unit replaces the output of its merge by the shortcut. For additions, this is
what the unit computes with its branch at zero. Any other layer is called on random
values to find out, with random values in place of its trainable weights, because
training changes them.
"""

import weakref

import keras
import numpy as np
from keras.src.backend import get_keras_mask

from resprune_tf.graph import trial

# Sizes that stand for open ones. Some layers join several examples, such as the frames
# of a video, so that only a multiple of their number can be a batch.
_BATCHES, _OPEN = (2, 48), 8
_MOST = 2**26  # values of all inputs; larger calls are not tried
# Relative differences: half a step of rounding.
_STEPS = {"float16": 2**-11, "bfloat16": 2**-8}
_STEP = 2**-24
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
    known = _KNOWN.setdefault(node, {})
    key = place, *sorted(beside)
    if key not in known:
        known[key] = _each_batch(_returns_shortcut, node, place, beside)
    return known[key]


def uses_branches(node, place):
    """Whether the other inputs of a merge matter, and only for its output.

    Args:
        node, place: as for `returns_shortcut`.

    Returns:
        bool; None if the merge cannot be run by itself.
    """
    return _each_batch(_uses_branches, node, place)


def _each_batch(measure, node, *arguments):
    """The result for the first batch size that the merge can process, or None."""
    for batch in _BATCHES:
        if trial.values_in(node.input_tensors, batch, _OPEN) > _MOST:
            break
        try:
            return measure(node, batch, *arguments)
        except Exception:  # code of the layer, which may raise anything
            continue
    return None


def _returns_shortcut(node, batch, place, beside):
    shortcut = node.input_tensors[place]
    step = _STEPS.get(shortcut.dtype, _STEP)
    tensors = node.input_tensors
    masks = any(get_keras_mask(t) is not None or t.dtype == "bool" for t in tensors)
    for masked in (False, True) if masks else (False,):
        rng = np.random.default_rng(0)
        values = {}
        for index, tensor in enumerate(tensors):
            value = trial.random_value(tensor, batch, _OPEN, rng)
            if tensor.dtype == "bool":
                value = value if masked else keras.ops.ones_like(value)
            elif index != place and index not in beside:
                value = keras.ops.zeros_like(value)
            if masked:
                trial.give_mask(value, tensor, batch, _OPEN, rng)
            values[id(tensor)] = value
        output, _ = _call(node, values, rng)
        if not trial.close([output], [values[id(shortcut)]], step):
            return False
    return True


def _uses_branches(node, batch, place):
    rng = np.random.default_rng(1)
    outputs = []
    for scale in (0, 1):
        values = {
            id(tensor): trial.random_value(tensor, batch, _OPEN, rng) * scale
            for tensor in node.input_tensors
            if tensor.dtype != "bool"
        }
        shortcut = node.input_tensors[place]
        values[id(shortcut)] = keras.ops.ones_like(values[id(shortcut)])
        for tensor in node.input_tensors:
            if tensor.dtype == "bool":
                shape = trial.shape_of(tensor, batch, _OPEN)
                values[id(tensor)] = keras.ops.ones(shape, "bool")
        output, losses = _call(node, values, np.random.default_rng(2))
        if losses:
            return False
        outputs.append(output)
    return not trial.close(*([output] for output in outputs), _STEP)


def _call(node, values, rng):
    """The first output of a merge with random weights, and the losses that it adds."""
    weights = []
    if isinstance(node.operation, keras.layers.Layer):
        for layer in node.operation._flatten_layers():
            weights += layer._trainable_variables
    state = [(v, trial.random_value(v, 1, 1, rng)) for v in weights]
    with keras.StatelessScope(state, collect_losses=True) as scope:
        output, *_ = trial.call_node(node, values)
    return output, scope.losses
