"""What an edit of a model's graph leaves out, and the MACs that it saves."""

import collections
import functools
import typing

from resprune_tf import graph
from resprune_tf.graph.ancestry import Uses
from resprune_tf.graph.cost import parameter_sizes
from resprune_tf.graph.macs import count_macs
from resprune_tf.graph.tracing import trace_example


class Lost(typing.NamedTuple):
    """What an edit leaves out.

    Attributes:
        nodes: ids of the nodes of which no call is left, in order of computation.
        operations: those of which no call is left, in order of computation.
        parameters: of these operations, which no other operation holds.
        macs: of all calls that are lost, of one example; None where sizes of the model
            are unknown.
        uncounted: paths of the operations of these nodes that have no rule for MACs.
    """

    nodes: tuple
    operations: tuple
    parameters: int
    macs: int | None
    uncounted: tuple


class Survey:
    """The calls of a whole model, and what an edit would save of them.

    Args:
        model: a functional model.
        input_shape: as for `tracing.trace`.

    Attributes:
        calls: list of `tracing.Call` of one example, in order of computation.
        shapes: shape of the first output of each node, without the batch, by
            `id(node)`.
    """

    def __init__(self, model, input_shape):
        self.calls, _ = trace_example(model, input_shape)
        self._images = model.inputs[0].shape[0] or 1  # of a fixed batch
        # Of nested models: as they are met there, for the first time.
        self.shapes = {}
        self._totals = collections.Counter()  # calls of each node and operation
        self._within = collections.defaultdict(list)  # indexes of a place's calls
        for index, call in enumerate(self.calls):
            self.shapes.setdefault(id(call.node), tuple(call.outputs[0].shape[1:]))
            self._totals.update((id(call.node), id(call.operation)))
            for level, node in call.places:
                self._within[id(level), id(node)].append(index)
        self._paths = {}
        self._uses = collections.defaultdict(list)  # of the models with a node
        for path, level in graph.levels(model):
            uses = Uses(level)
            for node in uses.nodes:
                name = "/".join((*path, node.operation.name))
                self._paths.setdefault(id(node.operation), name)
                self._uses[id(node)].append(uses)

    def path(self, operation):
        """Name of an operation after those of the models around it."""
        return self._paths[id(operation)]

    def without(self, tensor, stand_in):
        """What is lost where a tensor gives way to another one of the same model.

        Args:
            tensor, stand_in: symbolic tensors, as for `ancestry.Uses.unneeded`.

        Returns:
            `Lost`.
        """
        lost = self._lost_calls(tensor, stand_in)
        nodes = self._whole([call.node for call in lost.values()])
        operations = self._whole([call.operation for call in lost.values()])
        uncounted = [
            self.path(call.operation)
            for index, call in lost.items()
            if id(call.node) in nodes and self._macs[index] is None
        ]
        return Lost(
            nodes=tuple(nodes),
            operations=tuple(operations.values()),
            parameters=self._parameters(operations.values()),
            macs=self._saved(lost),
            uncounted=tuple(dict.fromkeys(uncounted)),
        )

    def _lost_calls(self, tensor, stand_in):
        """Calls by their indexes, in order of computation."""
        indexes = []
        # Two models that were made of the same tensors have nodes in common.
        for uses in self._uses[id(graph.node_of(tensor))]:
            for node in uses.unneeded(tensor, stand_in):
                indexes += self._within.get((id(uses.model), id(node)), ())
        return {index: self.calls[index] for index in sorted(indexes)}

    def _whole(self, owners):
        """Those of the owners of lost calls that have no other call, by their ids."""
        counts = collections.Counter(map(id, owners))
        return {
            id(owner): owner
            for owner in owners
            if counts[id(owner)] == self._totals[id(owner)]
        }

    def _parameters(self, operations):
        own = collections.Counter()
        for operation in operations:
            own.update(dict.fromkeys(self._sizes[id(operation)], 1))
        sizes = parameter_sizes(operations)
        return sum(n for key, n in sizes.items() if own[key] == self._holders[key])

    @functools.cached_property
    def _holders(self):
        """How many operations hold each variable, by its id."""
        return collections.Counter(key for own in self._sizes.values() for key in own)

    @functools.cached_property
    def _sizes(self):
        """The ids of the variables of each operation."""
        operations = {id(call.operation): call.operation for call in self.calls}
        return {key: tuple(parameter_sizes([o])) for key, o in operations.items()}

    def _saved(self, lost):
        if self._open:
            return None
        return sum(self._macs[index] or 0 for index in lost) // self._images

    @functools.cached_property
    def _open(self):
        return _OPEN in self._macs

    @functools.cached_property
    def _macs(self):
        """MACs of each call; None where it has no rule, `_OPEN` where sizes are."""
        known = {}
        for call in self.calls:
            key = _key(call)
            if key not in known:
                known[key] = _count(call)
        return [known[_key(call)] for call in self.calls]


_OPEN = "open"


def _key(call):
    """A call by its node and the shapes that it meets."""
    return id(call.node), *(tuple(tensor.shape) for tensor in call.inputs)


def _count(call):
    try:
        return count_macs(call)
    except ValueError:
        return _OPEN
