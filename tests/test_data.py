"""Readers against files whose every byte the test wrote, and the real CIFAR-10."""

import os
import sys
from unittest import mock

import numpy as np
import pytest

from resprune_tf.data import DataError, Dataset, Split, load_dataset

LAYOUT = {  # folder, training files, test file, {names file: number of names}
    "cifar10": (
        "cifar-10-batches-bin",
        [f"data_batch_{batch}.bin" for batch in range(1, 6)],
        "test_batch.bin",
        {"batches.meta.txt": 10},
    ),
    "cifar100": (
        "cifar-100-binary",
        ["train.bin"],
        "test.bin",
        {"fine_label_names.txt": 100, "coarse_label_names.txt": 20},
    ),
}
NAMES = list(LAYOUT)


def write_binary(root, name):
    """A tiny data set of random pixels: 100 images for training, 20 for testing.

    Returns:
        the images and labels of the training and the test split.
    """
    folder, train_files, test_file, names_files = LAYOUT[name]
    folder = root / folder
    folder.mkdir()
    for file, count in names_files.items():
        (folder / file).write_text("".join(f"{file[0]}{i}\n" for i in range(count)))
    rng = np.random.default_rng(NAMES.index(name))
    splits = []
    for files, count in ((train_files, 100), ([test_file], 20)):
        images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        labels = rng.permutation(np.arange(count, dtype=np.int32) % 10)
        labels *= 11 if name == "cifar100" else 1  # up to class 99
        columns = (
            [labels[:, None]]
            if name == "cifar10"
            else [
                labels[:, None] // 5,
                labels[:, None],
            ]
        )
        planes = [images[..., channel].reshape(count, -1) for channel in range(3)]
        rows = np.concatenate([*columns, *planes], axis=1).astype(np.uint8)
        for file, part in zip(files, np.split(rows, len(files)), strict=True):
            part.tofile(folder / file)
        splits += [images, labels]
    return splits


def rows_of(*splits):
    """The set of (pixels, label) of splits."""
    return {
        (image.tobytes(), int(label))
        for split in splits
        for image, label in zip(split.images, split.labels, strict=True)
    }


def assert_equal(one, other):
    """Two data sets hold the same images in the same order."""
    for split in ("train", "validation", "test"):
        a, b = getattr(one, split), getattr(other, split)
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.labels, b.labels)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with both layouts of both tiny sets; tfds's own builders made theirs."""
    tfds = pytest.importorskip("tensorflow_datasets")
    root = tmp_path_factory.mktemp("data")
    for name in NAMES:
        write_binary(root, name)
        with mock.patch.object(
            tfds.download.DownloadManager,
            "download_and_extract",
            return_value=str(root),
        ):
            tfds.builder(name, data_dir=root / "tfds").download_and_prepare()
    return root


# --- The binary files -----------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("inside", [True, False])
def test_binary_holds_every_pixel(tmp_path, name, inside):
    x_train, y_train, x_test, y_test = write_binary(tmp_path, name)
    folder = tmp_path / LAYOUT[name][0] if inside else tmp_path
    dataset = load_dataset(name, folder, source="binary")
    assert isinstance(dataset, Dataset)
    assert rows_of(dataset.train, dataset.validation) == rows_of(
        Split(x_train, y_train)
    )
    np.testing.assert_array_equal(dataset.test.images, x_test)
    np.testing.assert_array_equal(dataset.test.labels, y_test)
    for split in (dataset.train, dataset.validation, dataset.test):
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)
        assert split.images.flags["C_CONTIGUOUS"]
    assert dataset.image_shape == (32, 32, 3)
    assert dataset.num_classes == (10 if name == "cifar10" else 100)
    assert dataset.class_names[:2] == (
        ("b0", "b1") if name == "cifar10" else ("f0", "f1")
    )
    assert (dataset.flip, dataset.crop_padding) == (True, 4)
    assert dataset.source == LAYOUT[name][0]


def test_binary_stores_red_green_and_blue_planes(tmp_path):
    write_binary(tmp_path, "cifar10")
    red, green, blue = np.arange(1024) % 251, np.full(1024, 7), np.arange(1024) // 32
    record = np.concatenate([[3], red, green, blue]).astype(np.uint8)
    record.tofile(tmp_path / "cifar-10-batches-bin/test_batch.bin")
    test = load_dataset("cifar10", tmp_path, "binary").test
    assert test.labels.tolist() == [3]
    assert test.images[0, 0, 5].tolist() == [5, 7, 0]  # row 0, column 5
    assert test.images[0, 2, 1].tolist() == [65, 7, 2]  # pixel 2 * 32 + 1 of a plane


def test_published_statistics_are_used(tmp_path):
    for name, mean, std in (
        ("cifar10", (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)),
        ("cifar100", (129.3, 124.1, 112.4), (68.2, 65.4, 70.4)),
    ):
        write_binary(tmp_path, name)
        dataset = load_dataset(name, tmp_path, "binary")
        assert (dataset.mean, dataset.std) == (mean, std)


