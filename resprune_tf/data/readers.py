"""Readers of the digits and of `.npz` archives, and the result type of all readers.

Readers return whole splits as NumPy arrays. scikit-learn is imported by `read_digits`
only.
"""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import numpy as np

from resprune_tf.system.array_files import ArrayFile
from resprune_tf.system.memory import machine_bytes


class DataError(ValueError):
    """Data are missing, incomplete or malformed. It is a ValueError."""


class ImageArrays(NamedTuple):
    """The splits of a source: uint8 images `[N, H, W, C]`, int32 labels `[N]`."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]
    source: str
    x_validation: np.ndarray | None = None
    y_validation: np.ndarray | None = None


def read_digits():
    """Reads scikit-learn's 1,797 digits of 8x8 pixels; 360 of them are the test split.

    Grey levels 0..16 are scaled to 0..255. The test split is stratified and always the
    same.

    Source: the test part of Alpaydin and Kaynak, Optical Recognition of Handwritten
    Digits, UCI 1998.

    Raises:
        DataError: if scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise DataError(
            "The digits come with scikit-learn, which cannot be imported: "
            f"{error}. Run `pip install scikit-learn`."
        ) from error
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int32)
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels, test_size=360, stratify=labels, random_state=0
    )
    names = tuple(map(str, digits.target_names))
    return ImageArrays(
        x_train, y_train, x_test, y_test, names, "scikit-learn's load_digits"
    )


def read_npz(path):
    """Reads an `.npz` archive; `load_dataset` describes its content.

    The headers of all arrays are checked first. Arrays with other names are not read.

    Raises:
        DataError: if the archive cannot be read, or its arrays do not fit together.
    """
    try:
        with ArrayFile(path) as archive:
            splits = _check_headers(path, archive.headers)
            names = [f"{xy}_{split}" for split in splits for xy in "xy"]
            if "class_names" in archive.headers:
                names.append("class_names")
            _check_memory(path, sum(archive.headers[name].nbytes for name in names))
            arrays = {name: archive.read(name) for name in names}
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read {path}: {error}") from error
    images = {f"x_{s}": arrays[f"x_{s}"] for s in splits}
    images = {k: x if x.ndim == 4 else x[..., None] for k, x in images.items()}
    labels = {f"y_{s}": arrays[f"y_{s}"].reshape(-1).astype("int32") for s in splits}
    class_names = _class_names(path, arrays.get("class_names"), labels)
    return ImageArrays(
        **images, **labels, class_names=class_names, source=pathlib.Path(path).name
    )


def _check_memory(path, size):
    available = machine_bytes()
    if available is not None and size > available:
        raise DataError(
            f"{path} would take {size / 1e9:.1f} GB of memory; this machine has "
            f"{available / 1e9:.1f} GB. Use an archive with fewer images."
        )


def _check_headers(path, arrays):
    """Checks that the headers fit together; returns the names of the splits."""
    splits = ["train", "test"]
    if "x_validation" in arrays or "y_validation" in arrays:
        splits.append("validation")
    absent = {f"{xy}_{split}" for split in splits for xy in "xy"}.difference(arrays)
    if absent:
        raise DataError(
            f"{path} lacks {', '.join(sorted(absent))}. "
            f"It contains {', '.join(sorted(arrays)) or 'nothing'}."
        )
    images = {f"x_{s}": _image_shape(path, f"x_{s}", arrays) for s in splits}
    labels = {f"y_{s}": _label_shape(path, f"y_{s}", arrays) for s in splits}
    if len({shape[1:] for shape in images.values()}) > 1:
        shapes = ", ".join(f"{k} {list(shape)}" for k, shape in images.items())
        raise DataError(
            f"{path}: all images must have the same shape [H, W, C]. Found: {shapes}."
        )
    for (x, x_shape), (y, y_shape) in zip(images.items(), labels.items(), strict=True):
        if x_shape[0] != y_shape[0]:
            raise DataError(
                f"{path}: {x} and {y} must have the same length. "
                f"Found: {x_shape[0]} images, {y_shape[0]} labels."
            )
    return splits


def _image_shape(path, key, arrays):
    shape, dtype, _ = arrays[key]
    if dtype != np.uint8 or len(shape) not in (3, 4) or 0 in shape:
        raise DataError(
            f"{path}: {key} must be uint8 images [N, H, W] or [N, H, W, C], 0 to 255. "
            f"Found: {dtype} {list(shape)}."
        )
    return shape if len(shape) == 4 else (*shape, 1)


def _label_shape(path, key, arrays):
    shape, dtype, _ = arrays[key]
    if dtype.kind not in "iu" or shape[1:] not in ((), (1,)) or 0 in shape:
        raise DataError(
            f"{path}: {key} must be integer labels [N] or [N, 1]. "
            f"Found: {dtype} {list(shape)}."
        )
    return shape


def _class_names(path, names, labels):
    """Returns the given names, or "0" to "K-1", and checks that every label has one."""
    if names is None:
        names = np.arange(labels["y_train"].max() + 1).astype(str)
        unseen = np.setdiff1d(np.arange(len(names)), labels["y_train"])
        if unseen.size:
            raise DataError(
                f"{path}: y_train must contain every class from 0 to {len(names) - 1}, "
                "or class_names must name them. "
                f"Found no image of class {unseen[0]}."
            )
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(
            f"{path}: class_names must be strings [K]. "
            f"Found: {names.dtype} {list(names.shape)}."
        )
    for key, each in labels.items():
        if each.min() < 0 or each.max() >= len(names):
            raise DataError(
                f"{path}: labels must be 0 to {len(names) - 1}. "
                f"Found: {each.min()} to {each.max()} in {key}."
            )
    return tuple(names.tolist())
