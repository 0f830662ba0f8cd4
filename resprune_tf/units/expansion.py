"""Opening layers that hold layers, so that the units inside can be found."""

from __future__ import annotations

import collections
import inspect
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from resprune_tf import graph
from resprune_tf.graph.cloning import cloning
from resprune_tf.graph.tracing import unnoted
from resprune_tf.system.advice import advice
from resprune_tf.units import merges


def expand(
    model: keras.Model,
    kinds: Any = None,
    inputs: Any = None,
    clone: Callable | None = None,
) -> keras.Model:
    """A functional model in which layers are replaced by what they call inside.

    Blocks written as layers (`class Block(keras.layers.Layer)`) and subclassed models
    hide their residual units. Each is opened by calling its `call` on symbolic
    tensors, which shows the layers and operations it consists of; those of nested
    blocks, too. It has to treat its inputs by layers and operations alone: what its
    `call` decides by values, or by `training`, is lost, so the result is compared
    with `model` on random inputs. It must have no weights of its own beside its
    layers'.

    Args:
        model: a functional `keras.Model`, a built `Sequential`, or any other
            `keras.Model` if `inputs` is given; it is only read.
        kinds: a class of layers, or several: those that are opened. By default every
            layer that holds layers, is none of Keras's own, and can be opened.
        inputs: `keras.Input`, or the structure of them that `model` takes, for a
            model that has no graph.
        clone: as for `remove_units`.

    Returns:
        A functional `keras.Model`, not compiled, that shares nothing with `model` and
        has its outputs. Inner layers' names follow those of the layers they come
        from: `block3_conv1`.

    Raises:
        ValueError: if a layer of `kinds` cannot be opened, there is none, or the
            result computes something else.
        CloneError: if a layer inside cannot be cloned.
        TypeError: if `model` has no graph and `inputs` is not given.

    >>> units = find_units(expand(model, kinds=ResidualBlock))
    """
    if kinds is not None:
        kinds = tuple(kinds) if isinstance(kinds, (list, tuple)) else (kinds,)
    with unnoted(model):
        if inputs is not None:
            outer = keras.Model(inputs, model(inputs), name=model.name)
        else:
            graph.check_functional(model, "expand")
            outer = model
        opener = _Opener(model, kinds)
        opener.open(graph.inner(outer))
        if not opener.replace:
            wanted = "that holds layers and can be opened"
            if kinds:
                wanted = f"of the kinds {', '.join(kind.__name__ for kind in kinds)}"
            reasons = "".join(f"\n  {why}" for why in opener.closed.values())
            raise ValueError(f"'{model.name}' has no layer {wanted}.{reasons}")
        # The outputs of a model without a graph are not called by its name.
        names = {id(model): None, **opener.names}
        expanded = graph.rebuild(outer, opener.replace, cloning(clone), names=names)
    _check(model, expanded)
    return expanded


class _Opener:
    """Opens layers of a model, wherever they lie.

    Attributes:
        replace: for `graph.rebuild`: the tensors that layers return when opened.
        names: for `graph.rebuild`: names of the layers that came to light.
        closed: dict from `id(layer)` to why a layer could not be opened.
    """

    def __init__(self, model, kinds):
        self._model, self._kinds = model, kinds
        self.replace, self.names = {}, {}
        self.closed, self._done = {}, set()
        self._taken = collections.Counter()

    def open(self, level):
        """Opens what is wanted in one functional model and in those inside it."""
        if id(level) in self._done:
            return
        self._done.add(id(level))
        order = graph.nodes(level)
        self._taken.update(node.operation.name for node in order)
        self._open_all(order)

    def _open_all(self, order):
        for node in order:
            deeper = graph.inner(node.operation)
            if deeper is not None:
                self.open(deeper)
            elif self._is_wanted(node.operation):
                # What an opened layer does not use came before it, so nothing that
                # is still to come has been cut off.
                self._open_all(self._try(node))

    def _is_wanted(self, operation):
        if operation is self._model:
            return True
        if id(operation) in self.closed:
            return False
        if self._kinds is not None:
            return isinstance(operation, self._kinds)
        return is_composite(operation) and not merges.is_unit(operation)

    def _try(self, node):
        """The nodes that come to light in a layer, none if it stays closed."""
        layer = node.operation
        try:
            outputs, inside = _inside(node)
        except Exception as error:
            why = (
                f"The layer '{layer.name}' of type {type(layer).__name__} cannot be "
                f"opened: {error}"
            )
            if self._kinds is None and layer is not self._model:
                self.closed[id(layer)] = why
                return []
            raise ValueError(why) from error
        self._name(layer, inside)
        self.replace.update(zip(map(id, node.outputs), outputs, strict=True))
        return inside

    def _name(self, layer, inside):
        prefix = ""
        if layer is not self._model:
            prefix = self.names.get(id(layer), layer.name) + "_"
        for node in inside:
            operation = node.operation
            if id(operation) in self.names:
                continue
            name = operation.name
            if not isinstance(operation, keras.layers.Layer):
                name = re.sub(r"_\d+$", "", name)  # counts the process's operations
            name = prefix + name
            self._taken[name] += 1
            if self._taken[name] > 1:
                name += f"_{self._taken[name] - 1}"
            self.names[id(operation)] = name


