"""Every call of a model, nested models entered, with the shapes that it meets."""

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
    """One call of an operation, with the shapes that it meets there.

    Attributes:
        node: the node of the graph.
        operation: a layer or raw operation, never a functional model.
        args, kwargs: of the call.
        inputs, outputs: symbolic tensors; no two calls of a trace share an output.
        places: `(functional model, node)` of the calls of nested models around it,
            from the outermost in, and of its own.
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
        """The `Inside` of a layer; None if symbolic tensors cannot show it."""
        return _inside(self)


@dataclasses.dataclass(frozen=True)
class Inside:
    """What the call of a layer consists of, for one example.

    What does not depend on the layer's inputs, such as a product of two of its weights,
    is not among it.

    Attributes:
        calls: list of `Call`, in order of computation.
        inputs: dict from `id(tensor)` of the layer's call to the tensor that stands
            in for it here.
        outputs: list of tensors.
    """

    calls: list
    inputs: dict
    outputs: list


def trace(model, replace=None, input_shape=None, batch=None):
    """All calls that the model's outputs depend on, those in nested models included.

    A nested model that is called twice has its calls twice. One that was built on
    unknown dimensions is given those that it meets.

    Args:
        model: a functional model.
        replace: as for `nodes`; tensors of nested models, too.
        input_shape: shape without the batch, to stand in for that of the model's one
            input, which leaves sizes open.
        batch: size to stand in for an open batch.

    Raises:
        ValueError: if `input_shape` does not fit the model.

    Returns:
        list of `Call` in order of computation, and the list of the output tensors.
    """
    calls, inputs = [], model.inputs
    if input_shape is not None:
        inputs = [_of_shape(model, tuple(input_shape))]
    if batch is not None:
        inputs = [keras.KerasTensor(_with_batch(t, batch), t.dtype) for t in inputs]
    outputs = _trace(model, inputs, replace or {}, calls, around=())
    return calls, outputs


def trace_example(model, input_shape=None):
    """`trace` with a batch of 1 where the batch is open: all sizes are of one example.

    Where positions are moved into the first axis, as windows are, that shows how many
    there are. Should a layer refuse such a batch, it is left open.
    """
    try:
        return trace(model, input_shape=input_shape, batch=1)
    except Exception:  # whatever a layer's author did not foresee
        return trace(model, input_shape=input_shape)


def _with_batch(tensor, batch):
    """The shape of a tensor, an open first axis being of size `batch`."""
    return tuple(
        batch if axis == 0 and size is None else size
        for axis, size in enumerate(tensor.shape)
    )


def _of_shape(model, shape):
    """A symbolic tensor like the model's one input, of another shape."""
    own = tuple(model.inputs[0].shape[1:])
    if len(model.inputs) != 1 or not graph.fits(shape, own):
        raise ValueError(
            "`input_shape` says the sizes that a model's one input leaves open. "
            f"Received: input_shape={shape} for inputs of shapes "
            f"{[tuple(tensor.shape[1:]) for tensor in model.inputs]}."
        )
    return keras.KerasTensor((None, *shape), model.inputs[0].dtype)


def _trace(model, inputs, replace, calls, around):
    known = dict(zip(map(id, model.inputs), inputs, strict=True))
    for node in graph.nodes(model, replace):
        if id(node.outputs[0]) in known:
            continue
        # The originals' ids are what `fill_in` looks for.
        found = {
            id(t): known[id(graph.resolve(t, replace))] for t in node.input_tensors
        }
        args, kwargs = node.arguments.fill_in(found)
        tensors = [found[id(t)] for t in node.input_tensors]
        places = (*around, (model, node))
        deeper = graph.inner(node.operation)
        if deeper is not None:
            # Masks and optional inputs aside, it is called on one structure.
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
        # Of one example: many layers cannot work with a batch of unknown size.
        inputs = {
            id(t): keras.Input(batch_shape=_with_batch(t, 1), dtype=t.dtype)
            for t in call.inputs
        }
        args, kwargs = keras.tree.map_structure(
            lambda value: inputs.get(id(value), value), (call.args, call.kwargs)
        )
        # Nothing that a call changes, such as a seed, is changed for good.
        with unnoted(layer), keras.StatelessScope(), _symbolic_variables():
            outputs = layer.call(*args, **kwargs)
            calls, outputs = trace(keras.Model(list(inputs.values()), outputs))
    except Exception:  # whatever a layer's author did not foresee
        return None
    for each in calls:  # also in layers that a function holds, which no layer knows
        # Of a call within a nested model, the call of that model: the others are its.
        _, new = each.places[0]
        noted = new.operation._inbound_nodes
        noted[:] = [node for node in noted if node is not new]
    return Inside(calls, inputs, outputs) if len(outputs) == len(call.outputs) else None


_patching = threading.RLock()


@contextlib.contextmanager
def _symbolic_variables():
    """`variable * tensor` is symbolic, too, as `tensor * variable` is in Keras."""
    patch = mock.patch.multiple(
        keras.Variable,
        __add__=keras.ops.add,
        __sub__=keras.ops.subtract,
        __mul__=keras.ops.multiply,
        __truediv__=keras.ops.divide,
        __pow__=keras.ops.power,
        __matmul__=keras.ops.matmul,
    )
    with _patching, patch:  # all threads share the class
        yield


@contextlib.contextmanager
def unnoted(layer):
    """Takes back the calls that Keras notes in a layer and in those inside it."""
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