@pytest.mark.parametrize(("name", "record"), [("cifar10", 3073), ("cifar100", 3074)])
@pytest.mark.parametrize("kept", [0, 5000])
def test_truncated_binary_file(tmp_path, name, record, kept):
    write_binary(tmp_path, name)
    path = tmp_path / LAYOUT[name][0] / LAYOUT[name][2]
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(
        DataError,
        match=rf"{path.name} is truncated: found {kept} bytes, .*multiple of {record} ",
    ):
        load_dataset(name, tmp_path)


def test_incomplete_or_foreign_binary_folder(tmp_path):
    write_binary(tmp_path, "cifar10")
    folder = tmp_path / "cifar-10-batches-bin"
    np.full(3073, 10, np.uint8).tofile(folder / "data_batch_4.bin")
    with pytest.raises(DataError, match=r"found label 10, expected 0 to 9"):
        load_dataset("cifar10", tmp_path)
    (folder / "data_batch_4.bin").unlink()
    with pytest.raises(DataError, match=r"lacks data_batch_4.bin of cifar10\. Unpack"):
        load_dataset("cifar10", tmp_path)
    (folder / "data_batch_4.bin").touch()
    (folder / "batches.meta.txt").write_text("cat\ndog\n")
    with pytest.raises(DataError, match=r"must name 10 classes\. Found: 2"):
        load_dataset("cifar10", tmp_path)


# --- TensorFlow Datasets --------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_tfds_holds_what_the_binary_files_hold(prepared, name):
    binary = load_dataset(name, prepared, source="binary")
    outer = load_dataset(name, prepared)
    assert outer.source == f"tensorflow_datasets {name}/3.0.2"
    assert rows_of(outer.train, outer.validation) == rows_of(
        binary.train, binary.validation
    )
    assert rows_of(outer.test) == rows_of(binary.test)
    assert outer.class_names == binary.class_names
    assert outer.test.images.dtype == np.uint8
    assert outer.test.labels.dtype == np.int32
    assert_equal(outer, load_dataset(name, prepared / "tfds", source="tfds"))


def test_tfds_downloads_only_when_asked(prepared, tmp_path):
    import tensorflow_datasets as tfds

    with mock.patch.object(
        tfds.download.DownloadManager,
        "download_and_extract",
        return_value=str(prepared),
    ) as download:
        with pytest.raises(DataError, match="not found"):
            load_dataset("cifar10", tmp_path)
        # A folder without a finished data set, as an interrupted run leaves it.
        (tmp_path / "cifar10/3.0.2").mkdir(parents=True)
        with pytest.raises(DataError, match=r"tfds: not prepared in .*3\.0\.2"):
            load_dataset("cifar10", tmp_path)
        assert not download.called
        (tmp_path / "cifar10/3.0.2").rmdir()
        made = load_dataset("cifar10", tmp_path, source="tfds")
        assert download.called
        (tmp_path / "offline").mkdir()
        download.side_effect = ConnectionError("no network")
        with pytest.raises(DataError, match=r"cannot be downloaded: .*no network"):
            load_dataset("cifar10", tmp_path / "offline", source="tfds")
    assert_equal(made, load_dataset("cifar10", prepared))


