"""Measures a model without many sets of its units and shares common computations.

The model is cut before and after each removable unit. A set of removed units is a path
through the pieces, and the paths of several sets form a tree, in which common parts are
computed once. For the 128 sets of the 7 units of ResNet-20, this takes about a quarter
of the multiply-accumulates.
"""

import dataclasses

import keras
import numpy as np

from resprune_tf import graph
from resprune_tf.data.examples import batches
from resprune_tf.training.recalibration import Recalibration
from resprune_tf.units.finding import scored_units

_AT_ONCE = 2000  # images whose activations are in memory at each unit
_BATCH = 250


class Removals:
    """A model from which sets of units can be removed.

    Args:
        model: a functional `keras.Model` with one input, from images to logits, whose
            removable units form a sequence. It is not changed.

    Attributes:
        units: names of the removable units, in order. A set of units is a frozenset
            of their indices.

    Raises:
        ValueError: if the units do not form a sequence.
    """

    def __init__(self, model):
        copy = graph.rebuild(model)
        units = scored_units(copy)
        self.units = [unit.name for unit in units]
        self._pieces = _cut(copy, units)
        self._found = {}  # statistics by piece and set of removed units before it

    def recalibrate(self, sets, images, batch_size=256):
        """Estimates the BatchNormalization statistics without each set of units.

        They equal those of `training.recalibration.recalibrate`. `measure` uses them
        until the next call.

        Args:
            sets: list of sets of units.
            images: `(images, height, width, channels)`.
            batch_size: images per step.
        """
        self._found = {}

        def step(place, removed, values):
            piece = self._pieces[place]
            outputs, found = piece.recalibrated(values, batch_size)
            self._found[place, removed] = found
            return outputs

        for _ in self._walk(sets, images.astype("float32"), step):
            pass

    def measure(self, sets, images, labels, recalibrated=False):
        """Correctness and loss of each image without each set of units.

        Args:
            sets: list of different sets of units.
            images: `(images, height, width, channels)`.
            labels: integers `(images,)`.
            recalibrated: whether to use the statistics that `recalibrate` estimated
                for these sets instead of those of the model.

        Returns:
            dict from set to two arrays `(images,)`: whether each image is classified
            correctly, and its cross entropy.
        """

        def step(place, removed, values):
            piece = self._pieces[place]
            piece.use(self._found[place, removed] if recalibrated else piece.own)
            return piece.run(values)

        parts = {units: [] for units in sets}
        for start in range(0, len(images), _AT_ONCE):
            rows = slice(start, start + _AT_ONCE)
            part = images[rows].astype("float32")
            for units, logits in self._walk(sets, part, step):
                parts[units].append(_judge(logits, labels[rows]))
        return {
            units: tuple(map(np.concatenate, zip(*found, strict=True)))
            for units, found in parts.items()
        }

    def _walk(self, sets, values, step, place=0, removed=frozenset()):
        """Yields each set with the outputs of the model without it.

        `step(place, removed, values)` returns the outputs of the piece at `place` after
        the `removed` units, from its inputs `values`.
        """
        if place == len(self._pieces):
            yield sets[0], values
            return
        unit = self._pieces[place].unit
        without = [units for units in sets if unit in units]
        if without:
            omitted = removed | {unit}
            yield from self._walk(without, values, step, place + 1, omitted)
        if len(without) < len(sets):
            kept = [units for units in sets if unit not in units]
            values = step(place, removed, values)
            yield from self._walk(kept, values, step, place + 1, removed)


@dataclasses.dataclass(eq=False)
class _Piece:
    """A part of the model: a removable unit, or the layers between two of them.

    Attributes:
        model: `keras.Model` from the inputs to the outputs of the part.
        unit: index of the unit; None for other parts.
    """

    model: keras.Model
    unit: int | None

    def __post_init__(self):
        self.model.compile(jit_compile=False)  # XLA is slower here
        self._norms = [
            layer
            for layer in self.model._flatten_layers()
            if isinstance(layer, keras.layers.BatchNormalization)
        ]
        self.own = self._statistics()
        self._recalibration = None

    def run(self, values):
        """The outputs of the piece, as an array."""
        starts = range(0, len(values), _BATCH)
        batches = (values[start : start + _BATCH] for start in starts)
        return np.concatenate([self.model.predict_on_batch(each) for each in batches])

    def use(self, statistics):
        """Sets the statistics of the BatchNormalization layers."""
        for norm, (mean, variance) in zip(self._norms, statistics, strict=True):
            norm.moving_mean.assign(mean)
            norm.moving_variance.assign(variance)

    def recalibrated(self, values, batch_size):
        """Estimates the statistics on `values`; returns the outputs and statistics."""
        if not self._norms:
            return self.run(values), []
        if self._recalibration is None:
            self._recalibration = Recalibration(self.model)
        outputs = []
        self._recalibration.run_on(batches(values, batch_size), outputs)
        return np.concatenate(outputs), self._statistics()

    def _statistics(self):
        return [
            (np.array(norm.moving_mean), np.array(norm.moving_variance))
            for norm in self._norms
        ]


def _cut(model, units):
    """The list of `_Piece` of a model, in order."""
    pieces, start = [], model.inputs[0]
    try:
        for index, unit in enumerate(units):
            if unit.shortcut is not start:
                pieces.append(_Piece(keras.Model(start, unit.shortcut), None))
            start = unit.merge.outputs[0]
            pieces.append(_Piece(keras.Model(unit.shortcut, start), index))
        if start is not model.outputs[0]:
            pieces.append(_Piece(keras.Model(start, model.outputs[0]), None))
    except ValueError as error:
        raise ValueError(
            f"The units of '{model.name}' do not form a sequence at the top level of "
            f"the model, so it cannot be cut between them: {error}"
        ) from error
    return pieces


def _judge(logits, labels):
    """Whether each image is classified correctly, and its cross entropy."""
    logits = logits.astype("float64")
    logits -= logits.max(axis=1, keepdims=True)
    own = logits[np.arange(len(labels)), labels]
    return logits.argmax(axis=1) == labels, np.log(np.exp(logits).sum(axis=1)) - own
