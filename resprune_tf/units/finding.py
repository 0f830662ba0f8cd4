"""Finding the residual units of a functional Keras model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from resprune_tf import graph
from resprune_tf.graph.call_names import before_label, call_names
from resprune_tf.graph.cost import count_parameters
from resprune_tf.nets.architecture import UnitId
from resprune_tf.nets.importance import ImportanceScale
from resprune_tf.units import merges
from resprune_tf.units.expansion import is_composite
from resprune_tf.units.search import alike, search
from resprune_tf.units.survey import Survey
from resprune_tf.units.table import unit_table


@dataclasses.dataclass(frozen=True)
class Unit:
    """A residual unit `shortcut(x) + F(x)` of one particular model.

    Attributes:
        name: of the merge without `_add`, such as `stage2_unit5`, after the names of
            the nested models it lies in: `backbone/stage2_unit5`. Later calls of a
            shared merge are `name#1`, `name#2`, ...
        kind: `"identity"` or `"projection"` shortcut.
        reason: why the unit cannot be removed; None if it can.
        stage: 1-based; a stage is a run of units of one output shape.
        shape: of its output without the batch, unknown sizes None.
        importance: path of the `ImportanceScale` layer on its branch, or None.
        layers: paths of the layers and operations that its removal takes away, or,
            of a projection unit, that dropping its branch takes away.
        parameters: learned ones among them, ω not counted.
        macs: multiply-accumulates that are saved for one input; None where sizes are
            unknown.
        uncounted: paths of what is removed with the unit and multiplies, but cannot be
            counted (see `Cost`), so that more is saved than `macs`.
        contains: names of the units that go with it.
    """

    name: str
    kind: str
    reason: str | None
    stage: int
    shape: tuple[int | None, ...]
    importance: str | None
    layers: tuple[str, ...]
    parameters: int
    macs: int | None
    uncounted: tuple[str, ...]
    contains: tuple[str, ...]
    # The graph places that removal needs; only good for the model they come from.
    merge: Any = dataclasses.field(repr=False, compare=False)
    shortcut: Any = dataclasses.field(repr=False, compare=False)
    branches: tuple[Any, ...] = dataclasses.field(repr=False, compare=False)

    @property
    def removable(self) -> bool:
        """Whether the unit's input can pass on unchanged in its place."""
        return self.reason is None

    @property
    def replacement(self) -> dict:
        """The edit that takes the unit, or its branch, out (see `graph.rebuild`)."""
        return {id(self.merge.outputs[0]): self.stand_in}

    @property
    def stand_in(self):
        """The tensor that takes the place of the unit's output where it is removed."""
        return before_label(self.merge, self.shortcut)


@dataclasses.dataclass(frozen=True)
class Opaque:
    """A layer with layers inside that `find_units` cannot look into.

    Attributes:
        name: path of the layer.
        kind: its class's name.
        layers: how many layers lie inside.
        parameters: learned ones inside.
        residual: whether its output has its input's shape, so that it may be, or
            hold, residual units.
    """

    name: str
    kind: str
    layers: int
    parameters: int
    residual: bool


class Units(list):
    """The `Unit`s of a model, in order of computation. Prints as a table.

    Attributes:
        model: name of the model.
        opaque: tuple of `Opaque`: where units may lie that were not found.
    """

    def __init__(self, units: Any, model: keras.Model, opaque: tuple):
        super().__init__(units)
        self.model, self.opaque = model, opaque

    def __str__(self):
        return unit_table(self)

    __repr__ = __str__


def find_units(model: keras.Model, input_shape: Sequence[int] | None = None) -> Units:
    """The residual units of any functional Keras model, in order of computation.

    A unit is an addition (`keras.layers.Add`, `keras.ops.add` or `x + y`), a
    subtraction, or what `register_merge` knows. Its shortcut is an identity where one
    addend has the sum's shape and is an ancestor of another addend; only then can the
    unit be removed. Additions of unrelated tensors are projection units when they
    fork from one tensor, and no units otherwise. A layer that `register_unit` knows
    is a unit by itself.

    Nested functional models are searched, to any depth; a unit in a model that is
    called several times is one unit, whose removal shortens every call. Layers with
    layers inside cannot be looked into: they are listed as `opaque`, and `expand`
    opens them.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`; it is only read.
        input_shape: shape without the batch, such as `(224, 224, 3)`, for a model
            whose one input leaves sizes open: what shapes and MACs are told of.

    Returns:
        `Units`, a list of `Unit` that prints as a table.

    Raises:
        TypeError: if `model` has no graph to read.
        ValueError: if `input_shape` does not fit.
    """
    whole = graph.as_functional(model, "find_units")
    survey = Survey(whole, input_shape)
    found = list(search(whole))
    names = call_names(found)
    units, stage = [], 0
    for node, path, kind, reason, shortcut, branches in found:
        lost = survey.without(node.outputs[0], before_label(node, shortcut))
        shape = survey.shapes[id(node)]
        stage += not units or units[-1].shape != shape
        units.append(
            Unit(
                name=names[id(node)],
                kind=kind,
                reason=reason,
                stage=stage,
                shape=shape,
                importance=_importance(branches, path),
                layers=tuple(map(survey.path, lost.operations)),
                parameters=lost.parameters,
                macs=lost.macs,
                uncounted=lost.uncounted,
                contains=tuple(
                    names[key] for key in lost.nodes if key in names and key != id(node)
                ),
                merge=node,
                shortcut=shortcut,
                branches=branches,
            )
        )
    return Units(units, model.name, tuple(_opaque(survey)))


def chosen_units(units, found, offer):
    """The units that are meant by one or several names, `UnitId`s or `Unit`s.

    Args:
        units: what was asked for.
        found: the `Units` of the model.
        offer: sentence that says which units could have been asked for.

    Raises:
        ValueError: if none is named, or one is unknown.
    """
    known = {unit.name: unit for unit in found}
    if isinstance(units, (str, Unit, UnitId)):
        units = [units]
    names = dict.fromkeys(u.name if isinstance(u, Unit) else str(u) for u in units)
    if not names:
        raise ValueError(f"No unit was named. {offer}")
    for name in names:
        if name not in known:
            raise ValueError(f"'{found.model}' has no unit '{name}'. {offer}")
    return [known[name] for name in names]


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
    scaled = [unit for unit in removable if unit.importance]
    return scaled or removable


def _importance(branches, path):
    for tensor in branches:
        operation = tensor._keras_history.operation
        if isinstance(operation, ImportanceScale):
            return "/".join((*path, operation.name))
    return None


def _opaque(survey):
    """Layers of others than Keras that have layers inside."""
    seen = set()
    for call in survey.calls:
        layer = call.operation
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        if is_composite(layer) and layer.weights and not merges.is_unit(layer):
            yield Opaque(
                name=survey.path(layer),
                kind=type(layer).__name__,
                layers=sum(1 for _ in layer._flatten_layers(include_self=False)),
                parameters=count_parameters([layer]),
                residual=len(call.outputs) == 1
                and any(alike(t, call.outputs[0]) for t in call.inputs),
            )
