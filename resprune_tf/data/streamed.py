"""Images that are read from disk during use: ImageNet.

TensorFlow is imported by the functions that need it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from resprune_tf.data import imagenet_augment
from resprune_tf.data.dataset import Split
from resprune_tf.data.shards import Shard, read_records, record_range, shuffled_group
from resprune_tf.system.memory import processors

__all__ = ["StreamedSplit"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class StreamedSplit:
    """Images of any size in TFRecord files, decoded during use.

    It has the methods of `Split`, whose images are in memory, and `training`.
    `load_imagenet` creates it.

    Args:
        shards: tuple of `Shard`, parts of files of `tf.train.Example` records with a
            JPEG as `image` and an integer as `label`, the layout of tfds.
        identity: str that identifies the data, independent of their location.
        shuffled: approximate number of images in memory for shuffling.

    >>> for images, labels in load_imagenet("data").test.batches(128): ...
    """

    shards: tuple[Shard, ...]
    identity: str = ""
    shuffled: int = 8192

    def __len__(self) -> int:
        return sum(shard.count for shard in self.shards)

    def __repr__(self) -> str:
        return f"<StreamedSplit of {len(self)} images>"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)` of the decoded images."""
        return (imagenet_augment.SIZE, imagenet_augment.SIZE, 3)

    def checksum(self, value: int = 0) -> int:
        """Returns the CRC-32 of identity and shards; images are not read.

        Args:
            value: initial value of the checksum.
        """
        shards = [
            (os.path.basename(path), first, count) for path, first, count in self.shards
        ]
        return zlib.crc32(json.dumps([self.identity, shards]).encode(), value)

    def batches(self, batch_size: int) -> Iterator[tuple]:
        """Yields all images in order, prepared for testing.

        Args:
            batch_size: int, images per batch; the last batch may be smaller.

        Yields:
            `(images, labels)`: float32 `[N, 224, 224, 3]`, about 0 to 255, and int32
            `[N]`.
        """
        if not self.shards:
            return

        def example(record):
            jpeg, label = parse_record(record)
            return imagenet_augment.test_image(jpeg), label

        batches = (
            read_records(*zip(*self.shards, strict=True))
            .map(example, num_parallel_calls=processors(), deterministic=True)
            .batch(batch_size)
            .prefetch(2)
        )
        yield from batches.with_options(pipeline_options()).as_numpy_iterator()

    def sample(self, count: int, seed: int) -> Split:
        """Returns a random choice of images, prepared for testing, as a `Split`.

        They are consecutive images from a random position, so that little has to be
        read. This is a random choice if records are stored in random order, as by tfds.

        Args:
            count: int, number of images; if there are fewer, all are returned.
            seed: int; determines the choice.
        """
        count = max(0, min(count, len(self)))
        start = int(np.random.default_rng(seed).integers(len(self) - count + 1))
        images = np.empty((count, *self.image_shape), np.uint8)
        labels = np.empty(count, np.int32)
        done = 0
        for pixels, batch_labels in self.part(start, count).batches(128):
            rows = slice(done, done := done + len(pixels))
            images[rows] = np.clip(np.rint(pixels), 0, 255)
            labels[rows] = batch_labels
        return Split(images, labels)

    def part(self, start: int, count: int) -> StreamedSplit:
        """Returns `count` images, starting at number `start`; they must exist."""
        return dataclasses.replace(self, shards=record_range(self.shards, start, count))

    def training(
        self,
        batch_size: int,
        seed: int,
        steps_per_epoch: int,
        first_step: int = 0,
        replicas: int = 1,
        pipelines: int = 1,
        pipeline: int = 0,
    ) -> Any:
        """Returns an endless stream of augmented batches in random order.

        The images of a batch and their augmentation depend only on the seed and the
        number of the step, not on where a run started. In every epoch the shards are
        shuffled. They are read in groups of a few shards, and the images of each group
        are shuffled. A resumed run does not decode the batches that are done already,
        and reads again only the shards of the current group.

        Args:
            batch_size: int, images per step, for all replicas together.
            seed: int >= 0.
            steps_per_epoch: int; images that remain after these steps are left out of
                the epoch.
            first_step: int, the first step, counted over all epochs from 0.
            replicas: int, number of replicas that divide a batch in equal parts.
            pipelines: int, number of input pipelines, one per worker.
            pipeline: int, index of this pipeline. It yields the images `b` of each
                batch with `b % pipelines == pipeline`, in one part per replica.

        Returns:
            `tf.data.Dataset` of `(images, labels)`: float32
            `[batch_size / replicas, 224, 224, 3]`, about 0 to 255, and int32
            `[batch_size / replicas]`.

        Raises:
            ValueError: if an epoch needs more images than there are, or if batch,
                replicas and pipelines do not divide evenly.
        """
        import tensorflow as tf

        if not 1 <= steps_per_epoch * batch_size <= len(self):
            raise ValueError(
                f"An epoch must have 1 to {len(self)} images. Received: "
                f"steps_per_epoch={steps_per_epoch}, batch_size={batch_size}."
            )
        if batch_size % replicas or replicas % pipelines:
            raise ValueError(
                "`batch_size` must be a multiple of `replicas`, and `replicas` a "
                f"multiple of `pipelines`. Received: batch_size={batch_size}, "
                f"replicas={replicas}, pipelines={pipelines}."
            )

        size = max(1, round(self.shuffled * len(self.shards) / len(self)))
        groups = -(-len(self.shards) // size)  # per epoch, of `size` shards
        start, done = divmod(first_step, steps_per_epoch)

        def group(number):
            epoch, number = divmod(int(number), groups)
            *shards, order, places = shuffled_group(
                self.shards, seed, epoch, number * size, size
            )
            mine = places < steps_per_epoch * batch_size
            mine &= places % batch_size % pipelines == pipeline
            if epoch == start:
                mine &= places >= done * batch_size
            return *shards, order[mine], places[mine], np.full(mine.sum(), epoch)

        def plan(number):
            columns = tf.numpy_function(
                group, [number], [tf.string] + 5 * [tf.int64], stateful=False
            )
            return tuple(tf.ensure_shape(column, [None]) for column in columns)

        def needed(paths, firsts, counts, order, places, epochs):
            return tf.size(order) > 0

        def read(paths, firsts, counts, order, places, epochs):
            records = read_records(paths, firsts, counts)
            records = records.batch(tf.reduce_sum(counts)).with_options(
                pipeline_options()
            )
            return tf.gather(records.get_single_element(), order), places, epochs

        def example(record, place, epoch):
            jpeg, label = parse_record(record)
            key = imagenet_augment.image_key(seed, epoch, place)
            return imagenet_augment.training_image(jpeg, key), label

        return (
            tf.data.Dataset.counter(start * groups)
            .map(plan)
            .filter(needed)
            .map(read)
            .prefetch(1)
            .unbatch()
            .map(example, num_parallel_calls=processors(), deterministic=True)
            .batch(batch_size // replicas, drop_remainder=True)
            .prefetch(2)
            .with_options(pipeline_options())
        )


def parse_record(record):
    """JPEG (a string scalar) and label (an int32 scalar) of a record."""
    import tensorflow as tf

    parts = tf.io.parse_single_example(
        record,
        {
            "image": tf.io.FixedLenFeature([], tf.string),
            "label": tf.io.FixedLenFeature([], tf.int64),
        },
    )
    return parts["image"], tf.cast(parts["label"], tf.int32)


def pipeline_options():
    """Options of all tf.data pipelines."""
    import tensorflow as tf

    options = tf.data.Options()
    # tf.data's autotuner delays the end of an iteration by up to a minute.
    options.autotune.enabled = False
    return options
