"""Which nodes an edit of a model's graph deletes, and how many MACs that saves."""

import collections
import functools
import typing

from resprune_tf import graph
from resprune_tf.graph.ancestry import Uses
from resprune_tf.graph.cost import parameter_sizes
from resprune_tf.graph.macs import count_macs
from resprune_tf.graph.tracing import trace_example


class Lost(typing.NamedTuple):
    """What an edit deletes.

    Attributes:
        nodes: ids of the nodes without a remaining call, in order of computation.
        operations: operations without a remaining call, in order of computation.
        weights: their parameters, as variables, unless another operation has them too.
        parameters: number of these parameters.
        macs: MACs of all deleted calls, for one example; None if the model has unknown
            sizes.
        uncounted: paths of the deleted operations that have no rule for MACs.
    """

    nodes: tuple
    operations: tuple
    weights: tuple
    parameters: int
    macs: int | None
    uncounted: tuple


class Survey:
    """All calls of a model, and what an edit of its graph would save.

    Args:
        model: a functional model.

    Attributes:
        calls: list of `tracing.Call` for one example, in order of computation.
        shapes: dict from `id(node)` to the shape of its first output, without the
            batch.
    """

    def __init__(self, model):
        self.calls, _ = trace_example(model)
        self._images = model.inputs[0].shape[0] or 1  # a fixed batch size, if any
        # A node of a nested model counts with the shape of its first call.
        self.shapes = {}
        self._totals = collections.Counter()  # calls per node and per operation
        self._within = collections.defaultdict(list)  # indexes of calls per node
        for index, call in enumerate(self.calls):
            self.shapes.setdefault(id(call.node), tuple(call.outputs[0].shape[1:]))
            self._totals.update((id(call.node), id(call.operation)))
            for level, node in call.places:
                self._within[id(level), id(node)].append(index)
        self._paths = {}
        self._uses = collections.defaultdict(list)  # `Uses` of the models with a node
        for path, level in graph.levels(model):
            uses = Uses(level)
            for node in uses.nodes:
                name = "/".join((*path, node.operation.name))
                self._paths.setdefault(id(node.operation), name)
                self._uses[id(node)].append(uses)

    def path(self, operation):
        """Name of an operation, prefixed with those of the models around it."""
        return self._paths[id(operation)]

    def without(self, tensor, stand_in):
        """What is deleted if a tensor is replaced by another one of the same model.

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
        operations = tuple(operations.values())
        sizes = self._parameters(operations)
        return Lost(
            nodes=tuple(nodes),
            operations=operations,
            weights=_variables(operations, sizes),
            parameters=sum(sizes.values()),
            macs=self._saved(lost),
            uncounted=tuple(dict.fromkeys(uncounted)),
        )

    def _lost_calls(self, tensor, stand_in):
        """The deleted calls by their indexes, in order of computation."""
        indexes = []
        # Models that were made from the same tensors have nodes in common.
        for uses in self._uses[id(graph.node_of(tensor))]:
            for node in uses.unneeded(tensor, stand_in):
                indexes += self._within.get((id(uses.model), id(node)), ())
        return {index: self.calls[index] for index in sorted(indexes)}

    def _whole(self, owners):
        """The owners of deleted calls that have no other call, by their ids."""
        counts = collections.Counter(map(id, owners))
        return {
            id(owner): owner
            for owner in owners
            if counts[id(owner)] == self._totals[id(owner)]
        }

    def _parameters(self, operations):
        """Sizes of the parameters of deleted operations, by the id of the variable."""
        own = collections.Counter()
        for operation in operations:
            own.update(dict.fromkeys(self._sizes[id(operation)], 1))
        sizes = parameter_sizes(operations)
        return {k: n for k, n in sizes.items() if own[k] == self._holders[k]}

    @functools.cached_property
    def _holders(self):
        """How many operations have each variable, by its id."""
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
        """MACs of each call; None without a rule, `_OPEN` if sizes are unknown."""
        known = {}
        for call in self.calls:
            key = _key(call)
            if key not in known:
                known[key] = _count(call)
        return [known[_key(call)] for call in self.calls]


_OPEN = "open"


def _key(call):
    """Key of a call: its node and the shapes of its inputs."""
    return id(call.node), *(tuple(tensor.shape) for tensor in call.inputs)


def _count(call):
    try:
        return count_macs(call)
    except ValueError:
        return _OPEN


def _variables(operations, ids):
    """The variables with these ids, in the order of the operations."""
    weights = [v for each in operations for v in getattr(each, "weights", ())]
    return tuple({id(v): v for v in weights if id(v) in ids}.values())
