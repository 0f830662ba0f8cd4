"""Examples: arrays and structures of arrays, in batches."""

import numpy as np
import pytest

from resprune_tf.data import examples

IMAGES = np.arange(20, dtype="uint8").reshape(5, 2, 2)
BOTH = {"image": IMAGES, "tokens": [np.arange(5)]}


def test_batches_keep_the_order_and_the_structure():
    first, second = examples.batches(BOTH, 3)
    np.testing.assert_array_equal(first["image"], IMAGES[:3])
    np.testing.assert_array_equal(second["tokens"][0], [3, 4])
    assert examples.count_images(BOTH) == 5
    labels = [
        labels for _, labels in examples.labelled_batches(BOTH, [4, 3, 2, 1, 0], 3)
    ]
    np.testing.assert_array_equal(np.concatenate(labels), [4, 3, 2, 1, 0])


@pytest.mark.parametrize(
    "given, expected",
    [("uint8", "float32"), ("float64", "float32"), ("int64", "int64")],
)
def test_pixels_become_floats_and_tokens_stay_integers(given, expected):
    assert examples.take(IMAGES.astype(given), [0]).dtype == expected


@pytest.mark.parametrize(
    "given, expected",
    [("uint8", "int32"), ("bool", "int32"), ("int64", "int32"), ("float64", "float32")],
)
def test_labels_are_whole_numbers_or_floats(given, expected):
    assert examples.take_labels(np.ones(3, given), [0, 1]).dtype == expected


@pytest.mark.parametrize("images", [[1, 2], "images", {}, iter([IMAGES])])
def test_refuses_what_is_no_array(images):
    with pytest.raises(ValueError, match="must be (an array|arrays)"):
        examples.check_images(images, 2)


def test_refuses_inputs_of_different_lengths():
    with pytest.raises(ValueError, match=r"lengths \[4, 5\]"):
        examples.check_images([IMAGES, IMAGES[:4]], 2)


def test_batches_of_one_shape_are_concatenated():
    batches = [{"a": np.ones((2, 3))}, {"a": np.zeros((1, 3))}]
    assert examples.concatenated(iter(batches))["a"].tolist() == [
        [1] * 3,
        [1] * 3,
        [0] * 3,
    ]
    with pytest.raises(ValueError, match=r"one shape.*\(\(3,\),\) and \(\(4,\),\)"):
        examples.concatenated([*batches, {"a": np.ones((2, 4))}])
