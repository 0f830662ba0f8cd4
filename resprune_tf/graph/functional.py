"""Walks and rebuilds the graph of a functional Keras model.

It works on the internals of Keras's graph: `_keras_history` of a tensor,
`_inbound_nodes` of an operation and `arguments` of a node. A node is one call of an
operation (a layer, or a raw operation such as `x + y`); a shared layer has several. A
functional model that is called like a layer is a nested model, with its own graph.
"""

import contextlib

import keras
from keras.src.backend import get_keras_mask
from keras.src.models.functional import Functional

from resprune_tf.graph import sharing
from resprune_tf.graph.cloning import CloneError, clone_operation, copy_state, rename


def inner(operation):
    """The functional model that describes what an operation computes, or None.

    A built `Sequential` contains one. A subclass that overrides `call` computes
    something else than its graph, so the result is None.
    """
    if isinstance(operation, keras.Sequential):
        own_call = type(operation).call is not keras.Sequential.call
        return None if own_call else operation._functional
    if isinstance(operation, Functional) and type(operation).call is Functional.call:
        return operation
    return None


def as_functional(model, purpose):
    """`model` itself, or the functional model inside a built `Sequential`.

    Raises:
        TypeError: if it is neither.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"{purpose} expects a keras.Model. Received: {type(model).__name__}."
        )
    functional = inner(model)
    if functional is None:
        raise TypeError(
            f"{purpose} reads the graph of a functional model "
            "(`keras.Model(inputs, outputs)`). "
            f"Received: '{model.name}' of type {type(model).__name__}. "
            "Build a Sequential first. For a model with its own `call`, "
            "`expand(model, inputs=...)` makes a functional model, if that `call` "
            "consists of layers and operations."
        )
    return functional


def check_functional(model, purpose):
    """Raises a TypeError unless `model` is functional or a built `Sequential`."""
    as_functional(model, purpose)


def fits(shape, opened):
    """Whether `shape` agrees with `opened`, in which None allows any size."""
    return len(shape) == len(opened) and all(
        wanted in (None, size) for wanted, size in zip(opened, shape, strict=True)
    )


def node_of(tensor):
    """The node whose output a symbolic tensor is."""
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index]


def resolve(tensor, replace):
    """Follows `replace` (id of a tensor -> tensor) to its end."""
    while id(tensor) in replace:
        tensor = replace[id(tensor)]
    return tensor


def nodes(model, replace=None):
    """Nodes that the model's outputs depend on, inputs first.

    Walking backwards from the outputs, instead of listing `model.layers`, yields one
    node per call of a shared layer and leaves out what `replace` cut off.

    Args:
        model: a functional model.
        replace: dict from `id(tensor)` to the tensor that replaces it.
    """
    return nodes_between(model.inputs, model.outputs, replace)


def nodes_between(inputs, outputs, replace=None):
    """Nodes between `inputs` and `outputs`, inputs first; `replace` as for `nodes`."""
    replace = replace or {}
    order, done = [], set()
    input_ids = {id(tensor) for tensor in inputs}
    stack = [(resolve(t, replace), False) for t in reversed(outputs)]
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
        if id(tensor) not in input_ids:
            stack.extend((resolve(t, replace), False) for t in node.input_tensors)
    return order


def levels(model):
    """Yields the model and all functional models nested in it, each once.

    Yields:
        `(path, functional model)`: the path is the tuple of the names of the nested
        models from the outermost to this one, `()` for `model` itself.
    """
    stack, seen = [((), model)], set()
    while stack:
        path, level = stack.pop(0)
        if id(level) in seen:
            continue
        seen.add(id(level))
        yield path, level
        for node in nodes(level):
            deeper = inner(node.operation)
            if deeper is not None:
                stack.append(((*path, node.operation.name), deeper))


def input_like(tensor, shape=None, name=None):
    """A new `keras.Input` like a given one, optionally with another shape or name.

    Args:
        tensor: symbolic tensor, an input of a functional model.
        shape: tuple of sizes, batch included.
        name: str.
    """
    layer = tensor._keras_history.operation
    # Only Keras 3.12 and later have this argument.
    ragged = {"ragged": True} if getattr(layer, "ragged", False) else {}
    return keras.Input(
        batch_shape=tensor.shape if shape is None else shape,
        dtype=tensor.dtype,
        sparse=tensor.sparse,
        name=layer.name if name is None else name,
        optional=getattr(layer, "optional", False),
        **ragged,
    )


def rebuild(
    model,
    replace=None,
    clone=clone_operation,
    copy=copy_state,
    insert=None,
    names=None,
    input_shapes=None,
    wrap=None,
):
    """Builds a new functional model from an edited graph of `model`.

    No layer or variable is shared with `model`, which is not changed. Layers that
    share weights with each other share them in the new model too. Nested functional
    models are rebuilt as well, whatever their class, and edits apply in them.

    Args:
        model: a functional model, or a built `Sequential`.
        replace: dict from `id(tensor)` to the tensor that replaces it. Nodes that are
            no longer needed are left out.
        clone: function from an operation to its new instance, called once for each
            operation, but never for a nested functional model.
        copy: function `(old, new)` that copies an operation's state once it is built.
        insert: dict from `(id(node), id(tensor))` to a new layer, which is applied to
            that input of that node.
        names: dict from `id(operation)` to another name for its new instance; None
            for an operation that is left out together with its name.
        input_shapes: shapes of the new inputs, batch included, in the order of
            `model.inputs`. Defaults to the old shapes.
        wrap: dict from `id(node)` to a new layer, which is called on a list of the
            node's first input and output and whose output replaces the node's output.

    Returns:
        The new model, with the names, nested input and output structure, dtype policy
        and trainable flags of `model`. Keras names outputs after the layers that make
        them: if such a layer is left out, an `Identity` of the same name is added.

    Raises:
        TypeError: if `model` is not functional.
        CloneError: if a layer cannot be cloned, or if the copies of layers that share
            weights would not share them.
    """
    edits = replace or {}, insert or {}, wrap or {}
    functional = as_functional(model, "rebuild")
    operations = _operations(functional, edits[0], {})
    clones = _Clones(
        operations, clone, names or {}, edits, _unmasked(functional, edits[0])
    )
    with sharing.kept_shared(clones.shared, clones.made):
        new_model = _rebuild(model, edits, clones, input_shapes)
    pairs = [pair for pair in clones.pairs.values() if inner(pair[0]) is None]
    if entangled := sharing.not_new(pairs, model.weights):
        raise CloneError(entangled)
    if difference := sharing.untied(pairs):
        raise CloneError(
            f"In '{model.name}', {difference}: one of them uses a layer or a weight "
            "of the other that its configuration does not contain. Let its "
            "`get_config` return the layer inside, by "
            "`keras.saving.serialize_keras_object`, or call the shared layer itself in "
            "both places."
        )
    for old, new in pairs:
        copy(old, new)
    return new_model


def _operations(level, replace, found):
    """All operations of an edited graph and of those inside it, by their ids."""
    for node in nodes(level, replace):
        operation = node.operation
        if id(operation) not in found:
            found[id(operation)] = operation
            if (deeper := inner(operation)) is not None:
                _operations(deeper, replace, found)
    return found


def _unmasked(model, replace):
    """The ids of the tensors without a mask whose replacement would have one.

    A nested model is built before it is called, so its symbolic tensors do not have
    the masks of its inputs. Therefore the masks are followed from call to call.
    """
    if not replace:
        return set()
    masks = [get_keras_mask(tensor) for tensor in model.inputs]
    before, after = {}, {}
    _follow_masks(model, masks, {}, before, before)
    _follow_masks(model, masks, replace, before, after)
    return {
        key
        for key, tensor in replace.items()
        if key not in before and id(resolve(tensor, replace)) in after
    }


def _follow_masks(model, masks, replace, before, found):
    """Follows the masks through one call of a model; returns those of its outputs.

    Args:
        model: a functional model.
        masks: the masks of its inputs; None for an input without a mask.
        replace: as for `rebuild`. A replacement only has a mask if the tensor that it
            replaces is in `before`.
        before, found: dicts from `id(tensor)` to mask; `found` is extended.
    """
    known = dict(zip(map(id, model.inputs), masks, strict=True))

    def mask_of(tensor):
        resolved = resolve(tensor, replace)
        if resolved is not tensor and id(tensor) not in before:
            return None
        return known.get(id(resolved))

    for node in nodes(model, replace):
        if not node.is_input:
            made = _masks_made(node, mask_of, replace, before, found)
            known.update(zip(map(id, node.outputs), made, strict=True))
    found.update((key, mask) for key, mask in known.items() if mask is not None)
    return list(map(mask_of, model.outputs))


def _masks_made(node, mask_of, replace, before, found):
    """The masks of a node's outputs, as `Layer.__call__` sets them."""
    args, kwargs = node.arguments.args, node.arguments.kwargs
    first = args[0] if args else next(iter(kwargs.values()), None)
    deeper = inner(node.operation)
    if deeper is not None:
        masks = [mask_of(tensor) for tensor in keras.tree.flatten(first)]
        if len(masks) == len(deeper.inputs):
            return _follow_masks(deeper, masks, replace, before, found)
    # Without history, so that `compute_mask` adds no nodes to the graph.
    made = [_detached(get_keras_mask(tensor)) for tensor in node.outputs]
    if not getattr(node.operation, "supports_masking", False):
        return made
    masks = kwargs.get("mask")
    if masks is None:
        masks = keras.tree.map_structure(
            lambda value: mask_of(value) if _is_symbolic(value) else None, first
        )
    if all(mask is None for mask in keras.tree.flatten(masks)):
        return made
    try:
        passed = node.operation.compute_mask(
            *keras.tree.map_structure(_detached, (first, masks))
        )
    except Exception:  # code of the layer, which may raise anything
        return made
    passed = keras.tree.flatten(passed) + [None] * len(made)
    return [
        old if old is not None else new for old, new in zip(made, passed, strict=False)
    ]


