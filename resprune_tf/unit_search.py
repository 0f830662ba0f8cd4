"""Where a graph adds a branch to a shortcut."""

import collections
import typing

from resprune_tf import graph, merges


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
    ancestors, dominators, bits = _reachability(order)
    for node in order:
        operation = node.operation
        deeper = graph.inner(operation)
        if deeper is not None and id(operation) not in seen:
            seen.add(id(operation))
            yield from search(deeper, (*path, operation.name), seen)
        addends, total = node.input_tensors, node.outputs[0]
        if merges.is_unit(operation) and len(node.outputs) == 1:
            if alike(addends[0], total):
                yield Found(node, path, "identity", None, addends[0], ())
            continue
        candidates = merges.shortcut_candidates(node)
        if candidates is None:
            continue
        times = collections.Counter(map(id, addends))
        # Of `x + x + f(x)`, nothing that is left would be the unit without f.
        same = [t for t in candidates if alike(t, total) and times[id(t)] == 1]

        def feeds(tensor, other):
            return other is not tensor and ancestors[id(other)] & bits[id(tensor)]

        through = [t for t in same if any(feeds(t, other) for other in addends)]
        kind = "identity" if through else "projection"
        if not through:
            common = dominators[id(addends[0])]
            for tensor in addends[1:]:
                common &= dominators[id(tensor)]
            if not common or not same:
                continue
        # Of a projection unit the shorter path: fewer operations lead to it.
        shortcut = min(through or same, key=lambda t: ancestors[id(t)].bit_count())
        branches = tuple(t for t in addends if t is not shortcut)
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
        yield Found(node, path, kind, reason, shortcut, branches)


def _named(tensors):
    return ", ".join(f"'{t._keras_history.operation.name}'" for t in tensors)


def _learned(shortcut, branches):
    """Whether a weight lies between a shortcut and the end of the branches."""
    between = graph.nodes_between([shortcut], branches)
    return any(
        getattr(node.operation, "weights", ())
        for node in between
        if node is not graph.node_of(shortcut)
    )


def alike(tensor, other):
    """Whether one tensor can stand in for another."""
    return (tensor.shape, tensor.dtype) == (other.shape, other.dtype)


def _reachability(order):
    """Bitmasks per tensor: its ancestors, its dominators (itself included), its bit."""
    ancestors, dominators, bits = {}, {}, {}
    for node in order:
        above, through = 0, -1 if node.input_tensors else 0
        for tensor in node.input_tensors:
            above |= ancestors[id(tensor)]
            through &= dominators[id(tensor)]
        for tensor in node.outputs:
            bit = 1 << len(bits)
            bits[id(tensor)] = bit
            ancestors[id(tensor)] = above | bit
            dominators[id(tensor)] = through | bit
    return ancestors, dominators, bits
