"""Where a graph adds a branch to a shortcut."""

from resprune_tf import graph, merges


def search(level, path=(), seen=None):
    """The residual units of a functional model, in order of computation.

    Args:
        level: a functional model.
        path: names of the models around it.
        seen: ids of the nested models that were searched already.

    Yields:
        `(node, path, kind, shortcut, branches)`: the node of the merge, the names of
        the models it lies in, `"identity"` or `"projection"`, and the symbolic
        tensors that it merges; no branches for a layer that is a whole unit.
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
                yield node, path, "identity", addends[0], ()
            continue
        candidates = merges.shortcut_candidates(node)
        if candidates is None:
            continue
        same = [tensor for tensor in candidates if alike(tensor, total)]

        def feeds(tensor, other):
            return other is not tensor and ancestors[id(other)] & bits[id(tensor)]

        # The one that the fewest operations lead to: of `x + f + g(f)` that is x, and
        # of a projection unit the shorter path.
        through = [t for t in same if any(feeds(t, other) for other in addends)]
        kind = "identity" if through else "projection"
        if not through:
            common = dominators[id(addends[0])]
            for tensor in addends[1:]:
                common &= dominators[id(tensor)]
            if not common or not same:
                continue
        shortcut = min(through or same, key=lambda t: ancestors[id(t)].bit_count())
        branches = tuple(t for t in addends if t is not shortcut)
        if branches:  # not `x + x`
            yield node, path, kind, shortcut, branches


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