def _is_symbolic(value):
    return isinstance(value, keras.KerasTensor)


def _detached(value):
    """A tensor of the same shape and dtype without history, for a symbolic tensor."""
    return keras.KerasTensor(value.shape, value.dtype) if _is_symbolic(value) else value


class _Clones:
    """The new instances of a graph's operations, each created when first needed.

    Attributes:
        names: argument `names` of `rebuild`.
        unmasked: ids of the replaced tensors whose replacement must lose its mask.
        pairs: dict from `id(operation)` to `(operation, its new instance)`.
        shared: ids of the layers that several operations contain.
        made: dict from `id(layer)` to the new instance, for shared layers.
    """

    def __init__(self, operations, clone, names, edits, unmasked):
        self._operations, self._clone, self.names = operations, clone, names
        self._edits, self.unmasked = edits, unmasked
        self.pairs, self.made = {}, {}
        closed = [each for each in operations.values() if inner(each) is None]
        counts = sharing.holders(closed)
        self.shared = {key for key, count in counts.items() if count > 1}
        if split := sharing.split_model(operations, closed, counts):
            raise CloneError(split)

    def of(self, operation):
        """The new instance of an operation."""
        if id(operation) not in self.pairs:
            for each in sharing.layers_inside(operation):
                # A layer that is also called directly is cloned first, edits
                # included, so that the wrapper contains this clone.
                if id(each) in self.shared and id(each) in self._operations:
                    self.of(each)
            if inner(operation) is None:
                new = self._clone(operation)
            else:
                new = _rebuild(operation, self._edits, self)
            if self.names.get(id(operation)) is not None:
                rename(new, self.names[id(operation)])
            self.pairs[id(operation)] = operation, new
            if id(operation) in self.shared:
                self.made[id(operation)] = new
        return self.pairs[id(operation)][1]

    def renewed(self, operation, *arguments):
        """The arguments of a call, with new weights instead of the original ones."""
        arguments, unknown = sharing.renewed(arguments, self.pairs.values())
        if unknown:
            raise CloneError(f"'{operation.name}' is called with {unknown}")
        return arguments


