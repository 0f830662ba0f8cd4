"""Feeds: images for comparison and calibration, in every form that Keras takes."""

import keras
import numpy as np
import pytest
from keras import layers

from resprune_tf.deploy.example_inputs import images_to_calibrate, images_to_compare
from tests.conftest import net_of

IMAGES = np.arange(40.0).reshape(10, 4)


@pytest.fixture
def net():
    return keras.Model(x := keras.Input((4,), name="image"), x + 1)


@pytest.fixture
def two():
    inputs = [keras.Input((4,), name="first"), keras.Input((4,), name="second")]
    return keras.Model(inputs, layers.Add()(inputs))


def endless():
    while True:
        yield IMAGES, np.zeros(10)


def test_calibration_takes_one_image_at_a_time(net):
    import tensorflow as tf

    batches = [IMAGES[:6], IMAGES[6:]]
    labelled = [(batch, np.zeros(len(batch))) for batch in batches]
    stream = tf.data.Dataset.from_tensor_slices((IMAGES, np.zeros(10))).batch(6)
    for calibration in (IMAGES, batches, labelled, stream, iter(labelled)):
        singles = images_to_calibrate(net, calibration)
        assert [len(single) for single in singles] == [1] * 10
        assert singles[0][0].shape == (1, 4)
        found = np.concatenate([image for (image,) in singles])
        np.testing.assert_array_equal(found, IMAGES)
    assert len(images_to_calibrate(net, endless())) == 500


@pytest.mark.parametrize("structure", [lambda x: [x], lambda x: {"image": x}])
def test_an_array_fits_a_list_or_dict_of_one_input(structure):
    net = keras.Model(structure(x := keras.Input((4,), name="image")), x + 1)
    for calibration in (IMAGES, structure(IMAGES), [IMAGES[:6], IMAGES[6:]]):
        singles = images_to_calibrate(net, calibration)
        assert [image.shape for (image,) in singles] == [(1, 4)] * 10
    for images in (IMAGES, structure(IMAGES)):
        (found,) = images_to_compare(net, images)
        np.testing.assert_array_equal(found, IMAGES)


def test_a_fixed_number_of_images_does_not_matter():
    """A file that Keras exports accepts any number."""
    net = keras.Model(x := keras.Input(batch_shape=(3, 4), name="image"), x + 1)
    assert len(images_to_calibrate(net, IMAGES)) == 10
    (found,) = images_to_compare(net, IMAGES)
    np.testing.assert_array_equal(found, IMAGES)
    with pytest.raises(ValueError, match=r"inputs .*'image': \(None, 4\).*\(10, 3\)"):
        images_to_compare(net, IMAGES[:, :3])


def test_calibration_of_two_inputs(two):
    for calibration in ([IMAGES, -IMAGES], [([IMAGES, -IMAGES], np.zeros(10))]):
        singles = images_to_calibrate(two, calibration)
        assert len(singles) == 10
        np.testing.assert_array_equal(singles[3][1], -IMAGES[3:4])


def test_comparison_prefers_what_is_real(net):
    (found,) = images_to_compare(net, IMAGES[:5], images_to_calibrate(net, IMAGES))
    np.testing.assert_array_equal(found, IMAGES[:5])
    (found,) = images_to_compare(net, None, images_to_calibrate(net, IMAGES))
    np.testing.assert_array_equal(found, IMAGES)
    (found,) = images_to_compare(net)
    assert found.shape == (8, 4) and found.dtype == np.float32 and found.std() > 0.5


def test_says_what_does_not_fit(net, two):
    with pytest.raises(ValueError, match=r"at least 4 images.* of shape \(3, 4\)"):
        images_to_compare(net, IMAGES[:3])
    with pytest.raises(ValueError, match=r"fit the inputs .*'image': \(None, 4\)"):
        images_to_compare(net, IMAGES[:, :3])
    with pytest.raises(ValueError, match=r"shapes \(10, 4\), \(9, 4\)"):
        images_to_compare(two, [IMAGES, IMAGES[:9]])
    with pytest.raises(
        ValueError, match="arrays in the structure of .*second.*: ndarray"
    ):
        images_to_compare(two, IMAGES)
    with pytest.raises(ValueError, match="`calibration` contains no images"):
        images_to_calibrate(net, [])
    with pytest.raises(ValueError, match="`calibration` must fit"):
        images_to_calibrate(net, [IMAGES[:, :3]])
    flexible = net_of((None, None, 3), layers.GlobalMaxPooling2D())
    with pytest.raises(ValueError, match="fixed shape.*Pass `images`"):
        images_to_compare(flexible)
