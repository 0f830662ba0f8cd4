"""Layers and weights that several operations of a graph hold, and their copies.

A wrapper and the layer inside it may both be called, and a head may use the weights of
an embedding. Copied one by one, each would get weights of its own.
"""

import collections
import contextlib
import inspect

import keras
from keras.src.backend.common import global_state

_CONFIGS, _OBJECTS = "shared_objects/id_to_config_map", "shared_objects/id_to_obj_map"


def held_layers(operation):
    """The layers inside an operation, at any depth."""
    if isinstance(operation, keras.layers.Layer):
        return operation._flatten_layers(include_self=False)
    return []


def holders(operations):
    """How many operations hold each layer, or are it, by the layers' ids.

    Args:
        operations: list of different operations.
    """
    counts = collections.Counter()
    for operation in operations:
        counts.update({id(operation), *map(id, held_layers(operation))})
    return counts


def read_weights(node):
    """Weights that a call is given as arguments: `ops.matmul(x, layer.kernel)`."""
    values = keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
    return [value for value in values if isinstance(value, keras.Variable)]


def renewed(arguments, pairs):
    """Arguments of a call with new weights in place of the original ones.

    Args:
        arguments: of any structure.
        pairs: `(operation, its copy)` of all that was copied so far.

    Returns:
        `(arguments, problem)`: `problem` is a sentence about a weight that belongs to
        none of these, or None.
    """
    missing = []

    def new(value):
        if not isinstance(value, keras.Variable):
            return value
        for old, made in pairs:
            places = [weight is value for weight in _weights(old)]
            if True in places and len(_weights(made)) == len(places):
                return _weights(made)[places.index(True)]
        missing.append(
            f"the weight '{value.path}', which is of no layer that is called before "
            "it, so its copy would go on using the original's. Make a layer of it that "
            "holds the weight."
        )
        return value

    arguments = keras.tree.map_structure(new, arguments)
    return arguments, missing[0] if missing else None


def split_model(operations, closed, counts):
    """Looks for a model inside a layer of which something else uses a part.

    Keras makes such a model from its configuration by the order of its layers' calls,
    which are no longer its own then.

    Args:
        operations: dict of all operations by their ids.
        closed: those that are no models.
        counts: what `holders` found for these.

    Returns:
        A sentence about the first one, or None if there is none.
    """
    for operation in closed:
        for held in held_layers(operation):
            if not isinstance(held, keras.Model):
                continue
            for part in (held, *held_layers(held)):
                if id(part) in operations or counts[id(part)] != counts[id(held)]:
                    return (
                        f"The layer '{operation.name}' holds the model '{held.name}', "
                        f"and '{part.name}' of it is used elsewhere, too: they cannot "
                        "be cloned so that they go on sharing weights. Call "
                        f"'{held.name}' itself instead of '{operation.name}'."
                    )
    return None


@contextlib.contextmanager
def kept_shared(shared, made):
    """Layers that are made from configurations within it are shared where theirs are.

    This is how Keras keeps layers shared in its own files: a configuration states the
    identity of a layer, and what has been made of it is looked up by that.

    Args:
        shared: ids of the layers that are shared; of no others identities are stated.
        made: dict from the id of a layer to its copy. What is there is used, and what
            is made is added.
    """
    if not shared:
        yield
        return
    before = [global_state.get_global_attribute(name) for name in (_CONFIGS, _OBJECTS)]
    _set((_Stated((key, {}) for key in shared), made))
    try:
        yield
    finally:
        _set(before)


class _Stated(dict):
    """Keras states the identity of what it finds here, and adds all that it meets."""

    def __setitem__(self, key, value):
        pass


def _set(values):
    for name, value in zip((_CONFIGS, _OBJECTS), values, strict=True):
        global_state.set_global_attribute(name, value)


def untied(pairs):
    """Compares how weights are shared among operations and among their copies.

    Args:
        pairs: list of `(operation, its copy)`.

    Returns:
        A clause about the first difference, or None if there is none.
    """
    seen = {}
    for old, new in pairs:
        own, copies = _weights(old), _weights(new)
        if len(own) != len(copies):
            copies = [object() for _ in own]  # in another form, so not shared
        for weight, copy in zip(own, copies, strict=True):
            known, holder = seen.setdefault(id(weight), (copy, old.name))
            if known is not copy:
                return (
                    f"the layers '{holder}' and '{old.name}' share the weight "
                    f"'{weight.path}', but their copies do not"
                )
    return None


def not_new(pairs, weights):
    """Looks for copies that use weights of the original model.

    Args:
        pairs: list of `(operation, its copy)`.
        weights: all those of the original model.

    Returns:
        A sentence about the first one, or None if there is none.
    """
    originals = set(map(id, weights))
    for old, new in pairs:
        if any(id(weight) in originals for weight in _weights(new)):
            return (
                f"The copy of '{old.name}' uses weights of the original model, so that "
                "training one would change the other. `clone` must return a layer of "
                "new weights."
            )
        if any(id(weight) in originals for weight in _reached(new)):
            return (
                f"The function of the Lambda '{old.name}' uses weights of the model, "
                "so a copy of it would go on using those of the original. Write a "
                "layer that holds the other layer, and whose `get_config` returns it "
                "by `keras.saving.serialize_keras_object`."
            )
    return None


def _weights(operation):
    return operation.weights if isinstance(operation, keras.layers.Layer) else []


def _reached(layer):
    """Weights that the function of a `Lambda` refers to by its names or arguments."""
    if not isinstance(layer, keras.layers.Lambda):
        return
    outer = layer.function
    inner = getattr(outer, "func", outer)  # of a partial function
    found = [layer.arguments, getattr(inner, "__self__", None)]
    found += [getattr(outer, name, None) for name in ("args", "keywords")]
    if inspect.isfunction(inner) or inspect.ismethod(inner):
        names = inspect.getclosurevars(inner)
        found += [names.nonlocals, names.globals, inner.__defaults__]
    for value in keras.tree.flatten(found):
        if isinstance(value, keras.Variable):
            yield value
        elif isinstance(value, keras.layers.Layer):
            yield from value.weights