def _rebuild(whole, edits, clones, shapes=None):
    model = as_functional(whole, "rebuild")
    replace, insert, wrap = edits
    made, inputs, bare = {}, [], {}
    order = nodes(model, replace)
    taken = {clones.names.get(id(n.operation), n.operation.name) for n in order}

    def stand_in(tensor):
        """The new tensor for an old one, or for its replacement."""
        value = made[id(resolve(tensor, replace))]
        if id(tensor) not in clones.unmasked:
            return value
        # A raw addition drops masks, so the layers after it never received one. Its
        # replacement must not pass one on either.
        if id(value) not in bare:
            bare[id(value)] = keras.ops.copy(value)
            # Keras numbers the operations of a process, so the name that it chooses
            # may be that of an operation that was loaded from a file.
            base = name = f"{tensor._keras_history.operation.name}_unmasked"
            while name in taken:
                name = f"{base}_{len(taken)}"
            taken.add(name)
            rename(node_of(bare[id(value)]).operation, name)
        return bare[id(value)]

    for index, tensor in enumerate(model.inputs):
        inputs.append(input_like(tensor, shapes and shapes[index]))
        made[id(tensor)] = inputs[-1]
    for node in order:
        if node.is_input:
            continue
        arguments = {}
        for tensor in node.input_tensors:
            value = stand_in(tensor)
            layer = insert.get((id(node), id(tensor)))
            arguments[id(tensor)] = value if layer is None else layer(value)
        args, kwargs = node.arguments.fill_in(arguments)
        if sharing.read_weights(node):
            args, kwargs = clones.renewed(node.operation, args, kwargs)
        outputs = clones.of(node.operation)(*args, **kwargs)
        if id(node) in wrap:
            outputs = wrap[id(node)]([arguments[id(node.input_tensors[0])], outputs])
        for old, new in zip(node.outputs, keras.tree.flatten(outputs), strict=True):
            made[id(old)] = new
    outputs = list(map(stand_in, model.outputs))
    outputs = _named(whole, inputs, outputs, _output_names(model, clones.names))
    for tensor in inputs:
        if not tensor._keras_history.operation._outbound_nodes:
            keras.ops.copy(tensor)  # Keras 3.12 rejects inputs that nothing uses
    new_model = keras.Model(
        keras.tree.pack_sequence_as(model._inputs_struct, inputs),
        keras.tree.pack_sequence_as(model._outputs_struct, outputs),
        name=whole.name,
    )
    # A functional model takes the global policy, not that of its layers. `compile`
    # would then silently omit the loss scaling of a mixed_float16 model.
    new_model.dtype_policy = whole.dtype_policy
    if not whole.trainable:
        new_model._trainable = False  # the setter would freeze the layers too
    return new_model


