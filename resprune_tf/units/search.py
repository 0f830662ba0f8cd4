"""Searches a graph for the places where a branch is added to a shortcut.

The search follows the graph, not names. Every merge (an addition, say) is a candidate.
If one addend has the shape of the sum and another addend is computed from it, the first
is an identity shortcut, and everything between the two is the branch: with the branch
at 0 the sum equals the shortcut, so the shortcut can replace the sum. Otherwise, if all
addends are computed from one tensor, the merge ends a projection unit. Its shortcut
contains operations, so its input cannot replace the sum.
"""

import collections
import typing

from resprune_tf import graph
from resprune_tf.graph.ancestry import Ancestry
from resprune_tf.graph.call_names import before_label
from resprune_tf.units import merges


class Found(typing.NamedTuple):
    """A residual unit of a graph.

    Attributes:
        node: node of the merge.
        path: tuple of the names of the nested models around it.
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
    """Finds the residual units of a functional model, in order of computation.

    Args:
        level: a functional model.
        path: tuple of the names of the nested models from the outermost to `level`.
        seen: ids of the nested models that were searched before. A model that is
            called twice has the same units in both calls.

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
        # A shortcut must be able to stand in for the sum, so it needs the same shape
        # and dtype. It must occur once: in `x + x + f(x)`, the sum without f(x) is 2x,
        # which is none of the addends.
        same = [t for t in candidates if alike(t, total) and times[id(t)] == 1]
        # Addends from which other addends are computed: the identity shortcuts.
        identities = ancestry.feeding(same, addends)
        kind = "identity" if identities else "projection"
        if not identities and not (same and ancestry.share_dominator(addends)):
            continue
        # Neither path of a projection unit contains the other. The projection is the
        # one with fewer operations (a 1x1 convolution, say), the branch the other.
        shortcut = ancestry.with_fewest_ancestors(identities or same)
        place = [tensor is shortcut for tensor in addends].index(True)
        branches = (*inputs[:place], *inputs[place + 1 :])
        reason = None
        if len(identities) > 1:
            # `x + f + g(f)`, or the stem's output added again: `x0 + h + F(h)`. Which
            # addend should remain is ambiguous.
            reason = f"any of {_named(identities)} could be its shortcut"
        elif not identities:
            reason = (
                f"its shortcut passes through {_named([shortcut])}, so its input "
                "cannot replace its output"
            )
        elif not _learned(shortcut, branches):
            # `x + sigmoid(x)` and the like are activation functions, written out.
            reason = (
                "nothing on its branch is learned, so it is a formula rather than a "
                "residual unit"
            )
        yield Found(node, path, kind, reason, inputs[place], branches)


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
            return True
        seen.add(id(node))
        waiting.extend(node.input_tensors)
    return False


def alike(tensor, other):
    """Whether one symbolic tensor can replace another: same shape, same dtype."""
    return (tensor.shape, tensor.dtype) == (other.shape, other.dtype)
