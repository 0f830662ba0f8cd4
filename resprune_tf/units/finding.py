"""Finds the residual units of a functional Keras model."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import keras

from resprune_tf import graph
from resprune_tf.graph.call_names import before_identities, call_names
from resprune_tf.graph.cost import count_parameters
from resprune_tf.nets.architecture import UnitId
from resprune_tf.nets.importance import ImportanceScale
from resprune_tf.units import merges
from resprune_tf.units.expansion import is_composite
from resprune_tf.units.search import PossibleMerge, alike, possible_merges, search
from resprune_tf.units.survey import Survey
from resprune_tf.units.table import unit_table


@dataclasses.dataclass(frozen=True)
class Unit:
    """A residual unit `shortcut(x) + F(x)` of one particular model.

    The literature also calls it a residual block. The addition (or other operation)
    that joins shortcut and branch is its merge.

    Attributes:
        name: name of the merge without `_add`, such as `stage2_unit5`, prefixed with
            the names of the nested models around it: `backbone/stage2_unit5`. Later
            calls of a shared merge are `name#1`, `name#2`, ...
        kind: `"identity"` or `"projection"`, the kind of shortcut.
        reason: why the unit cannot be removed; None if it can.
        stage: number of the stage, from 1. Consecutive units with the same output
            shape form a stage.
        shape: output shape without the batch; unknown sizes are None.
        importance: path of the `ImportanceScale` layer on its branch, or None.
        layers: paths of the layers and operations that its removal deletes; for a
            projection unit, those that `drop_branches` deletes.
        parameters: number of learned parameters in `layers`, without ω.
        macs: multiply-accumulates that its removal saves per input; None if sizes are
            unknown.
        uncounted: paths of operations in `layers` that multiply but cannot be counted
            (see `Cost`). If there are any, the removal saves more than `macs`.
        contains: names of the units that are removed along with it.
        weights: the `keras.Variable`s that `parameters` counts, of this model.
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
    # Graph nodes and tensors for the removal; valid for this model only.
    merge: Any = dataclasses.field(repr=False, compare=False)
    shortcut: Any = dataclasses.field(repr=False, compare=False)
    start: Any = dataclasses.field(repr=False, compare=False)
    branches: tuple[Any, ...] = dataclasses.field(repr=False, compare=False)
    weights: tuple[keras.Variable, ...] = dataclasses.field(repr=False, compare=False)

    @property
    def removable(self) -> bool:
        """Whether the unit's input can replace its output."""
        return self.reason is None

    @property
    def stand_in(self):
        """The symbolic tensor that replaces the unit's output when it is removed."""
        return before_identities(self.shortcut)


@dataclasses.dataclass(frozen=True)
class Opaque:
    """A layer that contains layers, which `find_units` cannot search.

    Attributes:
        name: path of the layer.
        kind: name of its class.
        layers: number of layers inside.
        parameters: number of learned parameters inside.
        residual: whether output and input have the same shape, so that the layer may
            be, or contain, a residual unit.
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
        opaque: tuple of `Opaque`: layers that were not searched and may contain units.
    """

    def __init__(self, units: Iterable[Unit], model: Any, opaque: tuple[Opaque, ...]):
        super().__init__(units)
        self.model, self.opaque = model.name, opaque
        self._model = model

    @functools.cached_property
    def possible_merges(self) -> tuple[PossibleMerge, ...]:
        """Layers that `register_merge` could declare the ends of removable units.

        Each is of a class of the user's own, or a `Lambda`. It is called once with
        random values.
        """
        return possible_merges(graph.as_functional(self._model, "find_units"))

    def __str__(self):
        return unit_table(self)

    __repr__ = __str__


def find_units(model: keras.Model) -> Units:
    """Finds the residual units of any functional Keras model, by its graph.

    A residual unit ends with a merge: an addition (`keras.layers.Add`, `keras.ops.add`
    or `x + y`), a subtraction, or a layer registered by `register_merge`. Its shortcut
    is an identity if one addend has the shape of the sum and another addend, the
    branch, is computed from it. Most such units are removable; `Unit.reason` states why
    others are not. Each addition of `x + f(x) + g(x)` ends a unit, and the shortcut of
    the second is the first sum; `layers.Add` of several branches ends one unit. If no
    addend is computed from another, but all are computed from one tensor, the unit has
    a projection shortcut and cannot be removed. Other additions are not units. A layer
    registered by `register_unit` is a unit by itself.

    Nested functional models are searched to any depth. A unit in a model that is
    called several times is one unit; its removal affects every call. Layers that
    contain layers are not searched: they are listed in `Units.opaque`, and `expand`
    replaces them by their contents.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`; it is not changed.

    Returns:
        `Units`, a list of `Unit` in order of computation, which prints as a table.

    Raises:
        TypeError: if `model` is not functional.

    >>> units = find_units(keras.applications.ResNet50(weights=None))
    >>> [unit.name for unit in units if unit.removable]
    """
    whole = graph.as_functional(model, "find_units")
    survey = Survey(whole)
    found = list(search(whole))
    names = call_names(found)
    units, stage = [], 0
    for node, path, kind, reason, shortcut, start, branches in found:
        lost = survey.without(node.outputs[0], before_identities(shortcut))
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
                start=start,
                branches=branches,
                weights=lost.weights,
            )
        )
    return Units(units, model, tuple(_opaque(survey)))


def chosen_units(units, found, offer):
    """Looks up units by one or several names, `UnitId`s or `Unit`s.

    Args:
        units: the requested units.
        found: the `Units` of the model.
        offer: sentence that lists the units to choose from, for the error message.

    Returns:
        list of `Unit`, without repetition, in the order of the request.

    Raises:
        ValueError: if none is named, or one is unknown.
        TypeError: if `units` is neither a unit nor several.
    """
    known = {unit.name: unit for unit in found}
    if isinstance(units, (str, Unit, UnitId)):
        units = [units]
    if not isinstance(units, Iterable):
        raise TypeError(
            "`units` must be one or several unit names, `UnitId`s or `Unit`s. "
            f"Received: {units!r}. {offer}"
        )
    names = dict.fromkeys(u.name if isinstance(u, Unit) else str(u) for u in units)
    if not names:
        raise ValueError(f"No unit was named. {offer}")
    for name in names:
        if name not in known:
            raise ValueError(f"'{found.model}' has no unit '{name}'. {offer}")
    return [known[name] for name in names]


def removal_of(units):
    """The edit (`replace` of `graph.rebuild`) that removes units, or their branches."""
    return {id(unit.merge.outputs[0]): unit.stand_in for unit in units}


def scored_units(model):
    """The units that every criterion scores.

    Args:
        model: a functional `keras.Model`; it is not changed.

    Returns:
        list of the removable `Unit`s that have an `ImportanceScale`, in order of
        computation; if none has one, of all removable units.

    Raises:
        TypeError: if `model` is not functional.
    """
    removable = [unit for unit in find_units(model) if unit.removable]
    scaled = [unit for unit in removable if unit.importance]
    return scaled or removable


def _importance(branches, path):
    """Path of the `ImportanceScale` that computes one of the branches, or None."""
    for tensor in branches:
        operation = tensor._keras_history.operation
        if isinstance(operation, ImportanceScale):
            return "/".join((*path, operation.name))
    return None


def _opaque(survey):
    """Yields an `Opaque` for each layer with weights that contains layers."""
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