def _output_names(model, names):
    """Names for the outputs; None if a name would not be unique."""
    makers = [tensor._keras_history.operation for tensor in model.outputs]
    wanted = [names.get(id(maker), maker.name) for maker in makers]
    return [name if wanted.count(name) == 1 else None for name in wanted]


def _named(whole, inputs, outputs, wanted):
    """Renames outputs by `Identity` layers, if their names are not the wanted ones."""
    makers = [node_of(tensor).operation for tensor in inputs]
    makers += [node.operation for node in nodes_between(inputs, outputs)]
    taken = {maker.name: maker for maker in makers}
    named = []
    for index, (tensor, name) in enumerate(zip(outputs, wanted, strict=True)):
        is_input = any(tensor is given for given in inputs)
        _free(name, tensor, taken)
        if is_input and (name is None or name in taken):
            # Calling a model that returns its own input creates a cycle in Keras.
            name = f"{whole.name}_output{index}"
        if is_input or name not in (None, *taken):
            # With an explicit dtype, as the global policy might cast.
            identity = keras.layers.Identity(name=name, dtype=tensor.dtype)
            tensor = identity(tensor)
            taken[name] = identity
        named.append(tensor)
    return named


def _free(name, tensor, taken):
    """Frees the name of an output that a merge, called elsewhere too, still has.

    The merge is renamed by adding or removing `_add`, which unit names leave out.
    """
    maker = taken.get(name)
    if maker in (None, node_of(tensor).operation) or isinstance(
        maker, keras.layers.InputLayer
    ):
        return
    other = f"{name}_add" if not name.endswith("_add") else name.removesuffix("_add")
    if other not in taken and not getattr(maker, "weights", ()):
        rename(maker, other)
        taken[other] = taken.pop(name)


def scope_of(model):
    """The `tf.distribute` scope in which a model was created, for its replacement.

    On JAX the distribution is global, so the scope does nothing.
    """
    made_in = getattr(model, "_distribute_strategy", None)
    return made_in.scope() if made_in else contextlib.nullcontext()
