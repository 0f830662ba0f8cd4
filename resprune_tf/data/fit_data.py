"""The user's own data for `prune_and_retrain`, in any form that `fit` accepts."""

import dataclasses
import itertools
import zlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from resprune_tf.system.checksum import checksum
from resprune_tf.system.counts import check_counts
from resprune_tf.system.wording import in_words

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, eq=False)
class FitData:
    """Data in a form that `fit` accepts, for training with a `FitRecipe`.

    Args:
        train, validation, test: each a tuple `(x, y)` or `(x, y, sample_weight)` of
            arrays of shape `(examples, ...)`, or of nested structures of such arrays;
            or a `tf.data.Dataset` or `keras.utils.PyDataset` whose elements are batches
            of them. Validation data are evaluated after every epoch and select the
            model. `test` is optional, and only measured.
        batch_size: int, examples per step, for arrays. Pipelines keep their batches.
        name: str, name of the data in records.
        augment: for arrays only: function from a batch of training inputs and a
            `numpy.random.Generator` to the inputs to train on, such as
            `random_crop_flip()`. The generator is seeded for every batch, so a resumed
            run uses the same images as an uninterrupted one.

    Raises:
        TypeError: if a split is none of these, or `augment` is not a function of
            inputs and a generator.
        ValueError: if arrays differ in length or are empty, if a pipeline has no batch,
            if `batch_size` < 1, or if `test` repeats endlessly.

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
        check_counts(batch_size=self.batch_size)
        splits = {}
        for name in SPLITS:
            given = getattr(self, name)
            if given is not None or name != "test":
                splits[name] = as_split(given, name, self.batch_size)
        if "test" in splits and splits["test"].repeats:
            raise ValueError(
                "`test` repeats endlessly, but is evaluated as a whole. Limit it with "
                "`.take(batches)` of a tf.data.Dataset or `num_batches` of a PyDataset."
            )
        if self.augment is not None:
            if not isinstance(splits["train"], ArraySplit):
                raise ValueError(
                    "`augment` can be used with arrays only. Received: `train` of type "
                    f"{type(self.train).__name__}. Augment in the pipeline itself."
                )
            _check_augment(self.augment, splits["train"].first_batch()[0])
            splits["train"].augment = self.augment
        object.__setattr__(self, "splits", splits)

    @property
    def sizes(self):
        """Dict from split name to number of examples; None if unknown or absent."""
        return {name: getattr(self.splits.get(name), "size", None) for name in SPLITS}

    @property
    def fingerprint(self):
        """Checksum of the arrays and of the name of `augment`, 8 hexadecimal digits.

        Pipelines are not read: only shapes and dtypes of a batch and the number of
        batches enter the checksum.
        """
        value = 0
        if self.augment is not None:
            name = getattr(self.augment, "__name__", type(self.augment).__name__)
            value = zlib.crc32(name.encode())
        for split in self.splits.values():
            value = split.checksum(value)
        return f"{value:08x}"


def _check_augment(augment, inputs):
    """Tries a function on a batch; raises a TypeError if it cannot be called so."""
    expected = (
        "`augment` must be a function from a batch of inputs and a "
        "numpy.random.Generator to as many inputs, such as random_crop_flip(). "
        f"Received: {augment!r}, which "
    )
    inputs = keras.tree.map_structure(np.copy, inputs)  # it may change them
    try:
        found = augment(inputs, np.random.default_rng(0))
    except Exception as error:
        raise TypeError(
            f"{expected}fails on the first batch: {in_words(error)}"
        ) from error
    before, after = (
        [np.shape(each)[:1] for each in keras.tree.flatten(batch)]
        for batch in (inputs, found)
    )
    if before != after:
        kinds = ", ".join(type(each).__name__ for each in keras.tree.flatten(found))
        raise TypeError(
            f"{expected}returns other numbers of inputs or examples: {kinds}."
        )


def as_split(given, name, batch_size=32):
    """Wraps one split of `FitData`, which describes arguments and errors."""
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


def _of_text(array):
    return array.dtype.kind in "OSU" and array.ndim > 0


TEXT_LABELS = (
    "are text or other objects. Number the classes from 0, alike in all splits: arrays "
    "by `np.searchsorted(np.unique(train_labels), labels)`, a pipeline by "
    "`keras.layers.StringLookup(num_oov_indices=0)`."
)


class ArraySplit:
    """A split in memory. `Pipeline` and `Batches` have the same methods.

    Attributes:
        size: number of examples.
        repeats: whether it is endless.
    """

    repeats = False
    augment = None

    def __init__(self, given, name, batch_size):
        for each in keras.tree.flatten(given):
            if hasattr(each, "shape") and not hasattr(each, "__array__"):
                raise ValueError(
                    f"`{name}` must contain dense arrays, which sparse inputs accept "
                    "too, or be a tf.data.Dataset. "
                    f"Received: {type(each).__name__}."
                )
        self.arrays = keras.tree.map_structure(np.asarray, tuple(given))
        self.batch_size = batch_size
        arrays = keras.tree.flatten(self.arrays)
        labels = keras.tree.flatten(self.arrays[1])
        if any(map(_of_text, labels)):
            raise ValueError(f"Labels of `{name}` {TEXT_LABELS}")
        if any(map(_of_text, arrays)):
            raise ValueError(
                f"Keras trains on arrays of numbers only. `{name}` contains text or "
                "other objects: pass a tf.data.Dataset of batches, "
                "`tf.data.Dataset.from_tensor_slices((x, y)).batch(32)`."
            )
        if not arrays or any(array.ndim == 0 for array in arrays):
            raise ValueError(
                f"`{name}` must contain arrays. Received: lists, which mean several "
                "inputs or outputs, without arrays in them. Wrap each in np.array(...)."
            )
        sizes = {array.shape[0] for array in arrays}
        if len(sizes) != 1 or sizes == {0}:
            raise ValueError(
                f"The arrays of `{name}` must have the same number of examples, not 0. "
                f"Received: {', '.join(map(str, sorted(sizes)))} examples."
            )
        self.size = sizes.pop()

    @property
    def batches(self):
        """Number of batches; the last one may be smaller."""
        return -(-self.size // self.batch_size)

    def batch_sizes(self):
        """The sizes of batches; [] if they are unknown."""
        whole = [self.batch_size] * (self.size >= self.batch_size)
        rest = self.size % self.batch_size
        return whole + [rest] * (rest > 0)

    def checksum(self, value):
        arrays = keras.tree.flatten(self.arrays)
        kinds = [(array.shape, str(array.dtype)) for array in arrays]
        return checksum(arrays, zlib.crc32(repr(kinds).encode(), value))

    def data_to_check(self):
        """The data to check before a run: all arrays, or a pipeline's first batch."""
        return self.arrays

    def first_batch(self):
        """The first batch, unchanged."""
        return _rows(self.arrays, slice(self.batch_size))

    def blocks(self, steps=None):
        """Yields blocks of examples, each with a function that describes an index.

        Args:
            steps: maximum number of batches to read from a pipeline; None for all.
        """
        for start in range(0, self.size, 1024):
            rows = _rows(self.arrays, slice(start, start + 1024))
            yield rows, lambda index, start=start: f"example {start + index}"

    def training(self, seed, epoch, shuffle, steps=None):
        """Arguments of `fit` for training from `epoch` on, and callbacks to add.

        Args:
            seed: int, seed of the order of arrays.
            epoch: int, number of epochs that are done.
            shuffle: whether to shuffle.
            steps: `steps_per_epoch` of `fit`, for pipelines, or None.

        Returns:
            `(arguments, callbacks)`.
        """
        order = ShuffledBatches(
            self.arrays, self.batch_size, seed, epoch, shuffle, self.augment
        )
        # Epochs are counted by a callback, because the number of times that Keras reads
        # the data before the first epoch depends on the strategy.
        begin = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: order.start(epoch)
        )
        return {"x": order, "shuffle": False}, [begin]

    def sample(self, batch_size, seed):
        """Batches in random order, each example once."""
        order = ShuffledBatches(self.arrays, batch_size, seed, augment=self.augment)
        return (order[number] for number in range(order.num_batches))

    def measuring(self):
        """Arguments of `evaluate`."""
        names = ("x", "y", "sample_weight")
        named = dict(zip(names, self.arrays, strict=False))
        return {**named, "batch_size": self.batch_size}

    def validating(self):
        """Arguments of `fit` for evaluating this split after every epoch."""
        return {
            "validation_data": self.arrays,
            "validation_batch_size": self.batch_size,
        }


