"""Stretches of TFRecord files, and the random order in which an epoch reads them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Shard(NamedTuple):
    """A stretch of a TFRecord file: `count` records from number `first` on."""

    path: str
    first: int
    count: int


def stretch(shards, start, count):
    """The shards of `count` records from number `start` on.

    Args:
        shards: sequence of `Shard`.
        start, count: ints; the records must exist.
    """
    found = []
    for path, first, length in shards:
        part = range(length)[max(0, start) : max(0, start + count)]
        if part:
            found.append(Shard(path, first + part.start, len(part)))
        start -= length
    return tuple(found)


def shuffled_group(shards, seed, epoch, first, count):
    """Some neighbours in an epoch's random order of shards, shuffled together.

    An epoch goes over the shards a group at a time, so that what is in memory is the
    records of one.

    Args:
        shards: sequence of `Shard`.
        seed, epoch: ints >= 0 that the order depends on.
        first, count: place of the group's first shard in that order, and how many
            there are; the last group of an epoch may have fewer.

    Returns:
        `(paths, firsts, counts, order, places)`: bytes and int64 for each shard; int64
        for each record: its number in the group, and its place in the epoch.
    """
    order = np.random.default_rng((seed, epoch)).permutation(len(shards))
    counts = np.array([shard.count for shard in shards], np.int64)[order]
    chosen = slice(first, first + count)
    paths, firsts, _ = zip(*(shards[number] for number in order[chosen]), strict=True)
    before, size = counts[:first].sum(), counts[chosen].sum()
    return (
        np.array(paths, np.bytes_),
        np.array(firsts, np.int64),
        counts[chosen],
        # Other numbers than those that ordered the shards.
        np.random.default_rng((seed, epoch, first, 1)).permutation(size),
        np.arange(before, before + size),
    )


def read_records(paths, firsts, counts):
    """`tf.data.Dataset` of the records of shards, in their order.

    Args:
        paths, firsts, counts: a sequence, or vector, of each field of the shards.
    """
    import tensorflow as tf

    def read(path, first, count):
        # Large reads: records follow each other, on disks that may be far away.
        records = tf.data.TFRecordDataset(path, buffer_size=8 << 20)
        return records.skip(first).take(count)

    columns = (
        tf.convert_to_tensor(paths),
        tf.cast(firsts, tf.int64),
        tf.cast(counts, tf.int64),
    )
    return tf.data.Dataset.from_tensor_slices(columns).flat_map(read)
