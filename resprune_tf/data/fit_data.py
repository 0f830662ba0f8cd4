"""Data as Keras's `fit` takes them, for `prune_and_retrain` on one's own terms."""

import dataclasses
import itertools
import zlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from resprune_tf.system.checksum import checksum

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, eq=False)
class FitData:
    """Data as `fit` takes them, beside a `FitRecipe`.

    Args:
        train, validation, test: each a tuple `(x, y)` or `(x, y, sample_weight)` of
            arrays, or of nested structures of arrays with as many examples; or a
            `tf.data.Dataset` or `keras.utils.PyDataset` of such batches. Validation
            data are measured after every epoch and select the net; `test` may be left
            out.
        batch_size: examples a step, of arrays; pipelines come in batches.
        name: of the data, for the records.
        augment: function from a batch of training inputs, as the arrays hold them, and
            a `numpy.random.Generator` to the inputs to train on, such as
            `random_crop_flip()`; of arrays alone. The generator is seeded for every
            batch, so a run that continues sees the images of an unbroken one.

    Raises:
        TypeError: if a split is none of these.
        ValueError: if arrays differ in length or are empty, a pipeline has no batch,
            if `batch_size` < 1, or if `test` never ends.

    >>> data = FitData(
    ...     train=(images, labels), validation=(other_images, other_labels)
    ... )
    """

    train: Any
    validation: Any
    test: Any = None
    batch_size: int = 32
    name: str = "own data"
    augment: Callable | None = None

    def __post_init__(self):
        if self.batch_size < 1:
            raise ValueError(
                f"`batch_size` must be >= 1. Received: {self.batch_size!r}."
            )
        splits = {}
        for name in SPLITS:
            given = getattr(self, name)
            if given is not None or name != "test":
                splits[name] = as_split(given, name, self.batch_size)
        if "test" in splits and splits["test"].repeats:
            raise ValueError(
                "`test` repeats for ever, and is measured whole. Cut it: "
                "`.take(batches)` of a tf.data.Dataset, `num_batches` of a PyDataset."
            )
        if self.augment is not None:
            if not isinstance(splits["train"], ArraySplit):
                raise ValueError(
                    "`augment` changes batches of arrays. Received: `train` of type "
                    f"{type(self.train).__name__}. Augment in the pipeline itself."
                )
            splits["train"].augment = self.augment
        object.__setattr__(self, "splits", splits)

    @property
    def sizes(self):
        """Examples of each split; None where only a pipeline knows, or no split is."""
        return {name: getattr(self.splits.get(name), "size", None) for name in SPLITS}

    @property
    def fingerprint(self):
        """Checksum of the arrays and of what pipelines say of themselves.

        8 hexadecimal digits. Pipelines are not read: what they say is the shapes and
        types of a batch and the number of batches.
        """
        value = 0
        if self.augment is not None:
            name = getattr(self.augment, "__name__", type(self.augment).__name__)
            value = zlib.crc32(name.encode())
        for split in self.splits.values():
            value = split.checksum(value)
        return f"{value:08x}"


def as_split(given, name, batch_size=32):
    """What `FitData` makes of one of its splits; see there for arguments and errors."""
    if hasattr(given, "cardinality"):  # without importing TensorFlow
        return Pipeline(given, name)
    if isinstance(given, keras.utils.PyDataset):
        return Batches(given, name)
    if isinstance(given, (tuple, list)) and len(given) in (2, 3):
        return ArraySplit(given, name, batch_size)
    raise TypeError(
        f"`{name}` must be `(x, y)` or `(x, y, sample_weight)` of arrays, a "
        f"tf.data.Dataset or a keras.utils.PyDataset. Received: {type(given).__name__}."
    )


