"""Which tensors of a graph are computed from which others, found by short walks."""

import collections
import heapq

from resprune_tf import graph
from resprune_tf.graph import sharing


class Ancestry:
    """Which tensors of a graph are computed from which others.

    The tensors are numbered in order of computation, so the ancestors of a tensor have
    lower numbers. A backward walk can therefore stop at the lowest number that it looks
    for. Most walks stay within one unit, so the search for units takes linear time.

    Args:
        order: list of nodes, inputs first, as `graph.nodes` returns it.
    """

    def __init__(self, order):
        self._numbers = {}
        self._sources = []  # per tensor: numbers of the tensors it is computed from
        # Per tensor: number of the first tensor on all paths to it from the inputs.
        self._dominators = []
        for node in order:
            sources = sorted({self._number(tensor) for tensor in node.input_tensors})
            dominators = {self._dominators[source] for source in sources}
            for tensor in node.outputs:
                number = self._numbers[id(tensor)] = len(self._sources)
                self._sources.append(sources)
                shared = len(dominators) == 1
                self._dominators.append(min(dominators) if shared else number)

    def _number(self, tensor):
        return self._numbers[id(tensor)]

    def feeding(self, tensors, ends):
        """The subset of `tensors` from which any of `ends` is computed, in order.

        Args:
            tensors, ends: lists of symbolic tensors of the graph. No tensor is
                computed from itself.
        """
        lowest = min(map(self._number, tensors), default=0)
        waiting = [n for end in ends for n in self._sources[self._number(end)]]
        reached = set()
        while waiting:
            number = waiting.pop()
            if number >= lowest and number not in reached:
                reached.add(number)
                waiting.extend(self._sources[number])
        return [tensor for tensor in tensors if self._number(tensor) in reached]

    def share_dominator(self, tensors):
        """Whether one tensor lies on every path from the inputs to all of `tensors`."""
        return len({self._dominators[self._number(t)] for t in tensors}) == 1

    def with_fewest_ancestors(self, tensors):
        """The one of `tensors` with the fewest ancestors; the first in case of a tie.

        Common ancestors make no difference, so the backward walk, highest number
        first, ends once only common ancestors are left.

        Args:
            tensors: list of different symbolic tensors of the graph, at least one.
        """
        indexes = frozenset(range(len(tensors)))
        counts = [0] * len(tensors)
        # From the number of a visited tensor to the indexes of its descendants.
        leads = {self._number(t): {index} for index, t in enumerate(tensors)}
        heap = [-number for number in leads]
        heapq.heapify(heap)
        different = {number for number in leads if leads[number] != indexes}
        while different:
            number = -heapq.heappop(heap)
            to = leads.pop(number)
            different.discard(number)
            if to != indexes:
                for index in to:
                    counts[index] += 1
            for source in self._sources[number]:
                if source not in leads:
                    leads[source] = set()
                    heapq.heappush(heap, -source)
                leads[source] |= to
                if leads[source] == indexes:
                    different.discard(source)
                else:
                    different.add(source)
        return tensors[counts.index(min(counts))]


class Uses:
    """How often nodes and outputs of a functional model use each of its tensors.

    Args:
        model: a functional model.

    Attributes:
        model: the model.
        nodes: list of the model's nodes, inputs first.
        counts: Counter of uses by `id(tensor)`.
    """

    def __init__(self, model):
        self.model = model
        self.nodes = graph.nodes(model)
        self.counts = collections.Counter(map(id, model.outputs))
        for node in self.nodes:
            self.counts.update(map(id, node.input_tensors))

    def unneeded(self, tensor, stand_in):
        """Nodes that the outputs no longer depend on after an edit.

        This is reference counting: a node is deleted once nothing uses its outputs, and
        its inputs lose a use each. So only deleted nodes are visited.

        Args:
            tensor, stand_in: symbolic tensors of the model. After the edit, every use
                of `tensor` is a use of `stand_in`.

        Returns:
            list of nodes, in no particular order.
        """
        counts, moved = self.counts, self.counts[id(tensor)]
        lost = collections.Counter({id(tensor): moved, id(stand_in): -moved})
        found, waiting = {}, [tensor]
        while waiting:
            node = graph.node_of(waiting.pop())
            if any(lost[id(t)] < counts[id(t)] for t in node.outputs):
                continue
            if id(node) in found:
                continue
            found[id(node)] = node
            for source in node.input_tensors:
                lost[id(source)] += 1
                if lost[id(source)] == counts[id(source)]:
                    waiting.append(source)
        return list(found.values())


def count_calls(nodes):
    """Counts how often each operation of a model is used.

    Args:
        nodes: nodes of a functional model and of all models inside it.

    Returns:
        Counter by `id(operation)`: its calls, plus one for each of its weights that
        another operation contains or is called with. Only an operation with the count
        1 can be changed without changing something else.
    """
    counts = collections.Counter(id(node.operation) for node in nodes)
    holders = collections.defaultdict(dict)
    for node in nodes:
        if graph.inner(node.operation) is not None:
            continue  # its operations are among the nodes
        for weight in getattr(node.operation, "weights", ()):
            holders[id(weight)][id(node.operation)] = None
        for weight in sharing.read_weights(node):
            holders[id(weight)][id(node)] = None
    for several in holders.values():
        if len(several) > 1:
            counts.update(several.keys())
    return counts
