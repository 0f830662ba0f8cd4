"""A data set: its splits, and the settings that training on it needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from resprune_tf.data.examples import bounds, labelled_batches
from resprune_tf.system.checksum import checksum


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Images and labels in memory.

    Args:
        images: uint8 `[N, H, W, C]`, 0 to 255.
        labels: integers `[N]`, class indices from 0.

    Raises:
        ValueError: if images or labels have another dtype or shape.

    >>> split = Split((255 * x).round().astype("uint8"), y.astype("int32"))
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != np.uint8 or images.ndim != 4:
            raise ValueError(
                "The images of a Split must be uint8 [N, H, W, C], 0 to 255. Received: "
                f"{images.dtype} {list(images.shape)}. Convert floats from 0 to 1 by "
                '`(255 * images).round().astype("uint8")`.'
            )
        if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
            raise ValueError(
                "The labels of a Split must be integers [N], one for each of "
                f"{len(images)} images. Received: {labels.dtype} {list(labels.shape)}."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"<Split of {len(self)} images>"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)`."""
        return self.images.shape[1:]

    def checksum(self, value: int = 0) -> int:
        """Returns the CRC-32 of all images and labels, in order.

        Args:
            value: initial value of the checksum.
        """
        return checksum((self.images, self.labels), value)

    def batches(self, batch_size: int) -> Iterator[tuple]:
        """Returns an iterator over all images in order.

        Args:
            batch_size: int, images per batch; the last batch may be smaller.

        Returns:
            Iterator of `(images, labels)`: float32 `[N, H, W, C]`, 0 to 255, and int32
            `[N]`.
        """
        return labelled_batches(self.images, self.labels, batch_size)

    def sample(self, count: int, seed: int) -> Split:
        """Returns a random choice of images, in order, determined by the seed.

        Args:
            count: int, number of images; if there are fewer, all are returned.
            seed: int.
        """
        order = np.random.default_rng(seed).permutation(len(self))
        chosen = np.sort(order[: max(0, count)])
        return Split(self.images[chosen], self.labels[chosen])


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A data set with training, validation and test splits.

    Args:
        name: str, such as `"cifar10"`.
        train, validation, test: disjoint splits: `Split`s in memory, or
            `StreamedSplit`s, which are read during use. Validation images are held out
            of the official training images. They select the model; the test images
            only measure it.
        class_names: tuple of str, one per class.
        mean, std: mean and standard deviation of each channel's pixels, in 0 to 255,
            for normalisation.
        flip: whether training images are mirrored at random.
        crop_padding: int, maximum shift of training images in pixels.
        source: str, where the data come from.

    Raises:
        ValueError: if a label in memory has no class name.

    >>> dataset = load_dataset("digits")
    >>> shifted = dataclasses.replace(dataset, crop_padding=2)
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool
    crop_padding: int
    source: str

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            split = getattr(self, name)
            if not isinstance(split, Split) or not len(split):
                continue  # streams are read during use only
            low, high = bounds(split.labels)
            if low < 0 or high >= self.num_classes:
                raise ValueError(
                    f"Labels must be from 0 to {self.num_classes - 1}, as there are "
                    f"{self.num_classes} class names. Received: labels from {low} to "
                    f"{high} in `{name}`."
                )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)`."""
        return self.train.image_shape

    @property
    def num_classes(self) -> int:
        """Number of classes, including classes without images."""
        return len(self.class_names)

    @property
    def sizes(self) -> dict[str, int]:
        """Dict from split name to number of images."""
        return {
            "train": len(self.train),
            "validation": len(self.validation),
            "test": len(self.test),
        }

    @property
    def fingerprint(self) -> str:
        """Checksum of all splits, 8 hexadecimal digits."""
        value = 0
        for split in (self.train, self.validation, self.test):
            value = split.checksum(value)
        return f"{value:08x}"
