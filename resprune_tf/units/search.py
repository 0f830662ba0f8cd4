"""Where a graph adds a branch to a shortcut."""

import collections
import typing

from resprune_tf import graph
from resprune_tf.graph.ancestry import Ancestry
from resprune_tf.graph.call_names import before_label
from resprune_tf.units import merges


class Found(typing.NamedTuple):
    """A residual unit of a graph.

    Attributes:
        node: of the merge.
        path: names of the models it lies in.
        kind: `"identity"` or `"projection"`.
        reason: why it cannot be removed, or None.
        shortcut: symbolic tensor.
        branches: symbolic tensors; none for a layer that is a whole unit.
    """

    node: typing.Any
    path: tuple
    kind: str
    reason: str | None
    shortcut: typing.Any
    branches: tuple


def search(level, path=(), seen=None):
    """The residual units of a functional model, in order of computation.

    Args:
        level: a functional model.
        path: names of the models around it.
        seen: ids of the nested models that were searched already.

    Yields:
        `Found`.
    """
    seen = set() if seen is None else seen
    order = graph.nodes(level)
    ancestry = Ancestry(order)
    for node in order:
        operation = node.operation
        deeper = graph.inner(operation)
        if deeper is not None and id(operation) not in seen:
            seen.add(id(operation))
            yield from search(deeper, (*path, operation.name), seen)
        inputs = node.input_tensors
        addends = [before_label(node, tensor) for tensor in inputs]
        total = node.outputs[0]
        if merges.is_unit(operation) and len(node.outputs) == 1:
            if alike(addends[0], total):
                yield Found(node, path, "identity", None, inputs[0], ())
            continue
        places = merges.shortcut_places(node)
        if places is None:
            continue
        candidates = [addends[place] for place in places]
        times = collections.Counter(map(id, addends))
        # Of `x + x + f(x)`, nothing that is left would be the unit without f.
        same = [t for t in candidates if alike(t, total) and times[id(t)] == 1]
        through = ancestry.feeding(same, addends)
        kind = "identity" if through else "projection"
        if not through and not (same and ancestry.fork(addends)):
            continue
        # Of a projection unit the shorter path: fewer operations lead to it.
        shortcut = ancestry.nearest(through or same)
        places = [tensor is shortcut for tensor in addends]
        branches = tuple(t for t, own in zip(inputs, places, strict=True) if not own)
        reason = None
        if len(through) > 1:
            # `x + f + g(f)`, or the net's beginning added once more: `x0 + h + F(h)`.
            reason = f"any of {_named(through)} could be its shortcut"
        elif not through:
            reason = (
                f"its shortcut passes through {_named([shortcut])}, so its input does "
                "not fit in place of its output"
            )
        elif not _learned(shortcut, branches):
            reason = "nothing on its branch is learned: it is a formula, not a unit"
        yield Found(node, path, kind, reason, inputs[places.index(True)], branches)


def _named(tensors):
    return ", ".join(f"'{t._keras_history.operation.name}'" for t in tensors)


def _learned(shortcut, branches):
    """Whether a weight lies between a shortcut and the end of the branches."""
    seen, waiting = {id(graph.node_of(shortcut))}, list(branches)
    while waiting:
        node = graph.node_of(waiting.pop())
        if id(node) in seen:
            continue
        if getattr(node.operation, "weights", ()):
            return True  # the first one that is met is mostly near
        seen.add(id(node))
        waiting.extend(node.input_tensors)
    return False


def alike(tensor, other):
    """Whether one tensor can stand in for another."""
    return (tensor.shape, tensor.dtype) == (other.shape, other.dtype)
