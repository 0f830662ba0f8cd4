"""What a data set is: its splits, and what training on it needs to know."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from resprune_tf.data.examples import bounds
from resprune_tf.system.checksum import checksum


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Images and their labels.

    Attributes:
        images: uint8 `[N, H, W, C]`, 0 to 255.
        labels: int32 `[N]`, from 0.

    Raises:
        ValueError: for images or labels of another type or shape.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != np.uint8 or images.ndim != 4:
            raise ValueError(
                "The images of a Split must be uint8 [N, H, W, C], 0 to 255. Received: "
                f"{images.dtype} {list(images.shape)}. Floats from 0 to 1 are "
                'brought there by `(255 * images).round().astype("uint8")`.'
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
        """CRC-32 of all images and labels in their order.

        Args:
            value: checksum to go on from.
        """
        return checksum((self.images, self.labels), value)

    def batches(self, batch_size: int) -> Iterator[tuple]:
        """All images in their order.

        Args:
            batch_size: images a batch; the last may be smaller.

        Yields:
            `(images, labels)`: float32 `[N, H, W, C]`, 0 to 255, and int32 `[N]`.
        """
        for start in range(0, len(self), batch_size):
            rows = slice(start, start + batch_size)
            yield self.images[rows].astype(np.float32), self.labels[rows]

    def sample(self, count: int, seed: int) -> Split:
        """A random choice of images that stays the same, in their order.

        Args:
            count: int; all images, if there are fewer.
            seed: int.
        """
        order = np.random.default_rng(seed).permutation(len(self))
        chosen = np.sort(order[: max(0, count)])
        return Split(self.images[chosen], self.labels[chosen])


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, with what training on it needs to know.

    Attributes:
        name: such as `"cifar10"`.
        train, validation, test: disjoint splits. Validation images are held out of
            the official training images: select with them, test once. Each is a
            `Split` in memory, or a `StreamedSplit`, which is read while it is used.
        class_names: one for each label.
        mean, std: per-channel pixel statistics, 0 to 255, to normalise with.
        flip: whether mirrored images are still images of their class.
        crop_padding: pixels by which an image may be shifted in training.
        source: where the data came from, in words.

    Raises:
        ValueError: for labels in memory without a class name.
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
                continue  # a stream is not read before it is used
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
        """Number of classes, which may be more than the labels that occur."""
        return len(self.class_names)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of images of each split."""
        return {
            "train": len(self.train),
            "validation": len(self.validation),
            "test": len(self.test),
        }

    @property
    def fingerprint(self) -> str:
        """Checksum of the splits, 8 hexadecimal digits; see their `checksum`."""
        value = 0
        for split in (self.train, self.validation, self.test):
            value = split.checksum(value)
        return f"{value:08x}"
