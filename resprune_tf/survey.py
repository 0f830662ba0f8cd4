"""What an edit of a model's graph leaves out, and the MACs that it saves."""

from resprune_tf import graph
from resprune_tf.macs import count_macs
from resprune_tf.tracing import trace, trace_example


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
        self._model, self._input_shape = model, input_shape
        self.calls, _ = trace_example(model, input_shape)
        self._images = model.inputs[0].shape[0] or 1  # of a fixed batch
        self._calls = {_key(call): call for call in self.calls}
        # Of nested models: as they are met there, for the first time.
        self.shapes = {}
        for call in self.calls:
            self.shapes.setdefault(id(call.node), tuple(call.outputs[0].shape[1:]))
        self._macs = {}
        self._paths = {}
        for path, level in graph.levels(model):
            for node in graph.nodes(level):
                name = "/".join((*path, node.operation.name))
                self._paths.setdefault(id(node.operation), name)

    def path(self, operation):
        """Name of an operation after those of the models around it."""
        return self._paths[id(operation)]

    def without(self, replace):
        """Ids of the nodes that an edit leaves out, and the MACs it saves."""
        calls, _ = trace(self._model, replace, self._input_shape)
        left = {id(call.node) for call in calls}
        gone = dict.fromkeys(id(call.node) for call in self.calls)
        for key in left:
            gone.pop(key)
        try:
            saved = self._sum(self.calls) - self._sum(calls)
            return gone, saved // self._images
        except ValueError:  # sizes are unknown
            return gone, None

    def operations_of_all(self, nodes):
        """Operations all of whose calls are among the nodes of these ids."""
        operations = {id(call.operation): call.operation for call in self.calls}
        for call in self.calls:
            if id(call.node) not in nodes:
                operations.pop(id(call.operation), None)
        return list(operations.values())

    def uncounted(self, nodes):
        """Paths of the operations of these nodes that have no rule for MACs."""
        names = {}
        for call in self.calls:
            if id(call.node) in nodes and not self._known(call):
                names[self.path(call.operation)] = None
        return tuple(names)

    def _known(self, call):
        try:
            return self._count(call) is not None
        except ValueError:  # sizes are unknown, not the rule
            return True

    def _sum(self, calls):
        return sum(self._count(call) or 0 for call in calls)

    def _count(self, call):
        key = _key(call)
        if key not in self._macs:
            self._macs[key] = count_macs(self._calls[key])
        return self._macs[key]


def _key(call):
    """A call by its node and the shapes that it meets, whatever the batch."""
    return id(call.node), *(tuple(tensor.shape[1:]) for tensor in call.inputs)
