"""Examples for scoring: arrays, or nested structures of arrays, in batches."""

import keras
import numpy as np

from resprune_tf.system.counts import check_counts


def count_images(images):
    """Returns the number of examples, which is the length of every array.

    Args:
        images: an array `(images, ...)`, or a list, tuple or dict of arrays, in the
            structure of the model's inputs.

    Raises:
        ValueError: if these are not arrays, or their lengths differ.
    """
    lengths = {_length(array) for array in keras.tree.flatten(images)}
    if len(lengths) != 1:
        raise ValueError(
            "All inputs must be arrays with the same number of examples. "
            f"Received: lengths {sorted(lengths)}."
        )
    return lengths.pop()


def _length(array):
    # Sparse and ragged tensors have a shape, but cannot be converted to arrays.
    if not getattr(array, "shape", ()) or not hasattr(array, "__array__"):
        raise ValueError(
            "Images must be an array `(images, ...)`, or a list, tuple or dict of "
            f"arrays if the model has several inputs. Received: {type(array)}. "
            "Sparse inputs accept dense arrays too."
        )
    return array.shape[0]


def batch_length(batch) -> int:
    """The number of examples in a batch of inputs.

    Args:
        batch: arrays or tensors, also sparse or ragged ones, alone or nested.
    """
    return keras.tree.flatten(batch)[0].shape[0]  # sparse tensors have no `len`


def bounds(array):
    """Returns the smallest and largest value of an array, without copying it.

    Args:
        array: NumPy array of integers or floats, not empty.

    Returns:
        Two Python numbers. Both are NaN if any value is NaN.
    """
    with np.errstate(invalid="ignore"):  # NaN is an expected result here
        return array.min().item(), array.max().item()


def check_finite(name, array):
    """Raises a ValueError for floats that are NaN or infinite.

    Args:
        name: name of the array, for the message.
        array: NumPy array `(examples, ...)`.
    """
    if array.dtype.kind != "f" or not array.size or np.all(np.isfinite(bounds(array))):
        return
    rows = array.reshape(-1, *array.shape[1:])  # a scalar counts as one example
    values = examples = 0
    for start in range(0, len(rows), 1024):
        wrong = ~np.isfinite(rows[start : start + 1024])
        values += np.count_nonzero(wrong)
        examples += np.count_nonzero(wrong.reshape(len(wrong), -1).any(axis=1))
    raise ValueError(
        f"{name} has {values:,} values that are NaN or infinite, in {examples:,} of "
        f"its {len(rows):,} examples. Remove these examples first."
    )


def check_images(images, batch_size):
    """Raises a ValueError for no images, `batch_size` < 1, NaN or infinite values."""
    check_counts(batch_size=batch_size)
    if count_images(images) < 1:
        raise ValueError("At least one image is needed. Received: 0 images.")
    for array in keras.tree.flatten(images):
        check_finite("Images", np.asarray(array))


def check_label_count(images, labels):
    """Raises a ValueError unless there is one array of as many labels as images."""
    count = count_images(images)
    if isinstance(labels, dict) or (
        isinstance(labels, (list, tuple))
        and labels
        and len(labels) != count
        and all(np.ndim(each) and len(each) == count for each in labels)
    ):
        raise ValueError(
            "Labels must be one array. Received labels of several outputs: "
            f"{type(labels).__name__} of {len(labels)}. Select one output, by "
            "`keras.Model(model.inputs, model.outputs[0])`, and pass its labels."
        )
    if len(labels) != count:
        raise ValueError(
            "There must be one label for each image. "
            f"Received: {len(labels)} labels for {count} images."
        )


def take(images, rows):
    """Selects images by a slice or indices.

    Floats and unsigned integers (raw pixels) become float32. Other dtypes, such as
    those of integer tokens, are preserved.
    """

    def chosen(array):
        array = np.asarray(array)[rows]
        return array.astype("float32") if array.dtype.kind in "fu" else array

    return keras.tree.map_structure(chosen, images)


def take_labels(labels, rows):
    """Selects labels, as int32 if they are integers or booleans, else as float32."""
    labels = np.asarray(labels)[rows]
    return labels.astype("int32" if labels.dtype.kind in "biu" else "float32")


def batches(images, batch_size):
    """Yields batches of images in order; the last one may be smaller."""
    for start in range(0, count_images(images), batch_size):
        yield take(images, slice(start, start + batch_size))


def batch_count(images, batch_size):
    """Returns the number of batches that `batches` and `labelled_batches` yield."""
    return -(-count_images(images) // batch_size)


def concatenated(batches):
    """Concatenates batches of inputs, as arrays.

    Args:
        batches: iterable of nested structures of arrays; at least one.

    Raises:
        ValueError: if the examples of two batches differ in shape.
    """
    batches = list(batches)
    sizes = {
        tuple(np.shape(array)[1:] for array in keras.tree.flatten(batch))
        for batch in batches
    }
    if len(sizes) > 1:
        first, second, *_ = sorted(sizes, key=str)
        raise ValueError(
            "All examples must have one shape, but batches of the pipeline have "
            f"examples of {first} and {second}. Pad all batches to one length, or "
            "pass a `criterion` on arrays."
        )
    return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *batches)


def labelled_batches(images, labels, batch_size):
    """Yields pairs of a batch of images and its labels, in order."""
    for start in range(0, count_images(images), batch_size):
        rows = slice(start, start + batch_size)
        yield take(images, rows), take_labels(labels, rows)
