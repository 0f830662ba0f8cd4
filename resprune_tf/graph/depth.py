"""Number of weighted layers on the longest path to each tensor of a model."""

import collections

from keras import layers

from resprune_tf.graph.macs import count_macs, has_kernel, opened


def depths(calls, depth=None):
    """Weighted layers on the longest path from the inputs to each tensor.

    A weighted layer is one that multiplies: a convolution, a dense layer, attention.
    For a layer that contains layers, the layers inside count.

    Args:
        calls: list of `tracing.Call`, in order of computation.
        depth: defaultdict from `id(tensor)` to int, which is extended; None for a new
            one.

    Returns:
        defaultdict from `id(tensor)` to int, 0 for tensors without an entry.

    Raises:
        ValueError: if MACs depend on an unknown dimension (`None`).
    """
    depth = collections.defaultdict(int) if depth is None else depth
    for call in calls:
        operation, macs = call.operation, count_macs(call)
        inside = None if macs is None else opened(call)
        below = max((depth[id(tensor)] for tensor in call.inputs), default=0)
        weighted = isinstance(operation, layers.Layer) and macs
        if inside is None:
            found = [below + bool(weighted)] * len(call.outputs)
        else:
            depth.update((id(t), depth[key]) for key, t in inside.inputs.items())
            depths(inside.calls, depth)
            # The layer itself counts too if it multiplies by its own kernel.
            least = below + bool(weighted and has_kernel(operation))
            found = [max(depth[id(t)], least) for t in inside.outputs]
        depth.update(zip(map(id, call.outputs), found, strict=True))
    return depth
