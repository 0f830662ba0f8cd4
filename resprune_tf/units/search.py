"""Searches a graph for the places where a branch is added to a shortcut.

The search follows the graph, not names. Every merge (an addition, say) is a candidate.
If one addend has the shape of the sum and another addend is computed from it, the first
is an identity shortcut, and everything between the two is the branch: with the branch
at 0 the sum equals the shortcut, so the shortcut can replace the sum. The same applies
if the first addend is itself a sum and another addend is computed from one of its
parts: in `(x + f(x)) + g(x)`, the shortcut of the second unit is the first sum.
Otherwise, if all addends are computed from one tensor, the merge ends a projection
unit. Its shortcut contains operations, so its input cannot replace the sum.
"""

import collections
import dataclasses
import typing

import keras

from resprune_tf import graph
from resprune_tf.graph.ancestry import Ancestry
from resprune_tf.graph.call_names import before_identities
from resprune_tf.units import merges
from resprune_tf.units.own_merges import returns_shortcut, uses_branches


class Found(typing.NamedTuple):
    """A residual unit of a graph.

    Attributes:
        node: node of the merge.
        path: tuple of the names of the nested models around it.
        kind: `"identity"` or `"projection"`.
        reason: why it cannot be removed, or None.
        shortcut: symbolic tensor.
        start: symbolic tensor that the branches are computed from: the shortcut, or a
            part of it.
        branches: symbolic tensors; none for a layer that is a whole unit.
    """

    node: typing.Any
    path: tuple
    kind: str
    reason: str | None
    shortcut: typing.Any
    start: typing.Any
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
        addends = list(map(before_identities, inputs))
        total = node.outputs[0]
        if merges.is_unit(operation) and len(node.outputs) == 1:
            if alike(addends[0], total):
                yield Found(node, path, "identity", None, inputs[0], addends[0], ())
            continue
        places = merges.shortcut_places(node)
        if places is None:
            continue
        judged = _judge(ancestry, [addends[place] for place in places], addends, total)
        if judged is None:
            continue
        kind, reason, shortcut, start, apart = judged
        place = [tensor is shortcut for tensor in addends].index(True)
        beside = ()
        if reason is None and apart and merges.is_exact(type(operation)):
            reason = (
                f"it also adds {_named(apart)}, which is not computed from its "
                "shortcut and would be removed as well"
            )
        elif reason is None:
            # What else a merge of the user's own takes may be a gate.
            beside = _positions(addends, apart)
            reason = inexact(node, place, beside) or None
        branches = tuple(
            tensor
            for index, tensor in enumerate(inputs)
            if index != place and index not in beside
        )
        if reason is None and not _learned(start, branches):
            # `x + sigmoid(x)` and the like are activation functions, written out.
            reason = (
                "nothing on its branch is learned, so it is a formula rather than a "
                "residual unit"
            )
        yield Found(node, path, kind, reason, inputs[place], start, branches)


def _judge(ancestry, candidates, addends, total):
    """What kind of unit a merge ends.

    Args:
        ancestry: `Ancestry` of the graph.
        candidates: list of the addends that may be the shortcut.
        addends: list of all addends.
        total: output of the merge.

    Returns:
        None for an addition that ends no unit, else `(kind, reason, shortcut, start,
        apart)`. The branch is computed from `start`: the shortcut or a part of it. The
        list `apart` has the addends that are not.
    """
    times = collections.Counter(map(id, addends))

    def fits(tensor):
        # A shortcut must be able to stand in for the sum, so it needs the same shape
        # and dtype. It must occur once: in `x + x + f(x)`, the sum without f(x) is 2x,
        # which is none of the addends.
        return alike(tensor, total) and times[id(tensor)] == 1

    same = list(filter(fits, candidates))
    found = _shortcuts(ancestry, candidates, addends)
    usable = [pair for pair in found if fits(pair[0])]
    if not usable and not (same and ancestry.share_dominator(addends)):
        return None
    if not found:
        # Neither path of a projection unit contains the other. The projection is the
        # one with fewer operations (a 1x1 convolution, say), the branch the other.
        shortcut = ancestry.with_fewest_ancestors(same)
        reason = (
            f"its shortcut passes through {_named([shortcut])}, so its input cannot "
            "replace its output"
        )
        return "projection", reason, shortcut, shortcut, []
    shortcuts, starts = map(_different, zip(*(usable or found), strict=True))
    shortcut, start = ancestry.with_fewest_ancestors(shortcuts), starts[0]
    others = [tensor for tensor in addends if tensor is not shortcut]
    apart = [each for each in others if not ancestry.feeding([start], [each])]
    reason = None
    if not usable:
        reason = f"its shortcut {_named([shortcut])} {_misfit(shortcut, total)}"
    elif len(starts) > 1 or len(shortcuts) > 1:
        # `x + f + g(f)`, or the stem's output added again: `x0 + h + F(h)`. Which
        # addend should remain is ambiguous.
        several = shortcuts if len(shortcuts) > 1 else starts
        reason = f"any of {_named(several)} could be its shortcut"
    return "identity", reason, shortcut, start, apart


