"""Reads CIFAR-10 and CIFAR-100 from TensorFlow Datasets (tfds) or from binary files.

TensorFlow and tfds are imported only to read the data of tfds. The binary files can be
read without them.
"""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np

from resprune_tf.data.readers import DataError, ImageArrays

_IMAGE_BYTES = 3 * 32 * 32


class _Missing(Exception):
    """One source does not have the data; the next one may."""


@dataclasses.dataclass(frozen=True)
class _Cifar:
    """The binary files: per image the label bytes, then the R, G and B planes.

    The class is the last label byte.
    """

    folder: str
    train_files: tuple[str, ...]
    test_file: str
    names_file: str
    label_bytes: int
    num_classes: int
    archive: str


# https://www.cs.toronto.edu/~kriz/cifar.html (Krizhevsky, 2009)
CIFAR = {
    "cifar10": _Cifar(
        folder="cifar-10-batches-bin",
        train_files=tuple(f"data_batch_{batch}.bin" for batch in range(1, 6)),
        test_file="test_batch.bin",
        names_file="batches.meta.txt",
        label_bytes=1,
        num_classes=10,
        archive="cifar-10-binary.tar.gz",
    ),
    "cifar100": _Cifar(
        folder="cifar-100-binary",
        train_files=("train.bin",),
        test_file="test.bin",
        names_file="fine_label_names.txt",
        label_bytes=2,
        num_classes=100,
        archive="cifar-100-binary.tar.gz",
    ),
}


def read_cifar(name, data_dir=None, source="auto"):
    """Reads CIFAR-10 or CIFAR-100 from the first source that has it.

    Args:
        name: `"cifar10"` or `"cifar100"`.
        data_dir: an existing folder, or None; see `read_tfds` and `read_binary`.
        source: `"auto"` (tfds, then the binary files; never downloads), `"tfds"`
            (downloads missing data) or `"binary"`.

    Raises:
        ValueError: if the source is unknown.
        DataError: if no source has the data; the message states what was tried and how
            to download the data.
    """
    readers = {
        "tfds": lambda: read_tfds(name, data_dir, download=source == "tfds"),
        "binary": lambda: read_binary(name, data_dir),
    }
    if source != "auto" and source not in readers:
        raise ValueError(
            f"`source` must be 'auto', 'tfds' or 'binary'. Received: source={source!r}."
        )
    tried = []
    for each in readers if source == "auto" else [source]:
        try:
            return readers[each]()
        except _Missing as missing:
            tried.append(f"  {each}: {missing}\n")
    folder = "DIR" if data_dir is None else data_dir
    archive = CIFAR[name].archive
    raise DataError(
        f"{name} was not found. Tried:\n{''.join(tried)}"
        "To fetch it, run one of\n"
        '  python -c "import tensorflow_datasets as tfds; '
        f"tfds.load('{name}', data_dir='{folder}')\"\n"
        f"  curl -O https://www.cs.toronto.edu/~kriz/{archive} && "
        f"tar -xzf {archive} -C '{folder}'\n"
        f"and pass data_dir='{folder}'."
    )


def read_tfds(name, data_dir=None, download=False):
    """Reads CIFAR from TensorFlow Datasets, in the order in which tfds prepared it.

    Args:
        name: `"cifar10"` or `"cifar100"`.
        data_dir: `data_dir` of tfds, or a folder that contains it as `tfds`. Defaults
            to tfds's own folder.
        download: whether tfds may download and prepare missing data.
    """
    data_dir = data_dir and pathlib.Path(data_dir)
    roots = [data_dir, data_dir / "tfds"] if data_dir else [None]
    present = [root for root in roots if root is None or (root / name).is_dir()]
    if not present and not download:  # checked before the slow import of TensorFlow
        raise _Missing(" and ".join(f"no folder {root / name}" for root in roots))
    try:
        import tensorflow  # noqa: F401, needed by tfds, which imports it late
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise _Missing(f"tensorflow_datasets cannot be imported: {error}") from error
    builders = [tfds.builder(name, data_dir=root) for root in present or [data_dir]]
    builder = next((each for each in builders if each.is_prepared()), builders[0])
    if download:
        try:
            builder.download_and_prepare()
        except OSError as error:  # no network, no space
            raise _Missing(f"cannot be downloaded: {error}") from error
    elif not builder.is_prepared():
        raise _Missing(f"not prepared in {builder.data_path}")
    arrays = []
    for split in ("train", "test"):
        data = builder.as_dataset(split=split, batch_size=-1, as_supervised=True)
        images, labels = tfds.as_numpy(data)
        arrays += [images, labels.astype(np.int32)]
    names = tuple(builder.info.features["label"].names)
    return ImageArrays(*arrays, names, f"tensorflow_datasets {builder.info.full_name}")


def read_binary(name, data_dir=None):
    """Reads CIFAR's original binary files, in their order.

    Args:
        name: `"cifar10"` or `"cifar100"`.
        data_dir: the folder of the files, or the folder of the unpacked archive.

    Raises:
        DataError: if a file is missing, or is not a CIFAR file. Files with fewer
            records than the official ones are accepted.
    """
    if data_dir is None:
        raise _Missing("needs data_dir")
    cifar = CIFAR[name]
    needed = (*cifar.train_files, cifar.test_file, cifar.names_file)
    data_dir = pathlib.Path(data_dir)
    folders = (data_dir, data_dir / cifar.folder)
    folder = next((each for each in folders if (each / needed[0]).exists()), None)
    if folder is None:
        raise _Missing(f"no {needed[0]} in {' and '.join(map(str, folders))}")
    absent = [file for file in needed if not (folder / file).exists()]
    if absent:
        raise DataError(
            f"{folder} lacks {', '.join(absent)} of {name}. "
            f"Unpack {cifar.archive} again."
        )
    class_names = tuple((folder / cifar.names_file).read_text().split())
    if len(class_names) != cifar.num_classes:
        raise DataError(
            f"{folder / cifar.names_file} must name {cifar.num_classes} classes. "
            f"Found: {len(class_names)}."
        )
    train = np.concatenate([_records(folder / f, cifar) for f in cifar.train_files])
    test = _records(folder / cifar.test_file, cifar)
    return ImageArrays(
        *_unpack(train, cifar), *_unpack(test, cifar), class_names, cifar.folder
    )


def _records(path, cifar):
    """The bytes of a file, one row per image."""
    length = cifar.label_bytes + _IMAGE_BYTES
    data = np.fromfile(path, np.uint8)
    if data.size == 0 or data.size % length:
        raise DataError(
            f"{path} is truncated: found {data.size} bytes, expected a multiple of "
            f"{length} ({cifar.label_bytes} of labels and {_IMAGE_BYTES} of pixels per "
            f"image). Unpack {cifar.archive} again."
        )
    records = data.reshape(-1, length)
    largest = records[:, cifar.label_bytes - 1].max()
    if largest >= cifar.num_classes:
        raise DataError(
            f"{path} is not from {cifar.archive}: found label {largest}, expected 0 to "
            f"{cifar.num_classes - 1}."
        )
    return records


def _unpack(records, cifar):
    """Images `[N, 32, 32, 3]` and labels `[N]` of records."""
    planes = records[:, cifar.label_bytes :].reshape(-1, 3, 32, 32)
    images = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    return images, records[:, cifar.label_bytes - 1].astype(np.int32)