class ArraySplit:
    """A split in memory.

    Attributes:
        size: number of examples.
        repeats: whether it never ends.
    """

    repeats = False
    augment = None

    def __init__(self, given, name, batch_size):
        for each in keras.tree.flatten(given):
            if hasattr(each, "shape") and not hasattr(each, "__array__"):
                raise ValueError(
                    f"`{name}` must hold dense arrays, which a sparse input takes, "
                    f"too, or be a tf.data.Dataset. Received: {type(each).__name__}."
                )
        self.arrays = keras.tree.map_structure(np.asarray, tuple(given))
        self.batch_size = batch_size
        arrays = keras.tree.flatten(self.arrays)
        if any(array.dtype.kind in "OSU" and array.ndim for array in arrays):
            raise ValueError(
                f"Keras trains on arrays of numbers alone. `{name}` holds text or "
                "other objects: give a tf.data.Dataset of batches, "
                "`tf.data.Dataset.from_tensor_slices((x, y)).batch(32)`."
            )
        if not arrays or any(array.ndim == 0 for array in arrays):
            raise ValueError(
                f"`{name}` must hold arrays. Received: lists, which stand for several "
                "inputs or outputs, without arrays in them. Wrap each in np.array(...)."
            )
        sizes = {array.shape[0] for array in arrays}
        if len(sizes) != 1 or sizes == {0}:
            raise ValueError(
                f"The arrays of `{name}` must have as many examples, and some. "
                f"Received: {', '.join(map(str, sorted(sizes)))} examples."
            )
        self.size = sizes.pop()

    @property
    def batches(self):
        """Number of batches, the last perhaps a smaller one."""
        return -(-self.size // self.batch_size)

    def batch_sizes(self):
        """The sizes that batches have, as far as that is known."""
        whole = [self.batch_size] * (self.size >= self.batch_size)
        rest = self.size % self.batch_size
        return whole + [rest] * (rest > 0)

    def checksum(self, value):
        arrays = keras.tree.flatten(self.arrays)
        kinds = [(array.shape, str(array.dtype)) for array in arrays]
        return checksum(arrays, zlib.crc32(repr(kinds).encode(), value))

    def at_hand(self):
        """What can be looked at before any work: here all, of a pipeline a batch."""
        return self.arrays

    def first_batch(self):
        """A batch, as the split holds it."""
        return _rows(self.arrays, slice(self.batch_size))

    def blocks(self, steps=None):
        """The examples, some at a time, each with a function from an index to words.

        Args:
            steps: most batches to read of a pipeline; None for all.
        """
        for start in range(0, self.size, 1024):
            rows = _rows(self.arrays, slice(start, start + 1024))
            yield rows, lambda index, start=start: f"example {start + index}"

    def training(self, seed, epoch, shuffle):
        """Arguments of `fit` to train from an epoch on, and the callbacks with them.

        Returns:
            `(arguments, callbacks)`.
        """
        order = ShuffledBatches(
            self.arrays, self.batch_size, seed, epoch, shuffle, self.augment
        )
        # Keras counts the epochs; how often it reads the data before the first of them
        # differs with the strategy.
        begin = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: order.start(epoch)
        )
        return {"x": order, "shuffle": False}, [begin]

    def sample(self, batch_size, seed):
        """Batches in random order, once over all examples."""
        order = ShuffledBatches(self.arrays, batch_size, seed, augment=self.augment)
        return (order[number] for number in range(order.num_batches))

    def measuring(self):
        """Arguments of `evaluate`."""
        names = ("x", "y", "sample_weight")
        named = dict(zip(names, self.arrays, strict=False))
        return {**named, "batch_size": self.batch_size}

    def validating(self):
        """Arguments of `fit` to measure this split after every epoch."""
        return {
            "validation_data": self.arrays,
            "validation_batch_size": self.batch_size,
        }


