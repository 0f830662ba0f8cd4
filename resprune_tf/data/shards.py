"""Parts of TFRecord files, and the random order in which an epoch reads them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Shard(NamedTuple):
    """Part of a TFRecord file: `count` records, starting at number `first`."""

    path: str
    first: int
    count: int


def record_range(shards, start, count):
    """The shards of `count` records, starting at number `start`.

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
    """Takes a group of shards from an epoch's random order and shuffles its records.

    An epoch reads one group of shards after another, so only the records of one group
    are in memory.

    Args:
        shards: sequence of `Shard`.
        seed, epoch: ints >= 0 that determine the order.
        first, count: position of the group's first shard in that order, and number of
            shards; the last group of an epoch may have fewer.

    Returns:
        `(paths, firsts, counts, order, places)`: bytes and int64 per shard; int64 per
        record: its number in the group, and its position in the epoch.
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
        # Not the seed of the order of the shards.
        np.random.default_rng((seed, epoch, first, 1)).permutation(size),
        np.arange(before, before + size),
    )


def read_records(paths, firsts, counts):
    """`tf.data.Dataset` of the records of shards, in order.

    Args:
        paths, firsts, counts: the fields of the shards, a sequence or vector each.
    """
    import tensorflow as tf

    def read(path, first, count):
        # Large reads: records are contiguous, and the disk may be remote.
        records = tf.data.TFRecordDataset(path, buffer_size=8 << 20)
        return records.skip(first).take(count)

    columns = (
        tf.convert_to_tensor(paths),
        tf.cast(firsts, tf.int64),
        tf.cast(counts, tf.int64),
    )
    return tf.data.Dataset.from_tensor_slices(columns).flat_map(read)
