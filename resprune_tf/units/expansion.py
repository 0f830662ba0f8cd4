"""Replaces layers that contain layers by their contents, so that units are found."""

from __future__ import annotations

import collections
import inspect
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras.src.backend import get_keras_mask

from resprune_tf import graph
from resprune_tf.graph import trial
from resprune_tf.graph.cloning import cloning
from resprune_tf.graph.tracing import deleting_new_nodes
from resprune_tf.system.advice import advice
from resprune_tf.system.wording import first_line
from resprune_tf.units import merges

# Sizes that stand for open ones, large enough for the strides of common models.
_BATCH, _OPEN = 2, 64
_MOST = 2**26  # values of the inputs of a layer that is checked alone
_TOLERANCES = 1e-4, 1e-5


def expand(
    model: keras.Model,
    kinds: Any = None,
    inputs: Any = None,
    clone: Callable | None = None,
) -> keras.Model:
    """Replaces layers that contain layers by the layers that they call.

    Blocks written as layers (`class Block(keras.layers.Layer)`) and subclassed models
    hide their residual units. `expand` runs the `call` of each such layer on symbolic
    tensors, which reveals the layers and operations inside; nested blocks are expanded
    too. A block qualifies if it has no weights besides those of its layers and if its
    `call` consists of layers and operations. Control flow that depends on values or on
    `training` would be lost, so the result is compared with `model` on random inputs.

    Args:
        model: a functional `keras.Model`, a built `Sequential`, or, if `inputs` is
            given, any other `keras.Model`; it is not changed.
        kinds: layer class, or several, to expand. Defaults to every layer that
            contains layers, is neither one of Keras's own nor registered by
            `register_unit`, and can be expanded.
        inputs: `keras.Input`, or the structure of inputs that `model` takes; needed
            for a subclassed model.
        clone: as for `remove_units`.

    Returns:
        A new functional `keras.Model`, not compiled, with the same outputs. It shares
        no layer with `model`. The name of an expanded layer is the prefix of the names
        of the layers inside: `block3_conv1`.

    Raises:
        ValueError: if no layer can be expanded, a layer of `kinds` cannot be expanded,
            or the result computes something else.
        CloneError: if a layer inside cannot be cloned.
        TypeError: if `model` is not functional and `inputs` is not given, or if
            `kinds` is not a class of layers, or several.

    >>> units = find_units(expand(model, kinds=ResidualBlock))
    """
    if kinds is not None:
        kinds = tuple(kinds) if isinstance(kinds, (list, tuple)) else (kinds,)
        for kind in kinds:
            merges.check_kind(kind, "expand")
    with deleting_new_nodes(model):
        if inputs is not None:
            outer = keras.Model(inputs, model(inputs), name=model.name)
            outer.dtype_policy = model.dtype_policy  # `compile` reads it
        else:
            graph.check_functional(model, "expand")
            outer = model
        expansion = _Expansion(model, kinds)
        expansion.expand_level(graph.inner(outer))
        if not expansion.replace:
            wanted = "that contains layers and can be expanded"
            if kinds:
                wanted = f"of the kinds {', '.join(kind.__name__ for kind in kinds)}"
            reasons = "".join(f"\n  {why}" for why in expansion.failed.values())
            raise ValueError(f"'{model.name}' has no layer {wanted}.{reasons}")
        # A subclassed model itself is expanded too, so its name is not used.
        names = {id(model): None, **expansion.names}
        expanded = graph.rebuild(outer, expansion.replace, cloning(clone), names=names)
    _check(model, expanded)
    return expanded


