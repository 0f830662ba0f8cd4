"""Copies a model with open sizes and fixes its input shape."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence

import keras

from resprune_tf import graph
from resprune_tf.graph.cloning import cloning
from resprune_tf.system.advice import advice


def fixed_sizes() -> str:
    """How to fix open sizes of a model: the clause of a message."""
    return advice(
        "call `with_input_shape(model, (224, 224, 3))`",
        "give --input-shape 224,224,3",
    )


def with_input_shape(
    model: keras.Model, input_shape: Sequence[int], clone: Callable | None = None
) -> keras.Model:
    """Copies a model and fixes input sizes that the model leaves open.

    Models with inputs such as `keras.Input((None, None, 3))` run at any size, so their
    MACs and latency depend on the size. The copy has the same weights and, at that
    size, the same outputs. It has the same unit names, so units chosen with it can be
    removed from `model`.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`; it is not changed.
        input_shape: shape without the batch, such as `(224, 224, 3)`. For a model with
            several inputs, a list of shapes in the order of `model.inputs`, or a dict
            from input name to shape. A size of None remains open.
        clone: as for `remove_units`.

    Returns:
        A new functional `keras.Model`, not compiled, that shares no layer with `model`.

    Raises:
        ValueError: if a shape does not fit an input.
        CloneError: if a layer cannot be cloned.
        TypeError: if `model` is not functional.

    >>> backbone = keras.applications.ResNet50(include_top=False)
    >>> fixed = with_input_shape(backbone, (224, 224, 3))
    """
    whole = graph.as_functional(model, "with_input_shape")
    given = _shapes(input_shape, whole.inputs)
    opens = [tuple(tensor.shape[1:]) for tensor in whole.inputs]
    if given is None or not all(map(_fits, given, opens)):
        raise ValueError(
            "`input_shape` must agree with the sizes that the model fixes, and give "
            "positive integers (or None) for those that it leaves open. Received: "
            f"{input_shape} for inputs of the shapes {opens}, without the batch."
        )
    batches = [tensor.shape[0] for tensor in whole.inputs]
    shapes = [(batch, *shape) for batch, shape in zip(batches, given, strict=True)]
    with graph.scope_of(model):
        return graph.rebuild(model, clone=cloning(clone), input_shapes=shapes)


def _shapes(given, inputs):
    """One tuple of sizes per input, or None if `given` does not match the inputs."""
    try:
        if isinstance(given, dict):
            if given.keys() != {tensor.name for tensor in inputs}:
                return None
            shapes = [given[tensor.name] for tensor in inputs]
        else:
            one = not any(isinstance(size, Iterable) for size in given)
            shapes = [given] if one else given
        shapes = [tuple(map(_size, shape)) for shape in shapes]
    except TypeError:  # not a shape, or sizes that are not integers
        return None
    return shapes if len(shapes) == len(inputs) else None


def _size(given):
    return None if given is None else operator.index(given)  # None remains open


def _fits(shape, opened):
    possible = all(size is None or size >= 1 for size in shape)
    return possible and graph.fits(shape, opened)
