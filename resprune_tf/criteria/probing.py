"""Measures the tensors at the units of a model."""

import dataclasses
from typing import Any

import keras
from keras import ops
from keras.src.ops.numpy import Add  # `x + y` in the graph

from resprune_tf import graph
from resprune_tf.data.examples import batch_count, batches, count_images
from resprune_tf.graph.tracing import trace
from resprune_tf.nets.importance import ImportanceScale
from resprune_tf.system.progress import tracked_part
from resprune_tf.units.finding import scored_units


@dataclasses.dataclass(frozen=True, eq=False)
class UnitCall:
    """The tensors `(batch, ...)` of one call of a unit.

    Attributes:
        shortcut: x.
        addends: tuple of the addends whose sum is ω·F(x); empty if the merge is not a
            plain sum.
        unscaled: the addends without ω.
        total: x + ω·F(x).
    """

    shortcut: Any
    addends: tuple
    unscaled: tuple
    total: Any

    @property
    def added(self):
        """ω·F(x)."""
        return self._sum(self.addends)

    @property
    def branch(self):
        """F(x)."""
        return self._sum(self.unscaled)

    def _sum(self, parts):
        if not parts:
            return self.total - self.shortcut
        first, *others = parts
        return sum(others, first)

    def mapped(self, function):
        """Applies a function to each tensor."""
        return UnitCall(
            function(self.shortcut),
            tuple(map(function, self.addends)),
            tuple(map(function, self.unscaled)),
            function(self.total),
        )


class UnitProbe(keras.layers.Layer):
    """Runs a model up to the last of some units, and measures their tensors.

    It is a layer instead of a functional model, because a graph requires unique names
    of operations, and the operations of nested models and of `measure` may share names.

    Args:
        model: a functional `keras.Model`.
        units: `Unit`s of `model`.
        measure: function from a dict of unit name to list of `UnitCall` (several if a
            nested model is called several times) to a tensor or a list of tensors.
        spec: function like `measure`, of symbolic tensors, for shapes and dtypes.

    Input: list of the model's inputs. Output: what `measure` returns.
    """

    def __init__(self, model, units, measure, spec):
        super().__init__(name="unit_probe", autocast=False)
        self.model, self.measure, self.spec = model, measure, spec
        self._calls, self._found = _unit_calls(model, units)
        self.built = True

    def call(self, inputs):
        made = dict(zip(map(id, self.model.inputs), inputs, strict=True))

        def actual(value):
            return made.get(id(value), value)

        for call in self._calls:
            args, kwargs = keras.tree.map_structure(actual, (call.args, call.kwargs))
            outputs = keras.tree.flatten(call.operation(*args, **kwargs))
            made.update(zip(map(id, call.outputs), outputs, strict=True))
        return self.measure(_mapped(self._found, actual))

    def compute_output_spec(self, inputs):
        return self.spec(self._found)


def unit_probe(model, units, measure, spec):
    """A model from the inputs of `model` to the output of a `UnitProbe`."""
    return keras.Model(
        model.input, UnitProbe(model, units, measure, spec)(model.inputs)
    )


def unit_means(model, images, batch_size, measure):
    """Means over images of numbers that are measured at each unit.

    Args:
        model: a functional `keras.Model`; it is not changed.
        images: see `examples.count_images`.
        batch_size: int, images per step.
        measure: function from a `UnitCall` to a tensor `(batch, numbers)`. For a unit
            that is called several times, the mean over its calls is taken.

    Returns:
        dict from the name of each of `scored_units(model)` to float64 `(numbers,)`.
    """
    copy = graph.rebuild(model)
    units = scored_units(copy)
    if not units:
        return {}

    def stacked(found):
        rows = [sum(map(measure, calls)) / len(calls) for calls in found.values()]
        return ops.stack(rows, axis=1)

    def spec(found):
        return keras.KerasTensor((None, len(found), None), "float32")

    probe = unit_probe(copy, units, stacked, spec)
    total = 0.0
    for batch in tracked_part(
        batches(images, batch_size),
        "Measuring the inputs and outputs of units, batch",
        batch_count(images, batch_size),
    ):
        total += probe.predict_on_batch(batch).astype("float64").sum(axis=0)
    names = (unit.name for unit in units)
    return dict(zip(names, total / count_images(images), strict=True))


def _unit_calls(model, units):
    """The calls up to the last unit, and the symbolic `UnitCall`s of each unit."""
    calls, _ = trace(model)
    sources = {id(tensor): call for call in calls for tensor in call.outputs}
    merges = {id(unit.merge): unit for unit in units}
    found, last = {unit.name: [] for unit in units}, 0
    for place, call in enumerate(calls):
        if unit := merges.get(id(call.node)):
            found[unit.name].append(_unit_call(unit, call, sources))
            last = place
    return calls[: last + 1], found


def _unit_call(unit, call, sources):
    tensors = dict(zip(map(id, call.node.input_tensors), call.inputs, strict=True))
    addends = tuple(tensors[id(branch)] for branch in unit.branches)
    total = call.outputs[0]
    # Otherwise the branch is computed as total minus shortcut, which is less exact.
    plain = type(call.operation) in (keras.layers.Add, Add)
    if not plain or any(addend.shape != total.shape for addend in addends):
        addends = ()
    unscaled = tuple(_unscaled(addend, sources) for addend in addends)
    return UnitCall(tensors[id(unit.shortcut)], addends, unscaled, total)


def _unscaled(tensor, sources):
    """The input of the `ImportanceScale` that made `tensor`; else `tensor` itself."""
    source = sources.get(id(tensor))
    scaled = source is not None and isinstance(source.operation, ImportanceScale)
    return source.inputs[0] if scaled else tensor


def _mapped(found, function):
    return {
        name: [call.mapped(function) for call in calls] for name, calls in found.items()
    }
