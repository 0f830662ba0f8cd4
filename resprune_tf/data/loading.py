"""Loads image data sets into memory: digits, CIFAR-10, CIFAR-100, or your own."""

from __future__ import annotations

import os
import pathlib

import numpy as np

from resprune_tf.data.dataset import Dataset, Split
from resprune_tf.data.readers import DataError, read_npz
from resprune_tf.data.registry import DATA_SETS, NAMES, DataSet

_ARCHIVE = DataSet("readers", "read_npz", flip=False, crop_padding=0)


def load_dataset(
    name: str | os.PathLike,
    data_dir: str | os.PathLike | None = None,
    source: str = "auto",
    validation_examples: int | None = None,
    train_examples: int | None = None,
    test_examples: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Loads a data set into memory and holds out a validation split.

    Held-out splits and subsets are stratified: the share of each class is preserved, to
    within an image or two. They depend on `seed` and the labels only, and a smaller
    subset is part of a larger one. The order of images is that of the source. tfds and
    the binary files store the CIFAR images in different orders, so the same seed
    selects other validation images.

    Args:
        name: `"digits"` (scikit-learn's 8x8 digits: 1,077 images for training, 360 for
            validation, 360 for testing), `"cifar10"`, `"cifar100"`, or the path of an
            `.npz` archive with `x_train` and `x_test`, uint8 `[N, H, W]` or
            `[N, H, W, C]`, and `y_train` and `y_test`, integers `[N]` or `[N, 1]` from
            0 to K-1. The archive may also contain `x_validation` with `y_validation`,
            and `class_names`, strings `[K]`. Archives are not augmented; to change
            this, use `dataclasses.replace(dataset, flip=True, crop_padding=4)`.
        data_dir: for CIFAR: the folder of tfds (or one that contains it as `tfds`), of
            the binary files, or of their unpacked archive. Defaults to tfds's own
            folder.
        source: for CIFAR: `"auto"` (tfds if it has the data, else the binary files;
            never downloads), `"tfds"` (downloads missing data) or `"binary"`.
        validation_examples: int, number of training images to hold out. Defaults to a
            tenth of them (5,000 for CIFAR), or 360 for the digits. If an archive has
            validation images, the number to use of them; defaults to all.
        train_examples: int, number of remaining training images to use. Defaults to
            all.
        test_examples: int, number of test images to use. Defaults to all.
        seed: int, determines the held-out images and the subsets.

    Returns:
        A `Dataset`. `mean` and `std` are the published ones for CIFAR, else those of
        the training split.

    Raises:
        ValueError: if name or source is unknown, or a size is impossible.
        DataError: if data are missing or malformed; it is a ValueError.

    >>> dataset = load_dataset("cifar10", data_dir="data")
    """
    name = os.fspath(name)
    facts = _ARCHIVE if name.endswith(".npz") else DATA_SETS.get(name)
    if facts is None:
        raise ValueError(
            f"`name` must be one of {', '.join(NAMES)}, or the path of an .npz "
            f"archive. Received: name={name!r}."
        )
    if data_dir is not None and not pathlib.Path(data_dir).is_dir():
        raise DataError(
            f"`data_dir` must be an existing folder. There is no folder '{data_dir}'."
        )
    if source != "auto" and not facts.sources:
        several = [each for each, known in DATA_SETS.items() if known.sources]
        raise ValueError(
            f"`source` can be chosen for {' or '.join(several)} only; other data have "
            f"one source. Received: source={source!r} for {name}."
        )
    arrays = read_npz(name) if facts is _ARCHIVE else facts.read(name, data_dir, source)

    train = Split(arrays.x_train, arrays.y_train)
    test = Split(arrays.x_test, arrays.y_test)
    if arrays.x_validation is None:
        if validation_examples is None:
            validation_examples = facts.validation_examples or max(1, len(train) // 10)
        validation, train = _divide(
            train, "validation_examples", validation_examples, seed, leave=1
        )
    else:
        validation = Split(arrays.x_validation, arrays.y_validation)
        validation = _subset(
            validation, "validation_examples", validation_examples, seed
        )
    train = _subset(train, "train_examples", train_examples, seed)
    mean, std = facts.mean, facts.std
    if mean is None:
        mean, std = _statistics(train.images)
    return Dataset(
        name=pathlib.Path(name).stem if facts is _ARCHIVE else name,
        train=train,
        validation=validation,
        test=_subset(test, "test_examples", test_examples, seed),
        class_names=arrays.class_names,
        mean=mean,
        std=std,
        flip=facts.flip,
        crop_padding=facts.crop_padding,
        source=arrays.source,
    )


def _subset(split, argument, count, seed):
    return split if count is None else _divide(split, argument, count, seed)[0]


def _divide(split, argument, count, seed, leave=0):
    """Splits off `count` images, stratified; both parts in the order of `split`."""
    if not 1 <= count <= len(split) - leave:
        raise ValueError(
            f"`{argument}` must be 1 to {len(split) - leave}: there are {len(split)} "
            f"images to choose from{' and one must be left' if leave else ''}. "
            f"Received: {argument}={count}."
        )
    order = _stratified_order(split.labels, seed)
    parts = np.sort(order[:count]), np.sort(order[count:])
    return [Split(split.images[part], split.labels[part]) for part in parts]


def _stratified_order(labels, seed):
    """A random order in which each section contains the classes in proportion."""
    rng = np.random.default_rng(seed)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        # Spread evenly over [0, 1), with a random offset per class.
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.argsort(place, kind="stable")


def _statistics(images):
    """Mean and standard deviation of each channel; a deviation of 0 becomes 1."""
    pixels = images.size / images.shape[-1]
    # einsum sums exactly, in integers, without a float64 copy of the images.
    mean = np.einsum("nhwc->c", images, dtype=np.int64) / pixels
    square = np.einsum("nhwc,nhwc->c", images, images, dtype=np.int64) / pixels
    std = np.sqrt(np.maximum(square - mean**2, 0))
    return tuple(mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist())
