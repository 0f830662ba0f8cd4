"""One image's augmentation: windows, colours, mirroring, the test crop."""

import io
import itertools

import numpy as np
import pytest
import tensorflow as tf

from resprune_tf.data import imagenet_augment
from resprune_tf.data.imagenet_augment import (
    change_colours,
    crop_window,
    image_key,
    training_image,
)
from tests.made.imagenet import jpeg

GREY = np.array([0.299, 0.587, 0.114])


def keys(count, seed=0):
    return tf.stack([image_key(seed, 0, index) for index in range(count)])


def windows(height, width, count=400):
    """Random windows of an image, `[count, 4]`."""
    find = tf.function(lambda key: crop_window(height, width, key))
    return tf.map_fn(find, keys(count), fn_output_signature=tf.int32).numpy()


@pytest.mark.parametrize("size", [(375, 500), (500, 375), (224, 224)])
def test_windows(size):
    found = windows(*size)
    top, left, height, width = found.T
    assert (top >= 0).all() and (top + height <= size[0]).all()
    assert (left >= 0).all() and (left + width <= size[1]).all()
    area = height * width / np.prod(size)
    # Sides are rounded to whole pixels.
    assert 0.078 < area.min() < 0.1 and 0.9 < area.max() <= 1
    ratio = width / height
    assert 9 / 16 - 0.02 < ratio.min() < 0.65 and 1.55 < ratio.max() < 16 / 9 + 0.03
    # Uniform places: windows of every size touch all sides, now and then.
    assert (top == 0).any() and (left == 0).any()
    assert (top + height == size[0]).any() and (left + width == size[1]).any()
    assert len({*map(tuple, found)}) > 390


def test_windows_of_all_areas_are_as_likely():
    """As far as they fit: the smaller half of the areas does in a square."""
    *_, height, width = windows(1000, 1000, 2000).T
    area = height * width / 1e6
    lower, upper = np.sum(area < 0.27), np.sum((area >= 0.27) & (area < 0.46))
    assert abs(lower - upper) < 5 * np.sqrt(lower + upper)


def test_where_no_window_fits_the_central_square_is_taken():
    assert (windows(1000, 10, 20) == [495, 0, 10, 10]).all()
    assert (windows(7, 1000, 20) == [0, 497, 7, 7]).all()  # 993 columns are left


def test_change_of_colours_is_the_recipe_in_any_order():
    """A float64 reimplementation of its steps, one after another, in every order."""
    image = np.random.default_rng(0).uniform(0, 255, (9, 7, 3)).astype("float32")
    for key in keys(5).numpy():
        for_jitter, for_noise = tf.random.split(key, 2)
        factors = tf.random.stateless_uniform([3], for_jitter, 0.6, 1.4).numpy()
        alpha = tf.random.stateless_normal([3], for_noise, stddev=0.1).numpy()
        noise = imagenet_augment._EIGENVECTORS @ (
            alpha * 255 * np.array([0.2175, 0.0188, 0.0045])
        )
        others = {
            0: lambda x: 0 * x,
            1: lambda x: np.mean(x @ GREY),
            2: lambda x: (x @ GREY)[..., None],
        }
        found = change_colours(image, key)
        for order in itertools.permutations(range(3)):
            expected = image.astype(float)
            for step in order:
                a = factors[step]
                expected = a * expected + (1 - a) * others[step](expected)
            np.testing.assert_allclose(found, expected + noise, rtol=0, atol=1e-3)


def test_a_grey_image_stays_grey_but_for_noise_that_all_pixels_share():
    levels = np.random.default_rng(0).uniform(0, 255, (8, 8, 1))
    grey = np.repeat(levels, 3, axis=2).astype("float32")
    noises = []
    change = tf.function(lambda key: change_colours(grey, key))
    for key in keys(300):
        changed = change(key).numpy()
        noise = changed - changed[..., :1]  # of a channel beyond the first
        np.testing.assert_allclose(noise, noise[:1, :1] + 0 * noise, atol=1e-3)
        noises.append(noise[0, 0])
    # Standard deviations of the differences between channels.
    vectors = imagenet_augment._EIGENVECTORS * imagenet_augment._EIGENVALUES
    expected = 0.1 * np.linalg.norm(vectors - vectors[0], axis=1)
    np.testing.assert_allclose(np.std(noises, axis=0), expected, rtol=0.2)


def test_principal_components_are_a_basis():
    vectors = imagenet_augment._EIGENVECTORS
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-3)


def test_training_image_depends_on_its_key_only():
    content = jpeg(90, 120)
    augment = tf.function(lambda key: training_image(content, key))
    first, again, other = (augment(key).numpy() for key in keys(2).numpy()[[0, 0, 1]])
    np.testing.assert_array_equal(first, again)
    assert first.shape == (224, 224, 3) and first.dtype == np.float32
    assert np.abs(first - other).max() > 10
    tf.random.set_seed(3)
    np.testing.assert_array_equal(first, augment(image_key(0, 0, 0)))
    images = [augment(image_key(*key)).numpy() for key in ((1, 0, 0), (0, 1, 0))]
    assert all(np.abs(first - image).max() > 10 for image in images)


def test_half_of_the_images_are_mirrored():
    """A ramp of grey says which way round it is."""
    ramp = np.repeat(np.linspace(0, 255, 64)[None, :, None], 64, 0).repeat(3, 2)
    content = tf.io.encode_jpeg(ramp.astype("uint8"), quality=95).numpy()
    augment = tf.function(lambda key: training_image(content, key))
    images = [augment(key).numpy() for key in keys(200)]
    mirrored = sum(image[:, 0].mean() > image[:, -1].mean() for image in images)
    assert 70 < mirrored < 130


@pytest.mark.parametrize(
    ("size", "resized"),
    [((300, 400), (256, 341)), ((500, 333), (384, 256)), ((256, 256), (256, 256))],
)
def test_test_image_is_the_centre_crop(size, resized):
    from PIL import Image

    content = jpeg(*size)
    found = imagenet_augment.test_image(content).numpy()
    assert found.shape == (224, 224, 3) and found.dtype == np.float32
    image = Image.open(io.BytesIO(content))
    # Pillow's own bicubic resizing smooths what it shrinks: enough for a smooth image.
    image = np.asarray(image.resize(resized[::-1], Image.Resampling.BICUBIC), float)
    top, left = (-(-(side - 224) // 2) for side in resized)
    expected = image[top : top + 224, left : left + 224]
    assert np.abs(found - expected).max() < 4
    if size == resized:
        np.testing.assert_array_equal(found, expected)
    # Of two places a pixel apart, the right one is nearer.
    beside = image[top : top + 224, left - 1 : left + 223]
    assert np.abs(found - expected).mean() < 0.5 * np.abs(found - beside).mean()
