"""ImageNet (ILSVRC2012) in the files of tfds, read during use."""

from __future__ import annotations

import dataclasses
import os
import pathlib

import numpy as np

from resprune_tf.data.dataset import Dataset
from resprune_tf.data.readers import DataError
from resprune_tf.data.shards import Shard
from resprune_tf.data.streamed import StreamedSplit

__all__ = ["load_imagenet"]

_NAME = "imagenet2012"
_VERSIONS = ("5.1.0", "5.0.0")
_ARCHIVES = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")


def load_imagenet(
    data_dir: str | os.PathLike | None = None,
    manual_dir: str | os.PathLike | None = None,
    validation_examples: int = 10_000,
    train_examples: int | None = None,
    test_examples: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Opens ImageNet (ILSVRC2012) and holds out a validation split.

    tfds stores images in the order of a hash of their file names, the same on every
    machine. So consecutive images are a random choice: the held-out images are
    consecutive official training images, and the training subset follows them. The test
    split consists of the official validation images, because the official test images
    have no labels.

    Args:
        data_dir: the folder of tfds, or one that contains it as `tfds`. Defaults to
            tfds's own folder.
        manual_dir: the folder of the official archives, from which tfds prepares the
            data if they are missing in `data_dir` (once; about 150 GB, several hours).
        validation_examples: int, number of training images to hold out.
        train_examples: int, number of remaining training images to use. Defaults to
            all.
        test_examples: int, number of test images to use. Defaults to all.
        seed: int, determines the held-out images and the subsets.

    Returns:
        A `Dataset` of `StreamedSplit`s. `class_names` are WordNet's synsets, such as
        `"n01440764"`; `mean` and `std` are those of facebookarchive/fb.resnet.torch,
        datasets/imagenet.lua. The streams are augmented, so `flip` is False and
        `crop_padding` 0.

    Raises:
        ValueError: if a size is impossible.
        DataError: if data are missing or not in TFRecord files; it is a ValueError.

    >>> dataset = load_imagenet("data", manual_dir="downloads")
    """
    builder = _prepared(data_dir, manual_dir)
    images = {name: _images(builder, name) for name in ("train", "validation")}
    for argument, count, most in (
        ("validation_examples", validation_examples, len(images["train"]) - 1),
        ("train_examples", train_examples, len(images["train"]) - validation_examples),
        ("test_examples", test_examples, len(images["validation"])),
    ):
        if count is not None and not 1 <= count <= most:
            raise ValueError(
                f"`{argument}` must be 1 to {most}: there are {len(images['train'])} "
                f"images for training and validation, {len(images['validation'])} for "
                f"testing. Received: {argument}={count}."
            )
    rng = np.random.default_rng(seed)
    train = _rotated(images["train"], rng)
    test = _rotated(images["validation"], rng)
    left = len(train) - validation_examples
    return Dataset(
        name=_NAME,
        train=train.part(validation_examples, train_examples or left),
        validation=train.part(0, validation_examples),
        test=test.part(0, test_examples or len(test)),
        class_names=tuple(builder.info.features["label"].names),
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        flip=False,
        crop_padding=0,
        source=f"tensorflow_datasets {builder.info.full_name}",
    )


def _prepared(data_dir, manual_dir):
    """The tfds builder of the prepared data; prepares them if `manual_dir` is given."""
    data_dir, manual_dir = (
        folder and pathlib.Path(folder) for folder in (data_dir, manual_dir)
    )
    try:
        import tensorflow  # noqa: F401, needed by tfds, which imports it late
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise DataError(
            "tensorflow_datasets is needed to read ImageNet, but cannot be imported: "
            f"{error}. Run `pip install tensorflow-datasets`."
        ) from error
    tried = []
    for root in (data_dir, data_dir / "tfds") if data_dir else (None,):
        for version in _VERSIONS:
            folder = root and root / _NAME / version
            if folder and not folder.is_dir():  # tfds would log a warning
                tried.append(f"  tfds: no folder {folder}\n")
                continue
            builder = tfds.builder(f"{_NAME}:{version}", data_dir=root)
            if builder.is_prepared():
                return builder
            tried.append(f"  tfds: not prepared in {builder.data_path}\n")
    if manual_dir is None:
        tried.append("  archives: manual_dir was not given\n")
    # Checked here, because tfds would also prepare, and keep, one of the two alone.
    elif absent := [name for name in _ARCHIVES if not (manual_dir / name).exists()]:
        tried.append(f"  archives: no {' and no '.join(absent)} in {manual_dir}\n")
    else:
        builder = tfds.builder(f"{_NAME}:{_VERSIONS[0]}", data_dir=data_dir)
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(
                manual_dir=manual_dir, try_download_gcs=False
            )
        )
        return builder
    raise DataError(
        f"{_NAME} was not found. Tried:\n{''.join(tried)}"
        "To get it, register at https://image-net.org/download-images, download\n"
        + "".join(f"  https://image-net.org/data/ILSVRC/2012/{n}\n" for n in _ARCHIVES)
        + "(138 and 6.3 GiB) into a folder DIR, and pass manual_dir='DIR': tfds "
        "prepares them once, in data_dir."
    )


def _images(builder, name):
    """All images of a split of tfds."""
    if name not in builder.info.splits:
        raise DataError(
            f"{builder.data_path} was prepared without the {name} images. Delete it "
            f"and prepare it again, from both {' and '.join(_ARCHIVES)}."
        )
    if builder.info.file_format.file_suffix != "tfrecord":
        raise DataError(
            f"{builder.data_path} must contain TFRecord files. "
            f"Found: {builder.info.file_format.file_suffix}."
        )
    split = builder.info.splits[name]
    files = zip(map(str, split.filepaths), split.shard_lengths, strict=True)
    return StreamedSplit(
        tuple(Shard(path, 0, length) for path, length in files),
        f"{builder.info.full_name} {name}, {int(split.num_bytes)} bytes",
    )


def _rotated(split, rng):
    """Starts at a random image; those before it follow at the end."""
    start = int(rng.integers(len(split)))
    shards = split.part(start, len(split) - start).shards + split.part(0, start).shards
    return dataclasses.replace(split, shards=shards)
