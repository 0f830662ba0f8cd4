"""Lists every call of a model, nested models included, with its actual shapes.

A nested model or a layer was built once, perhaps on open sizes, and may be called
several times with other shapes. MACs depend on the shapes of each call, so the trace
walks the graph and infers shapes again, call by call, without computing any values.

Layers without a counting rule are traced too, by running their `call` on symbolic
tensors: `Call.inside`. If a `call` needs values, this fails, and a layer with a kernel
is reported as uncounted.
"""

import contextlib
import dataclasses
import functools
import threading
from typing import Any
from unittest import mock

import keras

from resprune_tf import graph


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One call of an operation, with the shapes of this call.

    Attributes:
        node: the node of the graph.
        operation: a layer or raw operation, never a functional model.
        args, kwargs: arguments of the call.
        inputs, outputs: symbolic tensors; no two calls of a trace share an output.
        places: tuple of `(functional model, node)`: the calls of nested models around
            it, outermost first, and last the call itself.
    """

    node: Any
    operation: Any
    args: tuple
    kwargs: dict
    inputs: list
    outputs: list
    places: tuple

    @functools.cached_property
    def inside(self):
        """The `Inside` of a layer; None if its `call` fails on symbolic tensors."""
        return _inside(self)


@dataclasses.dataclass(frozen=True)
class Inside:
    """The calls inside a layer, for one example.

    Operations that do not depend on the layer's inputs, such as the product of two of
    its weights, are not included.

    Attributes:
        calls: list of `Call`, in order of computation.
        inputs: dict from `id(tensor)`, of an input of the layer's call, to the tensor
            that represents it here.
        outputs: list of symbolic tensors.
    """

    calls: list
    inputs: dict
    outputs: list


def trace(model, replace=None, batch=None):
    """Lists all calls that the model's outputs depend on, nested models included.

    If a nested model is called twice, its calls are listed twice, each time with the
    shapes of that call.

    Args:
        model: a functional model.
        replace: as for `nodes`; tensors of nested models are allowed.
        batch: batch size to assume if the batch is open.

    Returns:
        list of `Call` in order of computation, and the list of the output tensors.
    """
    calls, inputs = [], model.inputs
    if batch is not None:
        inputs = [keras.KerasTensor(_with_batch(t, batch), t.dtype) for t in inputs]
    outputs = _trace(model, inputs, replace or {}, calls, around=())
    return calls, outputs


def trace_example(model):
    """`trace` for one example: an open batch has size 1.

    Some layers, such as window attention, move positions into the first axis, so
    their sizes are known only if the batch is. If a layer does not accept a batch of
    1, the batch remains open.
    """
    try:
        return trace(model, batch=1)
    except Exception:  # code of the layer, which may raise anything
        return trace(model)


def _with_batch(tensor, batch):
    """The shape of a tensor, with `batch` as the size of an open first axis."""
    return tuple(
        batch if axis == 0 and size is None else size
        for axis, size in enumerate(tensor.shape)
    )


def _trace(model, inputs, replace, calls, around):
    known = dict(zip(map(id, model.inputs), inputs, strict=True))
    for node in graph.nodes(model, replace):
        if id(node.outputs[0]) in known:
            continue
        # `fill_in` looks for the ids of the original tensors.
        found = {
            id(t): known[id(graph.resolve(t, replace))] for t in node.input_tensors
        }
        args, kwargs = node.arguments.fill_in(found)
        tensors = [found[id(t)] for t in node.input_tensors]
        places = (*around, (model, node))
        deeper = graph.inner(node.operation)
        if deeper is not None:
            # A model is called on one structure of tensors, besides masks.
            given = keras.tree.flatten(args[0] if args else kwargs.get("inputs"))
            if len(given) != len(deeper.inputs):
                given = deeper.inputs
            outputs = _trace(deeper, given, replace, calls, places)
        else:
            outputs = _outputs(node, tensors, args, kwargs, nested=bool(around))
            made = tensors, list(outputs)
            calls.append(Call(node, node.operation, args, kwargs, *made, places))
        known.update(zip(map(id, node.outputs), outputs, strict=True))
    return [known[id(graph.resolve(tensor, replace))] for tensor in model.outputs]


def _outputs(node, tensors, args, kwargs, nested):
    same = [t.shape for t in tensors] == [t.shape for t in node.input_tensors]
    if same and not nested:
        return node.outputs
    if same:
        return [keras.KerasTensor(t.shape, t.dtype) for t in node.outputs]
    return keras.tree.flatten(node.operation.compute_output_spec(*args, **kwargs))


def _inside(call):
    layer = call.operation
    try:
        # For one example: many layers cannot handle an unknown batch size.
        inputs = {
            id(t): keras.Input(batch_shape=_with_batch(t, 1), dtype=t.dtype)
            for t in call.inputs
        }
        args, kwargs = keras.tree.map_structure(
            lambda value: inputs.get(id(value), value), (call.args, call.kwargs)
        )
        # Tracing must leave the layer as it was. The stateless scope undoes changes of
        # variables, such as seeds; `deleting_new_nodes` deletes nodes that calls add.
        with deleting_new_nodes(layer), keras.StatelessScope(), _symbolic_variables():
            outputs = layer.call(*args, **kwargs)
            calls, outputs = trace(keras.Model(list(inputs.values()), outputs))
    except Exception:  # code of the layer, which may raise anything
        return None
    # A `Lambda` may call layers that only its function refers to. The context above
    # does not know them, so their new nodes are deleted here. For calls within a nested
    # model, the node to delete is that of the outermost model.
    for each in calls:
        _, new = each.places[0]
        recorded = new.operation._inbound_nodes
        recorded[:] = [node for node in recorded if node is not new]
    return Inside(calls, inputs, outputs) if len(outputs) == len(call.outputs) else None


_patching = threading.RLock()


@contextlib.contextmanager
def _symbolic_variables():
    """Makes `variable * tensor` symbolic, as `tensor * variable` is in Keras.

    The operators of `keras.Variable` compute at once and fail on symbolic tensors,
    and layers commonly write `self.gamma * x`. Keras has no hook for this, so the
    operators of the class are patched while a layer is traced. The lock keeps
    concurrent traces apart, because all threads share the class.
    """
    patch = mock.patch.multiple(
        keras.Variable,
        __add__=keras.ops.add,
        __sub__=keras.ops.subtract,
        __mul__=keras.ops.multiply,
        __truediv__=keras.ops.divide,
        __pow__=keras.ops.power,
        __matmul__=keras.ops.matmul,
    )
    with _patching, patch:
        yield


@contextlib.contextmanager
def deleting_new_nodes(layer):
    """Context that deletes, at its end, nodes added to a layer and to layers inside."""
    before = [
        (calls, len(calls))
        for each in layer._flatten_layers()
        for calls in (each._inbound_nodes, each._outbound_nodes)
    ]
    try:
        yield
    finally:
        for calls, count in before:
            del calls[count:]
