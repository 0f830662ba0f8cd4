"""Layers and weights that several operations of a graph share, and their copies.

A model may call both a wrapper and the layer inside it, and a head may use the weights
of an embedding. If each were copied separately, the copies would no longer share them.
"""

import collections
import contextlib
import inspect

import keras
from keras.src.backend.common import global_state

_CONFIGS, _OBJECTS = "shared_objects/id_to_config_map", "shared_objects/id_to_obj_map"


def layers_inside(operation):
    """The layers inside an operation, at any depth."""
    if isinstance(operation, keras.layers.Layer):
        return operation._flatten_layers(include_self=False)
    return []


def holders(operations):
    """Counts for each layer, by `id(layer)`, how many operations are or contain it.

    Args:
        operations: list of different operations.
    """
    counts = collections.Counter()
    for operation in operations:
        counts.update({id(operation), *map(id, layers_inside(operation))})
    return counts


def read_weights(node):
    """Weights among the arguments of a call: `ops.matmul(x, layer.kernel)`."""
    values = keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
    return [value for value in values if isinstance(value, keras.Variable)]


def renewed(arguments, pairs):
    """Replaces original weights in the arguments of a call by the new ones.

    Args:
        arguments: any structure.
        pairs: `(operation, its copy)` of everything copied so far.

    Returns:
        `(arguments, problem)`: `problem` is a clause about a weight that belongs to
        none of the copied operations, or None.
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
            f"the weight '{value.path}', which belongs to no layer called before it, "
            "so its copy would use the weight of the original model. Move the "
            "operation into a layer that owns the weight."
        )
        return value

    arguments = keras.tree.map_structure(new, arguments)
    return arguments, missing[0] if missing else None


def split_model(operations, closed, counts):
    """Looks for a model inside a layer of which a part is used elsewhere too.

    Keras rebuilds such a model from its configuration by counting the calls of its
    layers, and calls from elsewhere would be counted as well.

    Args:
        operations: dict of all operations by their ids.
        closed: the operations that are not functional models.
        counts: result of `holders(closed)`.

    Returns:
        A sentence about the first such model, or None.
    """
    for operation in closed:
        for inner in layers_inside(operation):
            if not isinstance(inner, keras.Model):
                continue
            for part in (inner, *layers_inside(inner)):
                if id(part) in operations or counts[id(part)] != counts[id(inner)]:
                    return (
                        f"The layer '{operation.name}' contains the model "
                        f"'{inner.name}', whose part '{part.name}' is used elsewhere "
                        "too: clones of them would not share weights. Call "
                        f"'{inner.name}' itself instead of '{operation.name}'."
                    )
    return None


@contextlib.contextmanager
def kept_shared(shared, made):
    """Context in which copies of layers share layers as the originals do.

    Keras saves shared layers in the same way: the configuration of a shared layer
    contains an id, by which the layer built from it is found again.

    Args:
        shared: ids of the shared layers; only these ids are recorded.
        made: dict from `id(layer)` to its copy. Copies in it are used, new copies are
            added.
    """
    if not shared:
        yield
        return
    before = [global_state.get_global_attribute(name) for name in (_CONFIGS, _OBJECTS)]
    _set((_OnlyShared((key, {}) for key in shared), made))
    try:
        yield
    finally:
        _set(before)


class _OnlyShared(dict):
    """A dict that ignores additions, because Keras would add layers not shared."""

    def __setitem__(self, key, value):
        pass


def _set(values):
    for name, value in zip((_CONFIGS, _OBJECTS), values, strict=True):
        global_state.set_global_attribute(name, value)


def untied(pairs):
    """Checks that copies share weights exactly as the original operations do.

    Args:
        pairs: list of `(operation, its copy)`.

    Returns:
        A clause about the first difference, or None if there is none.
    """
    seen = {}
    for old, new in pairs:
        own, copies = _weights(old), _weights(new)
        if len(own) != len(copies):
            copies = [object() for _ in own]  # stored differently, so not shared
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
        weights: all weights of the original model.

    Returns:
        A sentence about the first such copy, or None.
    """
    originals = set(map(id, weights))
    for old, new in pairs:
        if any(id(weight) in originals for weight in _weights(new)):
            return (
                f"The copy of '{old.name}' uses weights of the original model, so "
                "training one would change the other. `clone` must return a layer "
                "with new weights."
            )
        if any(id(weight) in originals for weight in _reached(new)):
            return (
                f"The function of the Lambda '{old.name}' uses weights of the model, "
                "so its copy would use those of the original model. Replace it by a "
                "layer that contains the layer it uses, and whose `get_config` returns "
                "that layer by `keras.saving.serialize_keras_object`."
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