def test_auto_reads_binary_files_without_tfds(prepared, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    assert load_dataset("cifar10", prepared).source == "cifar-10-batches-bin"
    with pytest.raises(DataError, match="tensorflow_datasets cannot be imported"):
        load_dataset("cifar10", prepared, source="tfds")


def test_missing_data_says_what_was_tried_and_how_to_fetch_it(tmp_path):
    with pytest.raises(DataError) as caught:
        load_dataset("cifar100", tmp_path)
    message = str(caught.value)
    for part in (
        "cifar100 was not found. Tried:",
        f"tfds: no folder {tmp_path / 'cifar100'} and no folder {tmp_path / 'tfds'}",
        f"binary: no train.bin in {tmp_path} and {tmp_path / 'cifar-100-binary'}",
        "import tensorflow_datasets as tfds; "
        f"tfds.load('cifar100', data_dir='{tmp_path}')",
        f"tar -xzf cifar-100-binary.tar.gz -C '{tmp_path}'",
        f"pass data_dir='{tmp_path}'",
    ):
        assert part in message
    with pytest.raises(DataError, match=r"Tried:\n  binary: needs data_dir\nTo fetch"):
        load_dataset("cifar10", source="binary")


# --- Held-out splits and subsets ------------------------------------------------------


def test_validation_is_held_out(tmp_path):
    write_binary(tmp_path, "cifar10")
    dataset = load_dataset("cifar10", tmp_path)
    assert [len(s) for s in (dataset.train, dataset.validation, dataset.test)] == [
        90,
        10,
        20,
    ]
    assert not rows_of(dataset.train) & rows_of(dataset.validation)
    assert len(rows_of(dataset.train, dataset.validation)) == 100
    # Stratified: 10 images of each class, one of which is held out.
    assert np.bincount(dataset.validation.labels).tolist() == [1] * 10
    assert np.bincount(dataset.train.labels).tolist() == [9] * 10


def test_seed_fixes_splits_and_subsets(tmp_path):
    write_binary(tmp_path, "cifar10")
    sizes = dict(validation_examples=20, train_examples=30, test_examples=10)
    first, same, other = (
        load_dataset("cifar10", tmp_path, seed=seed, **sizes) for seed in (1, 1, 2)
    )
    assert [len(s) for s in (first.train, first.validation, first.test)] == [30, 20, 10]
    assert_equal(first, same)
    for split in ("train", "validation", "test"):
        assert rows_of(getattr(first, split)) != rows_of(getattr(other, split))
        assert set(np.bincount(getattr(first, split).labels)) == {
            len(getattr(first, split)) // 10
        }
    assert not rows_of(first.train) & rows_of(first.validation)


def test_smaller_subsets_are_part_of_larger_ones(tmp_path):
    write_binary(tmp_path, "cifar10")

    def load(**sizes):
        return load_dataset("cifar10", tmp_path, **sizes)

    whole = load()
    parts = [load(train_examples=n, test_examples=n) for n in (3, 15)]
    assert rows_of(parts[0].train) < rows_of(parts[1].train) < rows_of(whole.train)
    assert rows_of(parts[0].test) < rows_of(parts[1].test) < rows_of(whole.test)
    # A subset of the training images leaves the validation images alone.
    assert rows_of(parts[0].validation) == rows_of(whole.validation)


@pytest.mark.parametrize(
    ("argument", "most"),
    [("validation_examples", 99), ("train_examples", 90), ("test_examples", 20)],
)
def test_impossible_sizes(tmp_path, argument, most):
    write_binary(tmp_path, "cifar10")
    for count in (0, -1, most + 1):
        with pytest.raises(
            ValueError, match=rf"must be 1 to {most}: .* Received: {argument}={count}\."
        ):
            load_dataset("cifar10", tmp_path, **{argument: count})
    load_dataset("cifar10", tmp_path, **{argument: most})


def test_arguments(tmp_path):
    with pytest.raises(ValueError, match=r"digits, cifar10, cifar100.*name='mnist'"):
        load_dataset("mnist")
    with pytest.raises(DataError, match=r"no folder data_dir='.*nowhere'"):
        load_dataset("cifar10", tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"'auto', 'tfds' or 'binary'.*'web'"):
        load_dataset("cifar10", tmp_path, source="web")
    with pytest.raises(ValueError, match="source='binary' for digits"):
        load_dataset("digits", source="binary")


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
        ({"x_test": None}, r"lacks x_test\. It holds x_train, y_test, y_train\."),
        ({"x_validation": np.zeros(1)}, r"lacks y_validation\."),
        ({"x_train": np.zeros((30, 5, 4, 2))}, r"x_train .*Found: float64 \[30, 5"),
        ({"x_test": np.zeros((6, 20), np.uint8)}, r"x_test .*Found: uint8 \[6, 20\]"),
        ({"x_test": np.zeros((0, 5, 4, 2), np.uint8)}, r"x_test .*\[0, 5, 4, 2\]"),
        ({"x_test": np.zeros((6, 5, 5, 2), np.uint8)}, r"shape.*x_test \[6, 5, 5, 2\]"),
        ({"y_test": np.zeros(6)}, r"y_test must be integer.*float64 \[6\]"),
        ({"y_test": np.zeros((6, 2), int)}, r"y_test must be integer.*\[6, 2\]"),
        ({"y_test": np.zeros(5, int)}, r"one length\. Found: 6 images, 5 labels"),
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


# --- The real CIFAR-10 ----------------------------------------------------------------


@pytest.fixture(scope="module")
def real():
    """CIFAR-10 by both readers."""
    folder = os.environ.get("RESPRUNE_TEST_DATA_DIR")
    if not folder:
        pytest.skip(
            "RESPRUNE_TEST_DATA_DIR is not set: a folder with the real CIFAR-10 in "
            "cifar-10-batches-bin/ and tfds/"
        )
    return [load_dataset("cifar10", folder, source) for source in ("binary", "auto")]


def test_real_cifar10_facts(real):
    for dataset in real:
        splits = (dataset.train, dataset.validation, dataset.test)
        assert [len(split) for split in splits] == [45_000, 5_000, 10_000]
        for split in splits:
            assert np.bincount(split.labels).tolist() == [len(split) // 10] * 10
        assert not rows_of(dataset.train) & rows_of(dataset.validation)
        names = "airplane automobile bird cat deer dog frog horse ship truck"
        assert dataset.class_names == tuple(names.split())


def test_real_cifar10_statistics(real):
    for dataset in real:
        images = np.concatenate([dataset.train.images, dataset.validation.images])
        for channel, (mean, std) in enumerate(
            zip(dataset.mean, dataset.std, strict=True)
        ):
            pixels = images[..., channel]
            assert pixels.mean() == pytest.approx(mean, abs=0.1)
            assert pixels.std() == pytest.approx(std, abs=0.1)


def test_real_cifar10_is_the_same_in_both_layouts(real):
    binary, tfds = real
    assert tfds.source == "tensorflow_datasets cifar10/3.0.2"
    assert rows_of(binary.test) == rows_of(tfds.test)
    whole = rows_of(binary.train, binary.validation)
    assert whole == rows_of(tfds.train, tfds.validation)
