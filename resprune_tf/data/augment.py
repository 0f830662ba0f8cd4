"""Random crops and flips: as a layer of the training step, or for arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="resprune_tf")
class RandomCropFlip(keras.layers.Layer):
    """Shifts and mirrors every image of a batch at random in training.

    The standard CIFAR augmentation: pad each side, crop a window of the original size
    at a uniformly random position, mirror it with probability 1/2. Outside training,
    images are only cast. Use it before the network in the model that is trained, not in
    the model that is saved: `net(RandomCropFlip(...)(image))`.

    Args:
        padding: int >= 0, maximum shift in each direction, in pixels.
        flip: whether images are mirrored left to right.
        fill: pixel value outside the image: one per channel, or one for all. With the
            mean of the data, the padding is 0 after normalisation, as in code that
            normalises before it pads.
        seed: int, or None for a random seed. The state is one variable that changes
            with every training batch; restoring it continues the sequence. Keras lists
            it in `non_trainable_variables` but not in `weights`, and does not save it
            to `.keras` files. The replicas of a `tf.distribute` strategy have the same
            state: each draws for the whole batch and uses its part, so a batch is
            augmented as on one device. The parts must be equal.
        dtype: dtype of the output. Defaults to float32, whatever the global policy.
        `**kwargs`: base layer arguments, such as `name`.

    Input: uint8 or float pixels `(batch, height, width, channels)`, 0 to 255. Output:
    the same shape.

    Raises:
        ValueError: if `padding` is negative, the input is not a batch of images, or
            `fill` does not fit the channels.

    References: Lee et al., Deeply-Supervised Nets, arXiv:1409.5185 (pad by 4, crop,
    mirror); facebookarchive/fb.resnet.torch, datasets/transforms.lua.
    """

    def __init__(
        self, padding=4, flip=True, fill=0.0, seed=None, dtype="float32", **kwargs
    ):
        super().__init__(dtype=dtype, **kwargs)
        if padding < 0:
            raise ValueError(
                "`padding` must be >= 0: it is a number of pixels. "
                f"Received: padding={padding} (layer '{self.name}')."
            )
        self.padding = int(padding)
        self.flip = bool(flip)
        self.fill = np.ravel(fill).astype(float).tolist()
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape):
        if len(input_shape) != 4 or None in input_shape[1:]:
            raise ValueError(
                "Images must have the shape (batch, height, width, channels), where "
                f"only the batch may be open. Received: {tuple(input_shape)} "
                f"(layer '{self.name}')."
            )
        if len(self.fill) not in (1, input_shape[-1]):
            raise ValueError(
                "`fill` must be one pixel value, or one for each channel. "
                f"Received: {len(self.fill)} values for {input_shape[-1]} channels "
                f"(layer '{self.name}')."
            )

    def call(self, images, training=False):
        if not training or not (self.padding or self.flip):
            return ops.cast(images, self.compute_dtype)
        batch = ops.shape(images)[0]
        height, width, channels = images.shape[1:]
        replica, replicas = _replica()
        whole, first = batch * replicas, batch * replica
        shift = keras.random.randint(
            (2, whole, 1), -self.padding, self.padding + 1, seed=self.seed_generator
        )[:, first : first + batch]
        mirrored = keras.random.randint(
            (whole, 1), 0, 1 + self.flip, seed=self.seed_generator
        )[first : first + batch]
        # Source of each output pixel: [batch, height] and [batch, width].
        column = ops.arange(width, dtype="int32")
        column = ops.where(mirrored == 1, width - 1 - column, column) + shift[0]
        row = ops.arange(height, dtype="int32") + shift[1]
        inside = ops.logical_and(
            ops.logical_and(row >= 0, row < height)[:, :, None],
            ops.logical_and(column >= 0, column < width)[:, None, :],
        )
        # One gather for the whole batch. Indices must be in range: clip, then fill.
        image = ops.arange(batch, dtype="int32")[:, None, None]
        row = ops.clip(row, 0, height - 1)[:, :, None]
        column = ops.clip(column, 0, width - 1)[:, None, :]
        pixels = ops.take(
            ops.reshape(images, (-1, channels)),
            (image * height + row) * width + column,
            axis=0,
        )
        fill = ops.convert_to_tensor(self.fill, self.compute_dtype)
        return ops.where(inside[..., None], ops.cast(pixels, self.compute_dtype), fill)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "padding": self.padding,
            "flip": self.flip,
            "fill": self.fill,
            "seed": self.seed,
        }


def random_crop_flip(
    padding: int = 4, flip: bool = True, fill: Any = 0.0
) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """Creates a function that shifts and mirrors images, for `FitData(augment=...)`.

    The standard CIFAR augmentation: pad each side, crop a window of the original size
    at a random position, mirror it with probability 1/2.

    Args:
        padding: int >= 0, maximum shift in each direction, in pixels.
        flip: whether images are mirrored left to right.
        fill: pixel value outside the image: one per channel, or one for all. Use the
            mean of the data for a model that subtracts this mean itself.

    Returns:
        A function from images `(batch, height, width, channels)` and a random
        generator to images of the same shape and dtype.

    Raises:
        ValueError: if `padding` is negative.

    >>> data = FitData((x, y), (x_val, y_val), augment=random_crop_flip())
    """
    if padding < 0:
        raise ValueError(
            "`padding` must be >= 0: it is a number of pixels. "
            f"Received: padding={padding}."
        )

    def augment(images, rng):
        count, height, width = images.shape[:3]
        shift = rng.integers(-padding, padding + 1, (2, count, 1))
        mirrored = rng.integers(0, 1 + flip, (count, 1)) == 1
        column = np.arange(width)
        column = np.where(mirrored, width - 1 - column, column) + shift[0]
        row = np.arange(height) + shift[1]
        inside = ((row >= 0) & (row < height))[:, :, None] & (
            (column >= 0) & (column < width)
        )[:, None, :]
        pixels = images[
            np.arange(count)[:, None, None],
            np.clip(row, 0, height - 1)[:, :, None],
            np.clip(column, 0, width - 1)[:, None, :],
        ]
        border = np.asarray(fill, images.dtype)
        return np.where(inside[..., None], pixels, border)

    # The name enters `FitData.fingerprint`, and with it the settings.
    augment.__name__ = f"random_crop_flip({padding}, {flip}, {np.ravel(fill).tolist()})"
    return augment


def _replica():
    """Index of this replica of `tf.distribute`, and the number of replicas."""
    if keras.backend.backend() != "tensorflow":
        return 0, 1
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None:  # while a model is built
        return 0, 1
    number = tf.get_static_value(context.replica_id_in_sync_group)
    return number, context.num_replicas_in_sync
