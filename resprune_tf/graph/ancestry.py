"""What leads to what in a graph, found close to where it is asked for."""

import collections
import heapq

from resprune_tf import graph
from resprune_tf.graph import sharing


class Ancestry:
    """Which tensors of a graph are computed from which others.

    The tensors are numbered in order of computation. All that leads to a tensor has a
    lower number, so a walk back that looks for some tensors ends at the lowest of
    theirs, and no question takes a walk through the whole graph unless its answer lies
    that far away.

    Args:
        order: list of nodes, inputs first, as `graph.nodes` returns it.
    """

    def __init__(self, order):
        self._numbers = {}
        self._sources = []  # of each, the numbers of the tensors it is computed from
        self._gates = []  # of each, the number of the first that all paths to it pass
        for node in order:
            sources = sorted({self._number(tensor) for tensor in node.input_tensors})
            gates = {self._gates[source] for source in sources}
            for tensor in node.outputs:
                number = self._numbers[id(tensor)] = len(self._sources)
                self._sources.append(sources)
                self._gates.append(min(gates) if len(gates) == 1 else number)

    def _number(self, tensor):
        return self._numbers[id(tensor)]

    def feeding(self, tensors, ends):
        """Those of `tensors` that any of `ends` is computed from, in their order.

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

    def fork(self, tensors):
        """Whether there is one tensor that every path to any of `tensors` passes."""
        return len({self._gates[self._number(tensor)] for tensor in tensors}) == 1

    def nearest(self, tensors):
        """The one of `tensors` that is computed from the fewest, the first of equals.

        What leads to all of them makes no difference. The walk back takes the highest
        number first and ends where all that is left does.

        Args:
            tensors: list of different symbolic tensors of the graph, at least one.
        """
        everyone = frozenset(range(len(tensors)))
        counts = [0] * len(tensors)
        leads = {self._number(t): {index} for index, t in enumerate(tensors)}
        heap = [-number for number in leads]
        heapq.heapify(heap)
        different = {number for number in leads if leads[number] != everyone}
        while different:
            number = -heapq.heappop(heap)
            to = leads.pop(number)
            different.discard(number)
            if to != everyone:
                for index in to:
                    counts[index] += 1
            for source in self._sources[number]:
                if source not in leads:
                    leads[source] = set()
                    heapq.heappush(heap, -source)
                leads[source] |= to
                if leads[source] == everyone:
                    different.discard(source)
                else:
                    different.add(source)
        return tensors[counts.index(min(counts))]


class Uses:
    """How often each tensor of a functional model is used, by nodes and as an output.

    Args:
        model: a functional model.

    Attributes:
        nodes: list of its nodes, inputs first.
        counts: a Counter of uses by `id(tensor)`.
    """

    def __init__(self, model):
        self.model = model
        self.nodes = graph.nodes(model)
        self.counts = collections.Counter(map(id, model.outputs))
        for node in self.nodes:
            self.counts.update(map(id, node.input_tensors))

    def unneeded(self, tensor, stand_in):
        """Nodes that the outputs no longer depend on after an edit.

        As in counting references, a node goes once all uses of its outputs have gone,
        and takes its uses of other tensors with it. So only what goes is visited.

        Args:
            tensor, stand_in: symbolic tensors of the model; all that uses the one
                uses the other after the edit.

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
    """How often each operation of some graphs is used.

    Args:
        nodes: of a functional model and of all those inside it.

    Returns:
        Counter by `id(operation)`: its calls, and one more if another operation holds
        it or any of its weights, or is called with one. Only what is used once can be
        changed without changing something else.
    """
    counts = collections.Counter(id(node.operation) for node in nodes)
    holders = collections.defaultdict(dict)
    for node in nodes:
        if graph.inner(node.operation) is not None:
            continue  # whose operations are there, too
        for weight in getattr(node.operation, "weights", ()):
            holders[id(weight)][id(node.operation)] = None
        for weight in sharing.read_weights(node):
            holders[id(weight)][id(node)] = None
    for several in holders.values():
        if len(several) > 1:
            counts.update(several.keys())
    return counts