class ShuffledBatches(keras.utils.PyDataset):
    """Batches of arrays, whose order is a function of the seed and the epoch.

    So a run that continues sees the batches that an unbroken one sees.

    Args:
        arrays: tuple of nested structures of arrays.
        batch_size: examples a batch; the last may be smaller.
        seed: int.
        epoch: the first one, counted from 0; `start` begins another.
        shuffle: whether to change the order.
        augment: see `FitData`.
    """

    def __init__(self, arrays, batch_size, seed, epoch=0, shuffle=True, augment=None):
        super().__init__()
        self.augment = augment
        self.arrays, self.batch_size = arrays, batch_size
        self.seed, self.shuffle = seed, shuffle
        self.size = len(keras.tree.flatten(arrays)[0])
        self.start(epoch)

    def start(self, epoch):
        """Orders the examples as in an epoch."""
        self.epoch, self.order = epoch, np.arange(self.size)
        if self.shuffle:
            rng = np.random.default_rng((self.seed, epoch))
            self.order = rng.permutation(self.size)

    @property
    def num_batches(self):
        return -(-self.size // self.batch_size)

    def __getitem__(self, index):
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        batch = _rows(self.arrays, rows)
        if self.augment is None:
            return batch
        rng = np.random.default_rng((self.seed, self.epoch, index))
        return self.augment(batch[0], rng), *batch[1:]


def _rows(arrays, rows):
    if isinstance(arrays, list):
        # Of several inputs; TensorFlow's pipelines take tuples alone.
        arrays = tuple(arrays)
    if isinstance(arrays, tuple):
        return tuple(_rows(each, rows) for each in arrays)
    return keras.tree.map_structure(lambda array: array[rows], arrays)


class Pipeline:
    """A `tf.data.Dataset` of batches."""

    def __init__(self, dataset, name):
        self.dataset, self.name = dataset, name
        self.batches = self._count()
        # What Keras and TensorFlow (INFINITE_CARDINALITY) call endless.
        self.repeats = self.batches in (None, -1)
        if self.batches == 0:
            raise self._empty()

    def _count(self):
        return int(self.dataset.cardinality())

    def _empty(self):
        return ValueError(
            f"`{self.name}` holds no batch. Look at what filters it, or at the number "
            "of files that it reads."
        )

    def batch_sizes(self):
        return []  # which the batches alone tell

    def checksum(self, value):
        text = f"{self.dataset.element_spec} {self.batches}"
        return zlib.crc32(text.encode(), value)

    def at_hand(self):
        return self.first_batch()

    def first_batch(self):
        batches = self.dataset
        if keras.backend.backend() != "tensorflow":
            batches = batches.as_numpy_iterator()
        for batch in batches:
            return batch
        raise self._empty()

    def blocks(self, steps=None):
        for number, batch in enumerate(itertools.islice(self._batches(), steps)):
            yield (
                batch,
                lambda index, number=number: f"example {index} of batch {number}",
            )

    def _batches(self):
        return self.dataset

    def sample(self, batch_size, seed):
        """Batches as the pipeline gives them."""
        return iter(self._batches())

    def training(self, seed, epoch, shuffle):
        # It shuffles by itself, or not.
        return {"x": self.dataset, "shuffle": False}, []

    def measuring(self):
        return {"x": self.dataset}

    def validating(self):
        return {"validation_data": self.dataset}


class Batches(Pipeline):
    """A `keras.utils.PyDataset`."""

    def _count(self):
        return self.dataset.num_batches

    def checksum(self, value):
        kinds = [
            (array.shape, str(array.dtype))
            for array in map(np.asarray, keras.tree.flatten(self.first_batch()))
        ]
        return zlib.crc32(f"{kinds} {self.batches}".encode(), value)

    def first_batch(self):
        return self.dataset[0]

    def _batches(self):
        numbers = itertools.count() if self.repeats else range(self.batches)
        return (self.dataset[number] for number in numbers)

    def training(self, seed, epoch, shuffle):
        # Keras shuffles the numbers of batches, of which an endless one has no end.
        return {"x": self.dataset, "shuffle": shuffle and not self.repeats}, []
