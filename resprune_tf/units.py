"""Finding the residual units of a functional Keras model."""

import dataclasses
from typing import Any

import keras
from keras.src.ops.numpy import Add as AddOperation  # what `x + y` becomes

from resprune_tf import graph
from resprune_tf.importance import ImportanceScale, count_parameters


@dataclasses.dataclass(frozen=True)
class Unit:
    """A residual unit `shortcut(x) + F(x)` of one particular model.

    Attributes:
        name: of the merge without `_add`, such as `stage2_unit5`; later calls of a
            shared merge are `name#1`, `name#2`, ...
        kind: `"identity"` or `"projection"` shortcut.
        reason: why the unit cannot be removed; None if it can.
        importance: name of the `ImportanceScale` layer on its branch, or None.
        layers: names of the layers and operations that its removal takes away.
        parameters: trainable parameters among them, ω not counted.
    """

    name: str
    kind: str
    reason: str | None
    importance: str | None
    layers: tuple[str, ...]
    parameters: int
    # The graph places that removal needs; only good for the model they come from.
    merge: Any = dataclasses.field(repr=False, compare=False)
    shortcut: Any = dataclasses.field(repr=False, compare=False)
    branches: tuple[Any, ...] = dataclasses.field(repr=False, compare=False)

    @property
    def removable(self) -> bool:
        """Whether the unit's input can pass on unchanged in its place."""
        return self.reason is None


def find_units(model):
    """The residual units of any functional Keras model, in order of computation.

    A unit is an addition (`keras.layers.Add`, `keras.ops.add` or `x + y`). Its
    shortcut is an identity where one addend has the sum's shape and is an ancestor of
    another addend; only then can the unit be removed. Additions of unrelated tensors
    are projection units when they fork from one tensor, and no units otherwise.
    Units inside nested models or opaque custom layers are not seen.

    Args:
        model: a functional `keras.Model`; it is only read.

    Returns:
        list of `Unit`.

    Raises:
        TypeError: if `model` is not functional.
    """
    graph.check_functional(model, "find_units")
    order = graph.nodes(model)
    ancestors, dominators, bits = _reachability(order)
    alive = {id(node.operation): node.operation for node in order}
    units = []
    for node in order:
        addends = node.input_tensors
        if len(addends) < 2 or not _is_merge(node.operation):
            continue
        total = node.outputs[0]
        same = [t for t in addends if t.shape == total.shape and t.dtype == total.dtype]

        def feeds(tensor, other):
            return other is not tensor and ancestors[id(other)] & bits[id(tensor)]

        shortcut = next(
            (t for t in same if any(feeds(t, other) for other in addends)), None
        )
        kind = "identity"
        if shortcut is None:
            common = dominators[id(addends[0])]
            for tensor in addends[1:]:
                common &= dominators[id(tensor)]
            if not common or not same:
                continue
            kind = "projection"
            # The shorter path is the shortcut: fewer operations lead to it.
            shortcut = min(same, key=lambda t: ancestors[id(t)].bit_count())
        branches = tuple(t for t in addends if t is not shortcut)
        left = graph.nodes(model, {id(total): shortcut})
        gone = _without(alive, {id(n.operation) for n in left})
        operation = node.operation
        call = operation._inbound_nodes.index(node)
        units.append(
            Unit(
                name=operation.name.removesuffix("_add") + (f"#{call}" if call else ""),
                kind=kind,
                reason=None if kind == "identity" else _refusal(shortcut),
                importance=_importance(branches),
                layers=tuple(op.name for op in gone),
                parameters=count_parameters(gone),
                merge=node,
                shortcut=shortcut,
                branches=branches,
            )
        )
    return units


def scored_units(model):
    """The units that criteria score: the same ones whichever the criterion.

    Args:
        model: a functional `keras.Model`; it is only read.

    Returns:
        list of the removable `Unit`s that have an `ImportanceScale`, in order of
        computation; of all removable ones where none has it.

    Raises:
        TypeError: if `model` is not functional.
    """
    removable = [unit for unit in find_units(model) if unit.removable]
    return [unit for unit in removable if unit.importance] or removable


def _is_merge(operation):
    return isinstance(operation, (keras.layers.Add, AddOperation))


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


def _without(operations, kept):
    return [op for key, op in operations.items() if key not in kept]


def _refusal(shortcut):
    return (
        f"its shortcut passes through '{shortcut._keras_history.operation.name}', so "
        "its input does not fit in place of its output"
    )


def _importance(branches):
    for tensor in branches:
        operation = tensor._keras_history.operation
        if isinstance(operation, ImportanceScale):
            return operation.name
    return None
