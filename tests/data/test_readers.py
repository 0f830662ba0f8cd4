"""The digits, and archives that the test wrote."""

import numpy as np
import pytest

from resprune_tf.data.dataset import Split
from resprune_tf.data.loading import load_dataset
from resprune_tf.data.readers import DataError
from tests.made.data import assert_equal, rows_of

# --- Digits ---------------------------------------------------------------------------


def test_digits():
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    dataset = load_dataset("digits")
    splits = (dataset.train, dataset.validation, dataset.test)
    assert [len(split) for split in splits] == [1077, 360, 360]
    assert (dataset.image_shape, dataset.num_classes) == ((8, 8, 1), 10)
    assert (dataset.flip, dataset.crop_padding) == (False, 1)
    assert dataset.class_names == tuple("0123456789")
    for split in splits:
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)
        assert (split.images.min(), split.images.max()) == (0, 255)
        # 174 to 183 images of each of the classes exist.
        shares = np.bincount(split.labels) / len(split)
        assert np.all(np.abs(shares - 0.1) < 0.005)
    original = sklearn_datasets.load_digits()
    grey = np.sort(original.images.ravel() * 255 / 16)
    ours = np.concatenate([split.images.ravel() for split in splits])
    assert np.abs(np.sort(ours) - grey).max() <= 0.5
    np.testing.assert_array_equal(
        np.bincount(np.concatenate([split.labels for split in splits])),
        np.bincount(original.target),
    )
    assert dataset.mean == pytest.approx([dataset.train.images.mean()])
    assert dataset.std == pytest.approx([dataset.train.images.std()])
    assert "1077" in repr(dataset.train)


def test_digits_keep_their_test_split():
    pytest.importorskip("sklearn")
    one, other = load_dataset("digits"), load_dataset("digits", seed=1)
    np.testing.assert_array_equal(one.test.images, other.test.images)
    assert rows_of(one.validation) != rows_of(other.validation)
    assert_equal(one, load_dataset("digits"))


# --- Archives -------------------------------------------------------------------------


def arrays(**changes):
    rng = np.random.default_rng(0)
    made = {
        "x_train": rng.integers(0, 256, (30, 5, 4, 2), dtype=np.uint8),
        "y_train": np.arange(30) % 3,
        "x_test": rng.integers(0, 256, (6, 5, 4, 2), dtype=np.uint8),
        "y_test": np.arange(6) % 3,
        **changes,
    }
    return {key: value for key, value in made.items() if value is not None}


def save(folder, **changes):
    path = folder / "mine.npz"
    np.savez(path, **arrays(**changes))
    return path


def test_npz(tmp_path):
    dataset = load_dataset(save(tmp_path))
    whole = arrays()
    assert (dataset.name, dataset.source) == ("mine", "mine.npz")
    assert [len(s) for s in (dataset.train, dataset.validation, dataset.test)] == [
        27,
        3,
        6,
    ]
    assert rows_of(dataset.train, dataset.validation) == rows_of(
        Split(whole["x_train"], whole["y_train"])
    )
    assert np.bincount(dataset.validation.labels).tolist() == [1, 1, 1]
    assert (dataset.image_shape, dataset.class_names) == ((5, 4, 2), ("0", "1", "2"))
    assert (dataset.flip, dataset.crop_padding) == (False, 0)
    assert dataset.test.labels.dtype == np.int32
    pixels = dataset.train.images.astype(float)
    np.testing.assert_allclose(dataset.mean, pixels.mean((0, 1, 2)))
    np.testing.assert_allclose(dataset.std, pixels.std((0, 1, 2)))


def test_npz_grey_images_column_labels_names_and_validation(tmp_path):
    x_train = np.full((30, 5, 4), 9, np.uint8)
    path = save(
        tmp_path,
        x_train=x_train,
        y_train=(np.arange(30, dtype=np.uint8) % 2)[:, None],
        x_test=np.zeros((6, 5, 4), np.uint8),
        x_validation=np.zeros((4, 5, 4), np.uint8),
        y_validation=np.array([0, 1, 2, 3]),
        class_names=np.array(["a", "b", "c", "never seen"]),
    )
    dataset = load_dataset(str(path))
    assert dataset.image_shape == (5, 4, 1)
    assert [len(s) for s in (dataset.train, dataset.validation, dataset.test)] == [
        30,
        4,
        6,
    ]
    assert dataset.class_names == ("a", "b", "c", "never seen")
    assert dataset.train.labels.shape == (30,)
    assert (dataset.mean, dataset.std) == ((9.0,), (1.0,))  # no division by 0
    assert len(load_dataset(path, validation_examples=2).validation) == 2
    with pytest.raises(ValueError, match=r"1 to 4: .*validation_examples=5"):
        load_dataset(path, validation_examples=5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": None}, r"lacks x_test\. It contains x_train, y_test, y_train\."),
        ({"x_validation": np.zeros(1)}, r"lacks y_validation\."),
        ({"x_train": np.zeros((30, 5, 4, 2))}, r"x_train .*Found: float64 \[30, 5"),
        ({"x_test": np.zeros((6, 20), np.uint8)}, r"x_test .*Found: uint8 \[6, 20\]"),
        ({"x_test": np.zeros((0, 5, 4, 2), np.uint8)}, r"x_test .*\[0, 5, 4, 2\]"),
        ({"x_test": np.zeros((6, 5, 5, 2), np.uint8)}, r"shape.*x_test \[6, 5, 5, 2\]"),
        ({"y_test": np.zeros(6)}, r"y_test must be integer.*float64 \[6\]"),
        ({"y_test": np.zeros((6, 2), int)}, r"y_test must be integer.*\[6, 2\]"),
        ({"y_test": np.zeros(5, int)}, r"same length\. Found: 6 images, 5 labels"),
        ({"y_test": np.full(6, 3)}, r"labels must be 0 to 2\. Found: 3 to 3 in y_test"),
        ({"y_test": np.full(6, -1)}, r"Found: -1 to -1 in y_test"),
        ({"y_train": np.arange(30) % 3 + 1}, r"Found no image of class 0"),
        ({"class_names": np.array(["a", "b"])}, r"0 to 1\. Found: 0 to 2 in y_train"),
        ({"class_names": np.arange(3)}, r"class_names must be strings.*int64 \[3\]"),
        ({"class_names": np.array(["a"], object)}, r"Cannot read .*mine\.npz: Object"),
    ],
)
def test_bad_npz(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        load_dataset(save(tmp_path, **changes))


def test_unreadable_npz(tmp_path):
    with pytest.raises(DataError, match=r"Cannot read .*mine\.npz: .*No such file"):
        load_dataset(tmp_path / "mine.npz")
    path = save(tmp_path)
    whole = path.read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"Cannot read .*mine\.npz"):
            load_dataset(path)
