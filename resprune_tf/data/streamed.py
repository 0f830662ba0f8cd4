"""Images that are read from disk while they are used: ImageNet.

TensorFlow and tfds are imported by the functions that need them.
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
from resprune_tf.data.shards import Shard, read_records, shuffled_group, stretch

__all__ = ["StreamedSplit"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class StreamedSplit:
    """Images of any size in TFRecord files, decoded while they are used.

    Used as a `Split`, whose images are in memory, but for `training`.

    Attributes:
        shards: where the images are: records of `tf.train.Example`, which hold a JPEG
            as `image` and an integer as `label`, the layout of tfds.
        identity: what tells the data from other data, wherever they lie.
        shuffled: how many images, about, are in memory to be shuffled.
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
        """`(height, width, channels)` of the images that are handed out."""
        return (imagenet_augment.SIZE, imagenet_augment.SIZE, 3)

    def checksum(self, value: int = 0) -> int:
        """CRC-32 of what the images are known by; they themselves are not read.

        Args:
            value: checksum to go on from.
        """
        stretches = [
            (os.path.basename(path), first, count) for path, first, count in self.shards
        ]
        return zlib.crc32(json.dumps([self.identity, stretches]).encode(), value)

    def batches(self, batch_size: int) -> Iterator[tuple]:
        """All images in their order, as they are tested on.

        Args:
            batch_size: images a batch; the last may be smaller.

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
        """Images in memory, as they are tested on: a random choice that stays the same.

        They are neighbours from a random place, so that little has to be read. That is
        a random choice where records lie in random order, as those of tfds do.

        Args:
            count: int; all images, if there are fewer.
            seed: int.
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
        """The `count` images from number `start` on; they must exist."""
        return dataclasses.replace(self, shards=stretch(self.shards, start, count))

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
        """Augmented batches in random order without an end.

        Which images are in a batch, and how they are augmented, is a function of the
        seed and the number of the step, wherever a run began. In every epoch the
        shards are shuffled; a few at a time are read whole, and their images shuffled.
        What a resumed run has done is not decoded, and but for the shards at hand not
        read.

        Args:
            batch_size: images a step, of all replicas together.
            seed: int >= 0.
            steps_per_epoch: images that are left when they are done sit out the epoch.
            first_step: to begin with, counted over all epochs from 0.
            replicas: number of those that share a batch in equal parts.
            pipelines: number of input pipelines that feed them, one a worker.
            pipeline: which of them this is; it hands out images `b` of each batch with
                `b % pipelines == pipeline`, as a part for each of its replicas.

        Returns:
            `tf.data.Dataset` of `(images, labels)`: float32
            `[batch_size / replicas, 224, 224, 3]`, about 0 to 255, and int32
            `[batch_size / replicas]`.

        Raises:
            ValueError: if an epoch has more images than there are, or the replicas
                cannot share a batch, or the pipelines the replicas, in equal parts.
        """
        import tensorflow as tf

        if not 1 <= steps_per_epoch * batch_size <= len(self):
            raise ValueError(
                f"An epoch must have 1 to {len(self)} images. Received: "
                f"steps_per_epoch={steps_per_epoch}, batch_size={batch_size}."
            )
        if batch_size % replicas or replicas % pipelines:
            raise ValueError(
                "Replicas must share a batch, and pipelines the replicas, in equal "
                f"parts. Received: batch_size={batch_size}, replicas={replicas}, "
                f"pipelines={pipelines}."
            )

        each = max(1, round(self.shuffled * len(self.shards) / len(self)))
        groups = -(-len(self.shards) // each)  # an epoch
        start, done = divmod(first_step, steps_per_epoch)

        def group(number):
            epoch, number = divmod(int(number), groups)
            *shards, order, places = shuffled_group(
                self.shards, seed, epoch, number * each, each
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
    """JPEG, a string scalar, and label, an int32 scalar, of a record."""
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
    """How tf.data is to run."""
    import tensorflow as tf

    options = tf.data.Options()
    # tf.data's autotuner delays the end of an iteration by up to a minute.
    options.autotune.enabled = False
    return options


def processors():
    """Number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
