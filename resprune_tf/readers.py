"""What every reader returns, and the readers of the digits and of `.npz` archives.

Readers return whole splits as NumPy arrays. Scikit-learn is imported only by the one
that needs it.
"""

from __future__ import annotations

import pathlib
import zipfile
from typing import NamedTuple

import numpy as np


class DataError(ValueError):
    """Data that is missing, incomplete or not what its name promises."""


class Arrays(NamedTuple):
    """Splits as a source holds them: uint8 `[N, H, W, C]` images, int32 labels."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]
    source: str
    x_validation: np.ndarray | None = None
    y_validation: np.ndarray | None = None


def read_digits():
    """scikit-learn's 1,797 digits of 8x8 pixels, 360 of them the test split.

    Source: the test part of Alpaydin and Kaynak, Optical Recognition of Handwritten
    Digits, UCI 1998. Its grey levels 0..16 are scaled to 0..255. The test split is
    stratified and always the same.

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
    return Arrays(x_train, y_train, x_test, y_test, names, "scikit-learn's load_digits")


def read_npz(path):
    """Arrays from an `.npz` archive; see `load_dataset` for what it must hold.

    Raises:
        DataError: if the archive cannot be read, or its arrays do not fit together.
    """
    try:
        # np.load(path) would leave the file open where it is no archive.
        with open(path, "rb") as file, np.load(file) as archive:
            arrays = dict(archive)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"Cannot read {path}: {error}") from error
    splits = ["train", "test"]
    if "x_validation" in arrays or "y_validation" in arrays:
        splits.append("validation")
    absent = {f"{xy}_{split}" for split in splits for xy in "xy"}.difference(arrays)
    if absent:
        raise DataError(
            f"{path} lacks {', '.join(sorted(absent))}. "
            f"It holds {', '.join(sorted(arrays)) or 'nothing'}."
        )
    images = {f"x_{s}": _images(path, f"x_{s}", arrays[f"x_{s}"]) for s in splits}
    labels = {f"y_{s}": _labels(path, f"y_{s}", arrays[f"y_{s}"]) for s in splits}
    if len({each.shape[1:] for each in images.values()}) > 1:
        shapes = ", ".join(f"{k} {list(each.shape)}" for k, each in images.items())
        raise DataError(
            f"{path}: all images must be of one shape [N, H, W, C]. Found: {shapes}."
        )
    for (x, x_array), (y, y_array) in zip(images.items(), labels.items(), strict=True):
        if len(x_array) != len(y_array):
            raise DataError(
                f"{path}: {x} and {y} must be of one length. "
                f"Found: {len(x_array)} images, {len(y_array)} labels."
            )
    class_names = _class_names(path, arrays.get("class_names"), labels)
    return Arrays(
        **images, **labels, class_names=class_names, source=pathlib.Path(path).name
    )


def _images(path, key, images):
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.size == 0:
        raise DataError(
            f"{path}: {key} must be uint8 images [N, H, W] or [N, H, W, C], 0 to 255. "
            f"Found: {images.dtype} {list(images.shape)}."
        )
    return images if images.ndim == 4 else images[..., None]


def _labels(path, key, labels):
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or labels.size == 0:
        raise DataError(
            f"{path}: {key} must be integer labels [N] or [N, 1]. "
            f"Found: {labels.dtype} {list(labels.shape)}."
        )
    return labels.astype(np.int32)


def _class_names(path, names, labels):
    """The given names, or "0" to "K-1"; every label must have one."""
    if names is None:
        names = np.arange(labels["y_train"].max() + 1).astype(str)
        unseen = np.setdiff1d(np.arange(len(names)), labels["y_train"])
        if unseen.size:
            raise DataError(
                f"{path}: y_train must hold every class from 0 to {len(names) - 1}, "
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
