"""Inputs that check an export, and inputs that calibrate int8."""

import keras
import numpy as np

from resprune_tf import graph
from resprune_tf.data.examples import check_finite
from resprune_tf.system.advice import advice

# Largest number of images for calibration. The ranges converge with far fewer.
CALIBRATION_IMAGES = 500


def images_to_compare(model, images=None, calibration=None):
    """Returns the inputs on which outputs are compared.

    Args:
        model: a functional `keras.Model`.
        images: as for `export`. None uses the first 32 of `calibration`, or 8 images of
            noise.
        calibration: list of inputs, as `images_to_calibrate` returns it, or None.

    Returns:
        list of arrays, one per input of the model, with at least 4 images each.

    Raises:
        ValueError: if there are fewer than 4 images, if inputs have different numbers
            of images, if images do not fit the model, or if the model does not accept
            noise.
    """
    if images is None and calibration is not None and len(calibration) >= 4:
        return [np.concatenate(x) for x in zip(*calibration[:32], strict=True)]
    if images is None:
        return [_noise(model, tensor) for tensor in model.inputs]
    arrays = _arrays(model, images, "images")
    if min(map(len, arrays)) < 4:
        raise ValueError(
            "`images` must contain at least 4 images, because the outputs for 1, 3 and "
            "all of them are compared. "
            f"Received: arrays of shape {', '.join(str(x.shape) for x in arrays)}."
        )
    return arrays


def images_to_calibrate(model, calibration):
    """Returns the inputs from which the ranges of activations are measured.

    Args:
        model: a functional `keras.Model`.
        calibration: as for `export`.

    Returns:
        list of at most 500 inputs of one image each. An input is a list of arrays, one
        per input of the model.

    Raises:
        ValueError: if there are no images, or if they do not fit the model.
    """
    whole = _fits(model, calibration)
    singles = []
    for batch in [calibration] if whole else calibration:
        # As elsewhere in Keras, a tuple contains inputs, labels and possibly weights.
        if isinstance(batch, tuple) and not _fits(model, batch):
            batch = batch[0]
        arrays = _arrays(model, batch, "calibration")
        singles.extend(
            [x[i : i + 1] for x in arrays] for i in range(min(map(len, arrays)))
        )
        if len(singles) >= CALIBRATION_IMAGES:
            break
    if not singles:
        raise ValueError("`calibration` contains no images. Pass at least one.")
    return singles[:CALIBRATION_IMAGES]


def noise_to_calibrate(model):
    """Returns calibration inputs of noise, for files whose outputs do not matter."""
    noise = [_noise(model, tensor) for tensor in model.inputs]
    return images_to_calibrate(
        model, keras.tree.pack_sequence_as(model._inputs_struct, noise)
    )


def _noise(model, tensor):
    shape = tuple(tensor.shape[1:])
    if None in shape or not keras.backend.is_float_dtype(tensor.dtype):
        raise ValueError(
            f"Input '{tensor.name}' of '{model.name}' cannot be filled with noise, "
            "which requires a float dtype and a fixed shape. Received: dtype "
            f"{tensor.dtype}, shape {shape}. {advice('Pass `images`.', 'Give --data.')}"
        )
    return np.random.default_rng(0).standard_normal((8, *shape)).astype(tensor.dtype)


def _fits(model, values):
    """Whether `values` are arrays with the structure of the model's inputs.

    As elsewhere in Keras, an array alone fits a list or dict of one input.
    """
    if len(model.inputs) == 1 and hasattr(values, "shape"):
        return True
    try:
        keras.tree.assert_same_structure(model._inputs_struct, values)
    except (TypeError, ValueError):
        return False
    return all(hasattr(x, "shape") for x in keras.tree.flatten(values))


def _arrays(model, values, name):
    """`values` as a list of arrays, one per input of the model."""
    # Written files accept any number of images, even if the model's inputs fix it.
    expected = {tensor.name: (None, *tensor.shape[1:]) for tensor in model.inputs}
    if not _fits(model, values):
        raise ValueError(
            f"`{name}` must be arrays in the structure of the inputs of "
            f"'{model.name}': {expected}. Received: {type(values).__name__}."
        )
    arrays = [
        np.asarray(x, tensor.dtype)
        for x, tensor in zip(keras.tree.flatten(values), model.inputs, strict=True)
    ]
    fitting = [
        graph.fits(x.shape, shape)
        for x, shape in zip(arrays, expected.values(), strict=True)
    ]
    if not all(fitting) or len({len(x) for x in arrays}) > 1:
        raise ValueError(
            f"`{name}` must fit the inputs of '{model.name}': {expected}. "
            f"Received: shapes {', '.join(str(x.shape) for x in arrays)}."
        )
    for array in arrays:
        check_finite(f"`{name}`", array)
    return arrays
