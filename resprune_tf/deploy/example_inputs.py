"""What models are fed when an export is checked, and when int8 is calibrated."""

import keras
import numpy as np

from resprune_tf.data.examples import check_finite

# As many as calibration needs at most: ranges settle long before.
CALIBRATION_IMAGES = 500


def images_to_compare(model, images=None, calibration=None):
    """Inputs on which outputs are compared.

    Args:
        model: a functional `keras.Model`.
        images: as for `export`, or None for some of `calibration`, else noise.
        calibration: list of inputs, as `images_to_calibrate` returns it, or None.

    Returns:
        list of arrays, one for each of `model.inputs`, 4 or more images each.

    Raises:
        ValueError: if there are fewer images than 4, not the same number for every
            input, they do not fit the model, or noise will not do.
    """
    if images is None and calibration is not None and len(calibration) >= 4:
        return [np.concatenate(x) for x in zip(*calibration[:32], strict=True)]
    if images is None:
        return [_noise(model, tensor) for tensor in model.inputs]
    arrays = _arrays(model, images, "images")
    if min(map(len, arrays)) < 4:
        raise ValueError(
            "`images` must be 4 or more, to try batches of 1, 3 and all of them. "
            f"Received: arrays of shape {', '.join(str(x.shape) for x in arrays)}."
        )
    return arrays


def images_to_calibrate(model, calibration):
    """Inputs on which the ranges of activations are measured, one image each.

    Args:
        model: a functional `keras.Model`.
        calibration: as for `export`.

    Returns:
        list of at most 500 inputs: lists of arrays of one image, one array for each of
        `model.inputs`.

    Raises:
        ValueError: if there are none, or they do not fit the model.
    """
    whole = _fits(model, calibration)
    singles = []
    for batch in [calibration] if whole else calibration:
        # As everywhere in Keras, a tuple is (inputs, labels) or longer.
        if isinstance(batch, tuple) and not _fits(model, batch):
            batch = batch[0]
        arrays = _arrays(model, batch, "calibration")
        singles.extend(
            [x[i : i + 1] for x in arrays] for i in range(min(map(len, arrays)))
        )
        if len(singles) >= CALIBRATION_IMAGES:
            break
    if not singles:
        raise ValueError("`calibration` holds no images.")
    return singles[:CALIBRATION_IMAGES]


def noise_to_calibrate(model):
    """Noise for `images_to_calibrate`, where only a file's size or speed counts."""
    noise = [_noise(model, tensor) for tensor in model.inputs]
    return images_to_calibrate(
        model, keras.tree.pack_sequence_as(model._inputs_struct, noise)
    )


def _noise(model, tensor):
    shape = tuple(tensor.shape[1:])
    if None in shape or not keras.backend.is_float_dtype(tensor.dtype):
        raise ValueError(
            f"Noise will not do for input '{tensor.name}' of '{model.name}', whose "
            f"dtype is {tensor.dtype} and whose shape, {shape}, has to be fixed: give "
            "`images` to compare on."
        )
    return np.random.default_rng(0).standard_normal((8, *shape)).astype(tensor.dtype)


def _fits(model, values):
    """Whether `values` are arrays, nested like the inputs of `model`."""
    try:
        keras.tree.assert_same_structure(model._inputs_struct, values)
    except (TypeError, ValueError):
        return False
    return all(hasattr(x, "shape") for x in keras.tree.flatten(values))


def _arrays(model, values, name):
    """`values` as a list of arrays, one for each of `model.inputs`."""
    wanted = {tensor.name: tuple(tensor.shape) for tensor in model.inputs}
    if not _fits(model, values):
        raise ValueError(
            f"`{name}` must be arrays, nested like the inputs of '{model.name}': "
            f"{wanted}. "
            f"Received: {type(values).__name__}."
        )
    arrays = [
        np.asarray(x, tensor.dtype)
        for x, tensor in zip(keras.tree.flatten(values), model.inputs, strict=True)
    ]
    fitting = all(
        len(x.shape) == len(shape)
        and all(b in (None, a) for a, b in zip(x.shape, shape, strict=True))
        for x, shape in zip(arrays, wanted.values(), strict=True)
    )
    if not fitting or len({len(x) for x in arrays}) > 1:
        raise ValueError(
            f"`{name}` must fit the inputs of '{model.name}': {wanted}. "
            f"Received: shapes {', '.join(str(x.shape) for x in arrays)}."
        )
    for array in arrays:
        check_finite(f"`{name}`", array)
    return arrays