def is_composite(operation):
    """Whether an operation is a layer of others than Keras that holds layers.

    Or one of Keras's, such as `TimeDistributed`, that holds others' or a model.
    """
    if not isinstance(operation, keras.layers.Layer):
        return False
    inside = list(operation._flatten_layers(include_self=False))
    if not _is_keras(operation):
        return bool(inside)
    return any(not _is_keras(each) for each in inside)


def _is_keras(layer):
    return type(layer).__module__.startswith("keras.src.layers")


def _inside(node):
    """What a layer returns for symbolic tensors, and the nodes that lead there."""
    layer = node.operation
    if layer._trainable_variables or layer._non_trainable_variables:
        raise ValueError(
            "it has weights of its own, which no layer inside it holds. Put them "
            "into a layer, or leave it closed."
        )

    def cast(value):
        # As `__call__` would do before `call`.
        if isinstance(value, keras.KerasTensor) and layer.autocast:
            if keras.backend.is_float_dtype(value.dtype):
                if value.dtype != layer.compute_dtype:
                    return keras.ops.cast(value, layer.compute_dtype)
        return value

    args, kwargs = keras.tree.map_structure(
        cast, (node.arguments.args, node.arguments.kwargs)
    )
    _check_training(layer, node, args, kwargs)
    outputs = keras.tree.flatten(layer.call(*args, **kwargs))
    same = [(tensor.shape, tensor.dtype) for tensor in outputs] == [
        (tensor.shape, tensor.dtype) for tensor in node.outputs
    ]
    if not same:
        raise ValueError("its `call` returns other shapes for symbolic tensors.")
    inside = graph.nodes_between(node.input_tensors, outputs)
    given = {id(graph.node_of(tensor)) for tensor in node.input_tensors}
    inside = [each for each in inside if id(each) not in given]
    for each in inside:
        values = keras.tree.flatten((each.arguments.args, each.arguments.kwargs))
        if any(isinstance(value, keras.Variable) for value in values):
            raise ValueError(
                f"its '{each.operation.name}' reads a weight that no layer applies."
            )
    return outputs, inside


def _check_training(layer, node, args, kwargs):
    """Raises a ValueError if a layer does in training what its layers do not."""
    if layer.activity_regularizer is not None:
        raise ValueError("it has an activity regularizer, which would be lost.")
    takes = inspect.signature(layer.call).parameters
    if "training" not in takes or kwargs.get("training") is not None:
        return
    kinds = []
    for training in (False, True):
        outputs = layer.call(*args, **{**kwargs, "training": training})
        inside = graph.nodes_between(node.input_tensors, keras.tree.flatten(outputs))
        kinds.append([type(each.operation) for each in inside])
    if kinds[0] != kinds[1]:
        raise ValueError(
            "its `call` does something else in training, which would be lost. Put that "
            "into a layer."
        )


def _check(model, expanded):
    """Raises a ValueError unless two models agree on random inputs."""
    rng = np.random.default_rng(0)

    def values(tensor):
        # Of the unknown sizes any will do that strided layers leave something of.
        shape = [2, *(size or 64 for size in tensor.shape[1:])]
        return rng.normal(size=shape).astype(tensor.dtype)

    inputs = keras.tree.map_structure(values, expanded._inputs_struct)
    pairs = zip(
        keras.tree.flatten(model(inputs, training=False)),
        keras.tree.flatten(expanded(inputs, training=False)),
        strict=True,
    )
    for expected, found in pairs:
        expected, found = map(keras.ops.convert_to_numpy, (expected, found))
        if not np.allclose(found, expected, rtol=1e-4, atol=1e-5, equal_nan=True):
            raise ValueError(
                f"Opening layers of '{model.name}' changes its outputs, by "
                f"{np.abs(found - expected).max():.3g}: a `call` among them does more "
                "than to call layers and operations."
                + advice(" Name the `kinds` to open.")
            )
