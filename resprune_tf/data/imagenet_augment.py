"""ImageNet's augmentation, per image, as TensorFlow functions for `tf.data`.

The recipe of facebookarchive/fb.resnet.torch, datasets/transforms.lua and imagenet.lua.
For training: a random window of 8 to 100 % of the image, resized to 224x224;
brightness, contrast and saturation multiplied by 0.6 to 1.4; noise along the principal
components of ImageNet's colours; mirrored with probability 1/2. For testing: the
shorter side resized to 256, the central 224x224 pixels. As in that code, images are
resized by bicubic interpolation without antialiasing, and no step clips: pixels are
float32, about 0 to 255, and may exceed this range.

All random numbers are functions of a key, so they do not depend on earlier draws or on
the process. Functions import TensorFlow when they are called.
"""

import numpy as np

SIZE = 224
# TensorFlow's default deviates from it by one level on average, and is not faster.
DCT = "INTEGER_ACCURATE"
_TEST_SIDE = 256
_ATTEMPTS = 10
_JITTER = 0.4
_GREY = np.array([0.299, 0.587, 0.114], "float32")  # ITU-R BT.601
# Principal components of ImageNet's colours, from imagenet.lua (for pixels 0 to 1).
_NOISE = 0.1
_EIGENVALUES = 255 * np.array([0.2175, 0.0188, 0.0045], "float32")
_EIGENVECTORS = np.array(  # columns
    [
        [-0.5675, 0.7192, 0.4009],
        [-0.5808, -0.0045, -0.8140],
        [-0.5836, -0.6948, 0.4203],
    ],
    "float32",
)


def image_key(seed, epoch, index):
    """The key of an image's augmentation.

    Args:
        seed, epoch, index: ints or int64 scalars; `index` is the position of the image
            in the order of the epoch.

    Returns:
        int64 `[2]`.
    """
    import tensorflow as tf

    key = tf.stack([tf.cast(seed, tf.int64), tf.cast(epoch, tf.int64)])
    return tf.random.fold_in(key, index)


def training_image(jpeg, key):
    """Decodes and augments an image for training.

    Args:
        jpeg: string scalar, an encoded JPEG.
        key: result of `image_key`.

    Returns:
        float32 `[224, 224, 3]`.
    """
    import tensorflow as tf

    for_window, for_colour, for_flip = tf.unstack(tf.random.split(key, 3))
    window = crop_window(*tf.unstack(tf.io.extract_jpeg_shape(jpeg)[:2]), for_window)
    # Only the rows and columns of the window are decoded.
    image = tf.io.decode_and_crop_jpeg(jpeg, window, 3, dct_method=DCT)
    image = tf.image.resize(image, [SIZE, SIZE], "bicubic")
    image = change_colours(image, for_colour)
    mirrored = tf.random.stateless_uniform([], for_flip) < 0.5
    return tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)


def test_image(jpeg):
    """Decodes and crops an image for testing.

    Args:
        jpeg: string scalar, an encoded JPEG.

    Returns:
        float32 `[224, 224, 3]`.
    """
    import tensorflow as tf

    image = tf.io.decode_jpeg(jpeg, 3, dct_method=DCT)
    size = tf.shape(image)[:2]
    # The longer side is rounded down to whole pixels.
    size = _TEST_SIDE * size // tf.reduce_min(size)
    image = tf.image.resize(image, size, "bicubic")
    top, left = tf.unstack((size - SIZE + 1) // 2)
    return tf.ensure_shape(image[top : top + SIZE, left : left + SIZE], [SIZE, SIZE, 3])


def crop_window(height, width, key):
    """A random window of an image.

    Its area is uniform in 8 to 100 % of the image. Its sides are those of a square of
    that area, one multiplied and one divided by a factor uniform in 3/4 to 4/3. So the
    aspect ratio is the square of that factor: 9/16 to 16/9. (Later descriptions of this
    recipe state 3/4 to 4/3 for the ratio, unlike the code used by the paper.) The first
    of ten attempts that fits into the image is used, else the largest central square.

    Args:
        height, width: int32 scalars, size of the image.
        key: int `[2]`.

    Returns:
        int32 `[4]`: top, left, height and width, the window of `decode_and_crop_jpeg`.
    """
    import tensorflow as tf

    draws = tf.random.stateless_uniform([5, _ATTEMPTS], key)
    area, factor, swap, down, right = tf.unstack(draws)
    pixels = tf.cast(height, tf.float32) * tf.cast(width, tf.float32)
    side = tf.sqrt((0.08 + 0.92 * area) * pixels)
    factor = 3 / 4 + (4 / 3 - 3 / 4) * factor
    factor = tf.where(swap < 0.5, 1 / factor, factor)
    heights = tf.cast(tf.round(side / factor), tf.int32)
    widths = tf.cast(tf.round(side * factor), tf.int32)
    fits = (heights <= height) & (widths <= width)
    square = tf.minimum(height, width)

    def random():
        first = tf.argmax(fits)  # the first one that fits
        size = tf.stack([heights[first], widths[first]])
        room = tf.cast(tf.stack([height, width]) - size + 1, tf.float32)
        place = tf.stack([down[first], right[first]]) * room
        return tf.concat([tf.cast(place, tf.int32), size], 0)

    def central():
        return tf.stack(
            [(height - square + 1) // 2, (width - square + 1) // 2, square, square]
        )

    return tf.cond(tf.reduce_any(fits), random, central)


def change_colours(image, key):
    """Jitters brightness, contrast and saturation, then adds colour noise.

    Each jitter blends the image with another one: black, its mean grey level, its grey
    version. The recipe applies them in random order; without clipping, the order makes
    no difference. Together with the noise they are one affine map of a pixel's colour:
    `bcs x + bc(1-s) grey(x) + b(1-c) mean(grey) + noise`.

    Args:
        image: float32 `[height, width, 3]`.
        key: int `[2]`.

    Returns:
        float32, as the image.
    """
    import tensorflow as tf

    for_jitter, for_noise = tf.unstack(tf.random.split(key, 2))
    b, c, s = tf.unstack(
        tf.random.stateless_uniform([3], for_jitter, 1 - _JITTER, 1 + _JITTER)
    )
    noise = tf.random.stateless_normal([3], for_noise, stddev=_NOISE) * _EIGENVALUES
    pixels = tf.reshape(image, [-1, 3])
    mean_grey = tf.reduce_sum(tf.reduce_mean(pixels, 0) * _GREY)
    # Rows are inputs: the grey level of a pixel contributes to all its channels.
    matrix = b * c * (s * tf.eye(3) + (1 - s) * _GREY[:, None])
    shift = b * (1 - c) * mean_grey + tf.linalg.matvec(_EIGENVECTORS, noise)
    return tf.reshape(pixels @ matrix + shift, tf.shape(image))
