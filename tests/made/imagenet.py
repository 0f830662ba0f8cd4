"""Tiny archives in the layout of ImageNet's official ones, of made-up JPEGs."""

import io
import pathlib
import tarfile

import numpy as np

SYNSETS = ("n01440764", "n01443537", "n01484850", "n15075141")
TRAIN, TEST = 40, 12


def jpeg(height, width, seed=0):
    """An encoded JPEG of smooth random colours."""
    import tensorflow as tf

    rng = np.random.default_rng((seed, height, width))
    image = tf.image.resize(rng.uniform(0, 255, (4, 4, 3)), [height, width], "bicubic")
    image = tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
    return tf.io.encode_jpeg(image, quality=95).numpy()


def write_archives(folder):
    """`TRAIN` images of the `SYNSETS` in turn, and `TEST` for testing, of any size."""
    folder = pathlib.Path(folder)
    folder.mkdir()
    rng = np.random.default_rng(0)
    sizes = iter(rng.integers(40, 120, (TRAIN + TEST, 2)).tolist())
    with tarfile.open(folder / "ILSVRC2012_img_train.tar", "w") as archive:
        for number, synset in enumerate(SYNSETS):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as images:
                for index in range(TRAIN // len(SYNSETS)):
                    content = jpeg(*next(sizes), seed=number)
                    _add(images, f"{synset}_{index}.JPEG", content)
            _add(archive, f"{synset}.tar", inner.getvalue())
    with tarfile.open(folder / "ILSVRC2012_img_val.tar", "w") as archive:
        for index in range(1, TEST + 1):
            _add(archive, f"ILSVRC2012_val_{index:08}.JPEG", jpeg(*next(sizes)))


def prepare(manual_dir, data_dir, shards):
    """Prepares archives as tfds does, but in a number of files of one's own choice."""
    import tensorflow  # noqa: F401, needed by tfds, which imports it late
    import tensorflow_datasets as tfds

    builder = tfds.builder("imagenet2012", data_dir=data_dir)
    config = tfds.download.DownloadConfig(
        manual_dir=manual_dir, try_download_gcs=False, num_shards=shards
    )
    builder.download_and_prepare(download_config=config)
    return builder


def _add(archive, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
