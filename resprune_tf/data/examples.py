"""Examples to score on: arrays, or nested structures of arrays, cut into batches."""

import keras
import numpy as np


def count_images(images):
    """How many examples there are: the length of each array.

    Args:
        images: an array `(images, ...)`, or a list, tuple or dict of them, nested as
            the model takes its inputs.

    Raises:
        ValueError: if these are no arrays, or of different lengths.
    """
    lengths = {_length(array) for array in keras.tree.flatten(images)}
    if len(lengths) != 1:
        raise ValueError(
            "Each input must be an array with as many examples as the others. "
            f"Received: lengths {sorted(lengths)}."
        )
    return lengths.pop()


def _length(array):
    # Sparse and ragged tensors have a shape, but are no arrays.
    if not getattr(array, "shape", ()) or not hasattr(array, "__array__"):
        raise ValueError(
            "Images must be an array `(images, ...)`, or a list, tuple or dict of "
            f"arrays where the model has several inputs. Received: {type(array)}. "
            "A sparse input takes dense arrays, too."
        )
    return array.shape[0]


def bounds(array):
    """Smallest and largest value of an array of numbers, read without a copy.

    Args:
        array: NumPy array with a value or more, integers or floats.

    Returns:
        Two Python numbers; NaN if one of the values is.
    """
    with np.errstate(invalid="ignore"):  # of NaN, which is what is looked for
        return array.min().item(), array.max().item()


def check_finite(name, array):
    """Raises a ValueError for floats that are NaN or infinite.

    Args:
        name: of the array, for the message.
        array: NumPy array `(examples, ...)`.
    """
    if array.dtype.kind != "f" or not array.size or np.all(np.isfinite(bounds(array))):
        return
    rows = array.reshape(-1, *array.shape[1:])  # a single value is an example, too
    values = examples = 0
    for start in range(0, len(rows), 1024):
        wrong = ~np.isfinite(rows[start : start + 1024])
        values += np.count_nonzero(wrong)
        examples += np.count_nonzero(wrong.reshape(len(wrong), -1).any(axis=1))
    raise ValueError(
        f"{name} has {values:,} values that are NaN or infinite, in {examples:,} of "
        f"its {len(rows):,} examples. Take those out first."
    )


def check_images(images, batch_size):
    """Raises a ValueError if there is no image or no batch, or pixels are NaN."""
    count = count_images(images)
    if count < 1 or batch_size < 1:
        raise ValueError(
            "At least one image and a batch size of 1 or more are needed. "
            f"Received: {count} images, batch_size={batch_size}."
        )
    for array in keras.tree.flatten(images):
        check_finite("Images", np.asarray(array))


def check_label_count(images, labels):
    """Raises a ValueError if there are not as many labels as images."""
    if len(labels) != count_images(images):
        raise ValueError(
            "There must be one label for each image. "
            f"Received: {len(labels)} labels for {count_images(images)} images."
        )


def take(images, rows):
    """Some of the images, by a slice or indices.

    Floats and raw pixels (uint8) become float32. Other types, such as the integers of
    tokens, stay what they are.
    """

    def chosen(array):
        array = np.asarray(array)[rows]
        return array.astype("float32") if array.dtype.kind in "fu" else array

    return keras.tree.map_structure(chosen, images)


def take_labels(labels, rows):
    """Some of the labels: int32 if they are whole numbers, else float32."""
    labels = np.asarray(labels)[rows]
    return labels.astype("int32" if labels.dtype.kind in "biu" else "float32")


def batches(images, batch_size):
    """Batches of images in their order, the last one smaller if need be."""
    for start in range(0, count_images(images), batch_size):
        yield take(images, slice(start, start + batch_size))


def labelled_batches(images, labels, batch_size):
    """Pairs of a batch of images and its labels, in their order."""
    for start in range(0, count_images(images), batch_size):
        rows = slice(start, start + batch_size)
        yield take(images, rows), take_labels(labels, rows)
