"""Checks that data fit a model before it is trained on them.

Arrays are checked as a whole, pipelines by their first batch.
"""

import inspect
import math
import numbers
from collections.abc import Iterator, Mapping

import keras
import numpy as np

from resprune_tf import graph
from resprune_tf.data.examples import bounds, check_finite
from resprune_tf.data.fit_data import Pipeline, as_split
from resprune_tf.graph.outputs import decides
from resprune_tf.system.advice import advice
from resprune_tf.training.labels import check_targets

# The inputs of a model are of the order of 1. If its first layer scales images to a
# range below or above these, the images have another scale than that layer expects.
_SMALL, _LARGE = 1 / 32, 32


def check_splits(model, splits):
    """Checks inputs, labels and weights of every split.

    Args:
        model: a compiled functional `keras.Model`.
        splits: dict from name to the result of `fit_data.as_split`.

    Raises:
        ValueError: for NaN or infinite numbers, for pixels in another range than the
            first layer of the model or another split expects, and for labels that are
            missing, are text or are not accepted by the loss.
    """
    peaks = {}
    for name, split in splits.items():
        x, y, weights = keras.utils.unpack_x_y_sample_weight(split.data_to_check())
        for kind, values in (("Inputs", x), ("Weights", weights)):
            for array in _arrays(values):
                check_finite(f"{kind} of `{name}`", array)
        for array, tensor in by_input(x, model):
            if len(tensor.shape) == 4 and (array := _numbers(array)) is not None:
                check_scale(model, tensor, array, f"`{name}`")
                peak = np.max(np.abs(bounds(array)))
                peaks.setdefault(tensor.name, {})[name] = peak
        if y is None and _needs_labels(model.loss):
            raise ValueError(
                f"`{name}` has no labels, which the loss of '{model.name}' needs. Its "
                "batches must be (x, y), or (x, y, sample_weight)."
            )
        if y is not None:
            check_targets(model, y, name)
    for found in peaks.values():
        _check_alike(found)


def check_class_weight(model, weights, splits):
    """Checks the argument `class_weight` of `fit`, which Keras does not validate.

    Args:
        model: a compiled functional `keras.Model`.
        weights: the argument, or None.
        splits: as for `check_splits`; splits that cannot be read may be missing.

    Raises:
        ValueError: unless it maps classes of the model to weights.
    """
    if weights is None:
        return
    expected = (
        "`class_weight` must be a dict from class indices to weights, finite and >= 0, "
        "such as {0: 1.0, 1: 5.0}. Received: "
    )
    if not isinstance(weights, Mapping) or not weights:
        raise ValueError(f"{expected}{weights!r}.")
    for number, weight in weights.items():
        good = isinstance(number, numbers.Integral) and isinstance(weight, numbers.Real)
        if not (good and number >= 0 and 0 <= weight < math.inf):
            raise ValueError(f"{expected}{number!r}: {weight!r}.")
    if len(model.outputs) != 1:
        raise ValueError(
            "`class_weight` is for models with one output; use `sample_weight` for "
            f"several. Received: '{model.name}' with {len(model.outputs)} outputs."
        )
    if not decides(model):
        return
    last = model.outputs[0].shape[1] - 1
    if max(weights) > last:
        raise ValueError(
            f"`class_weight` has a weight of class {max(weights)}, but '{model.name}' "
            f"has the classes 0 to {last}. Count them from 0."
        )
    # TensorFlow looks weights up in a table that ends with the largest given class.
    if max(weights) < last and isinstance(splits.get("train"), Pipeline):
        raise ValueError(
            f"`class_weight` needs a weight of the last class, {last}, for a pipeline. "
            f"Received: weights of {', '.join(map(str, sorted(weights)))}."
        )


def _check_alike(peaks):
    """Raises a ValueError if some splits have pixels up to 1, and others up to 255."""
    small, large = min(peaks, key=peaks.get), max(peaks, key=peaks.get)
    if 0 < peaks[small] <= 1 and peaks[large] > 16:
        raise ValueError(
            f"The images of `{small}` are scaled differently from those of `{large}`: "
            f"their largest values are {peaks[small]:g} and {peaks[large]:g}. Scale "
            "all splits alike."
        )


