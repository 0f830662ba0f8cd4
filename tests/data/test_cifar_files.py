"""CIFAR against files whose every byte the test wrote, and the real CIFAR-10."""

import os
import sys
from unittest import mock

import numpy as np
import pytest

from resprune_tf.data.dataset import Dataset, Split
from resprune_tf.data.loading import load_dataset
from resprune_tf.data.readers import DataError
from tests.made.data import LAYOUT, NAMES, assert_equal, rows_of, write_binary

pytestmark = pytest.mark.slow


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
    """Of one reader, as the other reads the same images."""
    dataset, other = real
    assert (dataset.mean, dataset.std) == (other.mean, other.std)
    images = np.concatenate([dataset.train.images, dataset.validation.images])
    for channel, (mean, std) in enumerate(zip(dataset.mean, dataset.std, strict=True)):
        pixels = images[..., channel]
        assert pixels.mean() == pytest.approx(mean, abs=0.1)
        assert pixels.std() == pytest.approx(std, abs=0.1)


def test_real_cifar10_is_the_same_in_both_layouts(real):
    binary, tfds = real
    assert tfds.source == "tensorflow_datasets cifar10/3.0.2"
    assert rows_of(binary.test) == rows_of(tfds.test)
    whole = rows_of(binary.train, binary.validation)
    assert whole == rows_of(tfds.train, tfds.validation)
