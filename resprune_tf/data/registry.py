"""All data sets by name. To add one, write its reader and add a line to `DATA_SETS`.

This module imports neither Keras nor NumPy, so that flags can list data sets fast.
"""

import dataclasses
import importlib


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Facts about a data set that are needed before it is read.

    Attributes:
        module: module of `resprune_tf.data` with the reader.
        reader: name of the function that returns `readers.ImageArrays`. It is called
            with name, `data_dir` and `source` if there are several `sources`, else
            without arguments.
        flip: whether training images are mirrored at random.
        crop_padding: maximum shift of training images in pixels.
        sources: sources besides `"auto"`.
        validation_examples: number of training images to hold out; by default a tenth.
        mean, std: statistics of each channel; by default those of the training split.
        built_in: description of a data set that is installed with the package.
    """

    module: str
    reader: str
    flip: bool
    crop_padding: int
    sources: tuple[str, ...] = ()
    validation_examples: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    built_in: str | None = None

    def read(self, name, data_dir=None, source="auto"):
        """Reads the splits; see `readers.ImageArrays`."""
        module = importlib.import_module(f"resprune_tf.data.{self.module}")
        reader = getattr(module, self.reader)
        return reader(name, data_dir, source) if self.sources else reader()


# CIFAR: augmentation and statistics of facebookarchive/fb.resnet.torch, whose recipe
# the paper follows: datasets/cifar10.lua and cifar100.lua.
_CIFAR = DataSet(
    "cifar_files", "read_cifar", flip=True, crop_padding=4, sources=("tfds", "binary")
)
DATA_SETS = {
    "digits": DataSet(
        "readers",
        "read_digits",
        flip=False,
        crop_padding=1,
        validation_examples=360,
        built_in="1,797 real handwritten digits",
    ),
    "cifar10": dataclasses.replace(
        _CIFAR, mean=(125.3, 123.0, 113.9), std=(63.0, 62.1, 66.7)
    ),
    "cifar100": dataclasses.replace(
        _CIFAR, mean=(129.3, 124.1, 112.4), std=(68.2, 65.4, 70.4)
    ),
}
NAMES = tuple(DATA_SETS)
BUILT_IN = {n: each.built_in for n, each in DATA_SETS.items() if each.built_in}
SOURCES = tuple(
    dict.fromkeys(source for each in DATA_SETS.values() for source in each.sources)
)