def check_scale(model, tensor, array, name):
    """Checks the range of pixels, if the first layer of the model scales them.

    Args:
        model: a functional `keras.Model`, or a built `Sequential`.
        tensor: one of `model.inputs`.
        array: NumPy array of images for this input.
        name: name of the images, for the message.

    Raises:
        ValueError: for example for pixels from 0 to 1 if a `Rescaling` divides by 255.
    """
    layer = _first(graph.as_functional(model, "check_scale"), tensor)
    if type(layer) is keras.layers.Rescaling:
        factor = np.abs(np.asarray(layer.scale, "float64"))
    elif type(layer) is keras.layers.Normalization and not layer.invert:
        factor = 1 / np.sqrt(np.asarray(layer.variance, "float64"))
    else:
        return
    scales_down, scales_up = np.all(factor <= _SMALL), np.all(factor > 1)
    if not scales_down and not scales_up:
        return  # it only shifts, or hardly scales, so the expected range is unknown
    low, high = map(float, bounds(array))
    small = scales_down and -1 <= low < high <= 1
    small = small and np.max(factor) * (high - low) < _SMALL
    large = np.min(factor) * (high - low) > _LARGE
    if small or large:
        how = "multiply them by 255" if small else "divide them by 255"
        option = "--pixels raw" if small else "--pixels unit or --pixels signed"
        raise ValueError(
            f"{name}: images have values from {low:g} to {high:g}, too "
            f"{'small' if small else 'large'} for '{model.name}', which first scales "
            f"them by '{layer.name}'. Pass pixels in the range that this layer "
            f"expects; probably: {how}"
            + advice(".", f", by {option} if they are stored as 0 to 255.")
        )


def _first(model, tensor):
    """The only operation that uses an input of a model; None if there are several."""
    consumers = [
        node
        for node in graph.nodes(model)
        if not node.is_input and any(each is tensor for each in node.input_tensors)
    ]
    if len(consumers) != 1:
        return None
    nested = graph.inner(consumers[0].operation)
    if nested is None:
        return consumers[0].operation
    return _first(nested, nested.inputs[0]) if len(nested.inputs) == 1 else None


def fit_arguments(model, args, kwargs):
    """Returns a dict from name to value of the arguments of a model's `fit`."""
    return inspect.signature(keras.Model.fit).bind(model, *args, **kwargs).arguments


def check_fit_arguments(model, args, kwargs):
    """Checks the data among the arguments of `fit`; generators are not read.

    Args:
        model: a compiled functional `keras.Model`.
        args, kwargs: arguments of its `fit`.

    Returns:
        dict from `"train"` and `"validation"` to the splits of `FitData` that were
        checked.

    Raises:
        ValueError: as `check_splits`; if arrays differ in length; or for a generator
            that `fit` would read to its end, so that no second epoch is possible.
    """
    given = fit_arguments(model, args, kwargs)
    for name, steps in (
        ("x", "steps_per_epoch"),
        ("validation_data", "validation_steps"),
    ):
        if isinstance(given.get(name), Iterator) and given.get(steps) is None:
            raise ValueError(
                f"`{name}` is a generator, which is exhausted after one epoch. Use a "
                "tf.data.Dataset or a keras.utils.PyDataset instead, or, if it never "
                f"ends, pass `{steps}`."
            )
    x, y, weights = (given.get(name) for name in ("x", "y", "sample_weight"))
    train = (x, y) if weights is None else (x, y, weights)
    if y is None:  # then `x` must be a stream that contains the labels
        train = x if _is_stream(x) else None
    splits = {}
    for name, value in (("train", train), ("validation", given.get("validation_data"))):
        arrays = isinstance(value, (tuple, list)) and len(value) in (2, 3)
        if arrays and not all(
            getattr(each, "shape", ()) for each in keras.tree.flatten(value)
        ):
            continue  # lists of numbers, which `fit` converts or rejects
        if arrays or _is_stream(value):
            splits[name] = as_split(value, name)
    check_splits(model, splits)
    check_class_weight(model, given.get("class_weight"), splits)
    return splits


def _is_stream(value):
    return hasattr(value, "cardinality") or isinstance(value, keras.utils.PyDataset)


def by_input(x, model):
    """Pairs of (given value, input of the model); empty if the match is not clear."""
    if isinstance(x, dict) and not isinstance(model._inputs_struct, dict):
        given = [x.get(tensor.name) for tensor in model.inputs]
    else:
        given = keras.tree.flatten(x)
    if len(given) != len(model.inputs) or any(value is None for value in given):
        return []
    return list(zip(given, model.inputs, strict=True))


def _arrays(values):
    """The arrays of numbers in a nested structure."""
    found = map(_numbers, keras.tree.flatten(values))
    return [array for array in found if array is not None]


def _needs_labels(losses):
    """Whether a `loss` of `compile` cannot be computed without labels."""
    return losses is not None and not any(
        isinstance(loss, keras.losses.Loss)
        and type(loss).__call__ is not keras.losses.Loss.__call__
        for loss in keras.tree.flatten(losses)
    )


def _numbers(value):
    """A tensor as an array of numbers; None for strings and ragged or sparse ones."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return None
    return array if array.dtype.kind in "fiu" and array.size else None