def _shortcuts(ancestry, candidates, addends):
    """The addends that other addends are computed from, or from a part of them.

    Returns:
        list of `(addend, the addend or its part)`.
    """
    direct = ancestry.feeding(_different(candidates), addends)
    if direct:
        return [(tensor, tensor) for tensor in direct]
    found = []
    for addend in _different(candidates):
        others = [tensor for tensor in addends if tensor is not addend]
        waiting, seen = [addend], set()
        while waiting:
            parts = [p for p in _different(_parts(waiting.pop())) if id(p) not in seen]
            seen.update(map(id, parts))
            feeding = ancestry.feeding(parts, others)
            found += [(addend, part) for part in feeding]
            # A part that the others are computed from may be the sum of the previous
            # unit, whose parts do not matter.
            waiting += [part for part in parts if all(part is not f for f in feeding)]
    return found


def _parts(tensor):
    """The addends of a sum that may be its shortcut; of other tensors, none."""
    node = graph.node_of(tensor)
    places = merges.shortcut_places(node) or ()
    return [before_identities(node.input_tensors[place]) for place in places]


def _misfit(shortcut, total):
    """Why a shortcut cannot replace the sum, as the end of a sentence."""
    if alike(shortcut, total):
        return "is added more than once"
    which = "dtype" if shortcut.shape == total.shape else "shape"
    return f"has another {which} than the sum, so it cannot replace it"


def inexact(node, place, beside=()):
    """Why a shortcut cannot replace the output of a merge; "" if it can.

    Args:
        node: node of the merge.
        place: position of the shortcut among its inputs.
        beside: positions of the inputs that are no branches.
    """
    kind = type(node.operation)
    if merges.is_exact(kind):
        return ""
    if len(node.outputs) > 1:
        return f"its merge ({kind.__name__}) has several outputs"
    # A merge that cannot be run by itself is trusted, as it was registered.
    if returns_shortcut(node, place, beside) is False:
        return (
            f"its merge ({kind.__name__}) does not always return the shortcut where "
            "the branch is 0, so removing it would change what remains; an addition "
            "followed by another layer can be removed"
        )
    return ""


@dataclasses.dataclass(frozen=True)
class PossibleMerge:
    """A layer that `register_merge` could declare the end of a removable unit.

    Attributes:
        name: path of the layer.
        kind: name of its class.
        shortcuts: positions of the inputs that it returns where its branches are 0,
            for random values; the argument of `register_merge`.
    """

    name: str
    kind: str
    shortcuts: tuple[int, ...]


def possible_merges(model):
    """The layers that are not registered, but may end removable units.

    They are of classes of the user's own, or `Lambda`s. Each is called on random
    values.

    Args:
        model: a functional model.

    Returns:
        tuple of `PossibleMerge`, in order of computation.
    """
    found = {}
    for path, level in graph.levels(model):
        order = graph.nodes(level)
        ancestry = Ancestry(order)
        for node in order:
            kind, inputs = type(node.operation), node.input_tensors
            known = _is_kerass(kind) or merges.is_registered(kind)
            if known or len(inputs) < 2 or len(node.outputs) > 1:
                continue
            name = "/".join((*path, node.operation.name))
            places = _possible_shortcuts(ancestry, node)
            if places and name not in found:
                found[name] = PossibleMerge(name, kind.__name__, places)
    return tuple(found.values())


def _possible_shortcuts(ancestry, node):
    """Positions of the inputs that make a node the end of a removable unit."""
    addends = list(map(before_identities, node.input_tensors))
    total, found = node.outputs[0], []
    for place, addend in enumerate(addends):
        judged = _judge(ancestry, [addend], addends, total)
        if judged is None:
            continue
        kind, reason, _, start, apart = judged
        if kind != "identity" or reason or not _learned(start, node.input_tensors):
            continue
        beside = _positions(addends, apart)
        if returns_shortcut(node, place, beside) and uses_branches(node, place):
            found.append(place)
    return tuple(found)


def _positions(tensors, some):
    """The positions of some of the tensors."""
    return {i for i, t in enumerate(tensors) if any(t is each for each in some)}


def _is_kerass(kind):
    """Whether an operation is one of Keras's own, whose merges are all registered.

    A `Lambda` does what its function does.
    """
    return kind is not keras.layers.Lambda and kind.__module__.startswith("keras.")


def _different(tensors):
    """Tensors without repetition."""
    return list({id(tensor): tensor for tensor in tensors}.values())


def _named(tensors):
    return ", ".join(f"'{t._keras_history.operation.name}'" for t in tensors)


def _learned(start, branches):
    """Whether a weight lies between the start and the end of the branches."""
    seen, waiting = {id(graph.node_of(start))}, list(branches)
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