class ShuffledBatches(keras.utils.PyDataset):
    """Batches of arrays whose order depends on the seed and the epoch only.

    A resumed run therefore has the same batches as an uninterrupted one.

    Args:
        arrays: tuple of nested structures of arrays.
        batch_size: int, examples per batch; the last one may be smaller.
        seed: int.
        epoch: the first epoch, from 0; `start` begins another one.
        shuffle: whether to shuffle.
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
        """Sets the order of the examples for an epoch."""
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
        # Several inputs: TensorFlow's pipelines accept tuples, not lists.
        arrays = tuple(arrays)
    if isinstance(arrays, tuple):
        return tuple(_rows(each, rows) for each in arrays)
    return keras.tree.map_structure(lambda array: array[rows], arrays)


class Pipeline:
    """A `tf.data.Dataset` of batches."""

    def __init__(self, dataset, name):
        self.dataset, self.name, self._first = dataset, name, None
        self.batches = self._count()
        # The values of Keras and TensorFlow (INFINITE_CARDINALITY) for endless data.
        self.repeats = self.batches in (None, -1)
        if self.batches == 0:
            raise self._empty()

    def _count(self):
        return int(self.dataset.cardinality())

    def _empty(self):
        return ValueError(
            f"`{self.name}` contains no batch. Check its filters and the files that it "
            "reads."
        )

    @property
    def batch_size(self):
        """Number of examples in the first batch."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(self.first_batch())
        return keras.tree.flatten(x)[0].shape[0]

    def batch_sizes(self):
        return []  # unknown before the batches are read

    def checksum(self, value):
        text = f"{self.dataset.element_spec} {self.batches}"
        return zlib.crc32(text.encode(), value)

    def data_to_check(self):
        return self.first_batch()

    def first_batch(self):
        """The first batch, unchanged.

        It is kept, because a pipeline may have to fill a shuffle buffer before it.
        """
        if self._first is None:
            self._first = next(iter(self._batches()), None)
            if self._first is None:
                raise self._empty()
        return self._first

    def blocks(self, steps=None):
        for number, batch in enumerate(itertools.islice(self._batches(), steps)):
            yield (
                batch,
                lambda index, number=number: f"example {index} of batch {number}",
            )

    def _batches(self):
        if keras.backend.backend() == "tensorflow":
            return self.dataset
        return self.dataset.as_numpy_iterator()  # JAX does not accept its tensors

    def sample(self, batch_size, seed):
        """Batches in the order of the pipeline."""
        return iter(self._batches())

    def training(self, seed, epoch, shuffle, steps=None):
        dataset = self.dataset
        if steps and not self.repeats:
            # Keras reads on where the previous epoch ended. At the end of the data, it
            # would end the epoch early and begin again with the first batch.
            dataset = dataset.repeat()
        if steps and epoch:
            done = epoch * steps
            known = not self.repeats and self.batches > 0
            dataset = dataset.skip(done % self.batches if known else done)
        # Shuffling is up to the pipeline.
        return {"x": dataset, "shuffle": False}, []

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

    def training(self, seed, epoch, shuffle, steps=None):
        # Keras shuffles the list of batch numbers, which must be finite.
        return {"x": self.dataset, "shuffle": shuffle and not self.repeats}, []
