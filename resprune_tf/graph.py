"""Walking and rebuilding the graph of a functional Keras model.

The one place that touches Keras's graph internals: `_keras_history` of a tensor,
`_inbound_nodes` of an operation and `arguments` of a node. A node is one call of an
operation (a layer, or a raw op such as `x + y`); a shared layer has several.
"""

import keras
import numpy as np


def check_functional(model, purpose):
    """Raises a TypeError unless `model` is a functional Keras model."""
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"{purpose} needs a keras.Model. Received: {type(model).__name__}."
        )
    if not hasattr(model, "_inputs_struct"):
        raise TypeError(
            f"{purpose} reads the graph of a functional model "
            "(`keras.Model(inputs, outputs)`); a Sequential must be built first, and "
            "a subclassed model has no graph to read. "
            f"Received: '{model.name}' of type {type(model).__name__}."
        )


def as_functional(model, purpose):
    """`model` itself, or the functional model inside a built Sequential.

    Raises:
        TypeError: if it is neither.
    """
    model = getattr(model, "_functional", None) or model
    check_functional(model, purpose)
    return model


def node_of(tensor):
    """The node that made a symbolic tensor."""
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index]


def resolve(tensor, replace):
    """Follows `replace` (id of a tensor -> tensor) to its end."""
    while id(tensor) in replace:
        tensor = replace[id(tensor)]
    return tensor


def nodes(model, replace=None):
    """Nodes that the model's outputs depend on, inputs first.

    Walking back from the outputs, instead of listing `model.layers`, gives each call
    of a shared layer its own node and leaves out what `replace` cut off.

    Args:
        model: a functional model.
        replace: dict from `id(tensor)` to the tensor that stands in for it.
    """
    replace = replace or {}
    order, done = [], set()
    entrances = {id(tensor) for tensor in model.inputs}
    stack = [(resolve(t, replace), False) for t in reversed(model.outputs)]
    while stack:
        tensor, expanded = stack.pop()
        node = node_of(tensor)
        if id(node) in done:
            continue
        if expanded:
            done.add(id(node))
            order.append(node)
            continue
        stack.append((tensor, True))
        if id(tensor) not in entrances:
            stack.extend((resolve(t, replace), False) for t in node.input_tensors)
    return order


def clone_operation(operation):
    """A new operation of the same configuration, without its variables' values."""
    return type(operation).from_config(operation.get_config())


def copy_state(source, target):
    """Copies all variables, seed generators' included, from operation to operation."""
    sources, targets = source.variables, target.variables
    if [v.shape for v in sources] != [v.shape for v in targets]:
        raise ValueError(
            f"'{source.name}' does not rebuild from its configuration: its variables "
            f"have shapes {[v.shape for v in sources]}, its clone's "
            f"{[v.shape for v in targets]}."
        )
    for old, new in zip(sources, targets, strict=True):
        # A copy: on JAX two variables must not share one buffer, which the next
        # training step gives away.
        new.assign(np.array(keras.ops.convert_to_numpy(old)))
    for layer in target._flatten_layers():
        # Normalization caches its mean and variance outside its variables.
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def _entrance(tensor):
    """A new `keras.Input` like the one behind `tensor`."""
    layer = tensor._keras_history.operation
    return keras.Input(
        batch_shape=tensor.shape,
        dtype=tensor.dtype,
        sparse=tensor.sparse,
        name=layer.name,
        optional=getattr(layer, "optional", False),
    )


def rebuild(model, replace=None, clone=clone_operation, copy=copy_state, insert=None):
    """A new functional model that computes the graph of `model`, edited.

    No layer or variable is shared with `model`, which stays as it is.

    Args:
        model: a functional model.
        replace: dict from `id(tensor)` to the tensor used in its place; what is no
            longer needed is left out.
        clone: function from an operation to its new instance, called once for each.
        copy: function `(old, new)` that copies an operation's state once it is built.
        insert: dict from `(id(node), id(tensor))` to a new layer through which that
            input of that node is led.

    Returns:
        The new model, with the names, nested input and output structure and dtype
        policy of `model`.
    """
    replace, insert = replace or {}, insert or {}
    made, clones = {}, {}
    inputs = []
    for tensor in model.inputs:
        inputs.append(_entrance(tensor))
        made[id(tensor)] = inputs[-1]
    order = nodes(model, replace)
    for node in order:
        if node.is_input:
            continue
        arguments = {}
        for tensor in node.input_tensors:
            value = made[id(resolve(tensor, replace))]
            layer = insert.get((id(node), id(tensor)))
            arguments[id(tensor)] = value if layer is None else layer(value)
        args, kwargs = node.arguments.fill_in(arguments)
        operation = node.operation
        if id(operation) not in clones:
            clones[id(operation)] = (operation, clone(operation))
        outputs = clones[id(operation)][1](*args, **kwargs)
        for old, new in zip(node.outputs, keras.tree.flatten(outputs), strict=True):
            made[id(old)] = new
    outputs = [made[id(resolve(tensor, replace))] for tensor in model.outputs]
    new_model = keras.Model(
        keras.tree.pack_sequence_as(model._inputs_struct, inputs),
        keras.tree.pack_sequence_as(model._outputs_struct, outputs),
        name=model.name,
    )
    # A functional model takes the global policy, not its layers': compile() would
    # then drop the loss scaling of a mixed_float16 model without a word.
    new_model.dtype_policy = model.dtype_policy
    for old, new in clones.values():
        if isinstance(old, keras.layers.Layer):
            copy(old, new)
    return new_model