class _Expansion:
    """Expands layers of a model and of the models nested in it.

    Attributes:
        replace: edit for `graph.rebuild`: the outputs of the expanded layers.
        names: for `graph.rebuild`: the names of the layers found inside.
        failed: dict from `id(layer)` to the reason why it could not be expanded.
    """

    def __init__(self, model, kinds):
        self._model, self._kinds = model, kinds
        self.replace, self.names = {}, {}
        self.failed, self._done = {}, set()
        self._taken = collections.Counter()

    def expand_level(self, level):
        """Expands the requested layers of a functional model and of nested models."""
        if id(level) in self._done:
            return
        self._done.add(id(level))
        order = graph.nodes(level)
        self._taken.update(node.operation.name for node in order)
        self._expand_nodes(order)

    def _expand_nodes(self, order):
        for node in order:
            deeper = graph.inner(node.operation)
            if deeper is not None:
                self.expand_level(deeper)
            elif self._is_wanted(node.operation):
                # An expanded layer can only cut off nodes that precede it in `order`,
                # so the nodes that follow are all still in use.
                self._expand_nodes(self._expand_node(node))

    def _is_wanted(self, operation):
        if operation is self._model:
            return True
        if id(operation) in self.failed:
            return False
        if self._kinds is not None:
            return isinstance(operation, self._kinds)
        return is_composite(operation) and not merges.is_unit(operation)

    def _expand_node(self, node):
        """Expands the layer of a node; returns the nodes inside, [] on failure."""
        layer = node.operation
        try:
            outputs, inside = _run(node)
        except Exception as error:
            why = (
                f"The layer '{layer.name}' of type {type(layer).__name__} cannot be "
                f"expanded: {error}"
            )
            if self._kinds is None and layer is not self._model:
                self.failed[id(layer)] = why
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
                # Keras numbers the operations of the whole process.
                name = re.sub(r"_\d+$", "", name)
            name = prefix + name
            self._taken[name] += 1
            if self._taken[name] > 1:
                name += f"_{self._taken[name] - 1}"
            self.names[id(operation)] = name


def is_composite(operation):
    """Whether an operation is a custom layer that contains layers.

    True also for a layer of Keras, such as `TimeDistributed`, around a custom layer or
    a model.
    """
    if not isinstance(operation, keras.layers.Layer):
        return False
    inside = list(operation._flatten_layers(include_self=False))
    if not _is_keras(operation):
        return bool(inside)
    return any(not _is_keras(each) for each in inside)


def _is_keras(layer):
    return type(layer).__module__.startswith("keras.src.layers")


def _run(node):
    """Runs a layer on symbolic tensors; returns its outputs and the nodes inside."""
    layer = node.operation
    if layer._trainable_variables or layer._non_trainable_variables:
        raise ValueError(
            "it has weights of its own, outside the layers in it. Move them into a "
            "layer, or do not expand it."
        )

    def cast(value):
        # `__call__` does the same before `call`.
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
        raise ValueError(
            "its `call` returns other shapes or dtypes for symbolic tensors than its "
            "node in the graph has. Compute shapes from the inputs alone."
        )
    inside = _inside(node, outputs)
    for each in inside:
        values = keras.tree.flatten((each.arguments.args, each.arguments.kwargs))
        if any(isinstance(value, keras.Variable) for value in values):
            raise ValueError(
                f"its operation '{each.operation.name}' uses a weight directly. Move "
                "it into a layer that owns the weight."
            )
    _check_values(node, outputs, inside)
    return outputs, inside


def _check_values(node, outputs, inside):
    """Raises a ValueError unless the nodes inside compute what the layer does.

    A call of a layer on symbolic tensors may depend on what is unknown there: `if`s on
    values, or a size such as `ops.shape(x)[0]`, which is None.
    """
    tensors = node.input_tensors
    if trial.values_in(tensors, _BATCH, _OPEN) > _MOST:
        return  # the whole model is compared at the end
    if any(get_keras_mask(tensor) is not None for tensor in tensors):
        return  # Keras hands the mask itself to the layers inside
    rng = np.random.default_rng(0)
    values = {id(t): trial.random_value(t, _BATCH, _OPEN, rng) for t in tensors}
    try:
        with keras.StatelessScope():
            expected = trial.call_node(node, values)
    except Exception:  # these sizes may not fit the layer
        return
    try:
        with keras.StatelessScope():
            for each in inside:
                found = trial.call_node(each, values)
                values.update(zip(map(id, each.outputs), found, strict=True))
        same = trial.close([values[id(t)] for t in outputs], expected, *_TOLERANCES)
    except Exception as error:
        raise ValueError(
            "its layers and operations cannot be called one by one. If it uses a size "
            "of its input, such as `ops.shape(x)[0]`: this is None while a layer is "
            f"opened, and `reshape` accepts -1 instead. The error: "
            f"{first_line(error)}"
        ) from error
    if not same:
        raise ValueError(
            "its `call` does more than call layers and operations: on random inputs, "
            "these compute other outputs."
        )


def _check_training(layer, node, args, kwargs):
    """Raises a ValueError if training behaviour of the layer itself would be lost."""
    if layer.activity_regularizer is not None:
        raise ValueError(
            "it has an activity regularizer, which would be lost. Set it on a layer "
            "inside."
        )
    contents, own = [], set(map(id, layer._flatten_layers()))
    for training in (False, True):
        outputs = _run_with_training(layer, args, kwargs, training)
        contents.append(_content(node, outputs, training, own))
    if contents[0] != contents[1]:
        raise ValueError(
            "its `call` behaves differently in training, which would be lost. Move the "
            "difference into a layer."
        )


def _run_with_training(layer, args, kwargs, training):
    """Runs a layer on symbolic tensors as a call with `training` does.

    The layers inside receive `training` from the context of the call, unless the layer
    passes another value on.
    """
    if "training" in inspect.signature(layer.call).parameters:
        kwargs = {**kwargs, "training": training}
    layer._get_call_context().training = training
    try:
        return keras.tree.flatten(layer.call(*args, **kwargs))
    finally:
        layer._maybe_reset_call_context()


def _content(node, outputs, training, own):
    """What a run of a layer computes, in a form that can be compared.

    Args:
        node: the layer's node.
        outputs: list of the symbolic outputs of the run.
        training: the `training` of the run.
        own: ids of the layers that the layer contains. Each run creates other layers
            and all raw operations again.

    Raises:
        ValueError: if a layer inside does not follow `training`.
    """
    numbers = {}

    def plain(value):
        if isinstance(value, keras.KerasTensor):
            return "tensor", numbers.setdefault(id(value), len(numbers))
        if isinstance(value, keras.Variable):
            return id(value)
        if hasattr(value, "__array__"):
            array = keras.ops.convert_to_numpy(value)
            return array.shape, array.dtype, array.tobytes()
        return getattr(value, "__code__", value)  # a function of each run

    content = [[plain(tensor) for tensor in node.input_tensors]]
    for inside in _inside(node, outputs):
        operation, arguments = inside.operation, dict(inside.arguments.kwargs)
        fixed = arguments.pop("training", None)
        if fixed not in (None, training):
            raise ValueError(
                f"its `call` passes `training={fixed}` to '{operation.name}', which "
                "would be lost in training. To freeze a layer, set its `trainable` to "
                "False instead, or move the call into a layer of its own."
            )
        made = id(operation)
        if made not in own:
            made = type(operation), _settings(operation)
        values = keras.tree.flatten((inside.arguments.args, arguments))
        values += inside.outputs
        content.append((made, [plain(value) for value in values]))
    return content, [plain(tensor) for tensor in outputs]


def _settings(operation):
    """The configuration of an operation without names, as far as it has one."""
    if isinstance(operation, keras.layers.Layer):
        settings = operation.get_config()
    else:
        recorded = getattr(operation, "_auto_config", None)
        settings = recorded.config if recorded else {}
    settings = graph.without_names(settings)
    return {key: getattr(value, "__code__", value) for key, value in settings.items()}


def _inside(node, outputs):
    """The nodes between the inputs of a node and the outputs of a run of its layer."""
    given = {id(graph.node_of(tensor)) for tensor in node.input_tensors}
    between = graph.nodes_between(node.input_tensors, outputs)
    return [each for each in between if id(each) not in given]


def _check(model, expanded):
    """Raises a ValueError unless two models agree on random inputs."""
    rng = np.random.default_rng(0)
    inputs = keras.tree.map_structure(
        lambda tensor: trial.random_value(tensor, _BATCH, _OPEN, rng),
        expanded._inputs_struct,
    )
    expected, found = (
        keras.tree.flatten(each(inputs, training=False)) for each in (model, expanded)
    )
    if not trial.close(found, expected, *_TOLERANCES):
        raise ValueError(
            f"Expanding layers of '{model.name}' changes its outputs: the `call` of "
            "one of them does more than call layers and operations."
            + advice(" Pass `kinds` to expand the other layers only.")
        )
