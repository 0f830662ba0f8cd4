"""Streams of images: order, resumption, shares; and ImageNet through tfds."""

import dataclasses
import os
import pathlib
import types

import numpy as np
import pytest
import tensorflow as tf

from resprune_tf.data import imagenet_augment, imagenet_files
from resprune_tf.data.imagenet_files import load_imagenet
from resprune_tf.data.readers import DataError
from resprune_tf.data.shards import Shard, read_records, record_range, shuffled_group
from tests.made.imagenet import SYNSETS, TEST, TRAIN, prepare, write_archives

pytestmark = pytest.mark.slow

SHARDS = (Shard("a", 5, 10), Shard("b", 0, 4), Shard("c", 2, 6))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Made-up archives, and what tfds prepared from them in five files a split."""
    folder = tmp_path_factory.mktemp("imagenet")
    write_archives(folder / "manual")
    prepare(folder / "manual", folder / "tfds", shards=5)
    return folder


@pytest.fixture
def dataset(folder):
    return load_imagenet(folder, validation_examples=6)


@pytest.fixture
def train(dataset):
    """34 images, in groups of about two shards."""
    return dataclasses.replace(dataset.train, shuffled=14)


def file_names(split):
    """The official file name of every image, in the order of the split."""
    columns = zip(*split.shards, strict=True)
    key = {"file_name": tf.io.FixedLenFeature([], tf.string)}
    return [
        tf.io.parse_single_example(record, key)["file_name"].numpy().decode()
        for record in read_records(*columns)
    ]


def steps(split, count, batch_size=8, seed=3, steps_per_epoch=4, **kwargs):
    """The first batches, as arrays."""
    data = split.training(batch_size, seed, steps_per_epoch, **kwargs)
    return list(data.take(count).as_numpy_iterator())


def assert_same(one, other):
    assert len(one) == len(other)
    for (images, labels), (same_images, same_labels) in zip(one, other, strict=True):
        np.testing.assert_array_equal(labels, same_labels)
        np.testing.assert_array_equal(images, same_images)


def test_record_range():
    numbers = [(s.path, i) for s in SHARDS for i in range(s.first, s.first + s.count)]
    for start in range(20):
        for count in range(21 - start):
            part = record_range(SHARDS, start, count)
            found = [(s.path, i) for s in part for i in range(s.first, s[1] + s[2])]
            assert found == numbers[start : start + count]
            assert all(shard.count for shard in part)


def test_groups_of_an_epoch_are_a_permutation():
    seen = set()
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        groups = [shuffled_group(SHARDS, seed, epoch, first, 2) for first in (0, 2)]
        assert sorted(path for group in groups for path in group[0]) == [
            b"a",
            b"b",
            b"c",
        ]
        for _, _, counts, order, places in groups:
            assert sorted(order) == list(range(counts.sum())) and len(places) == len(
                order
            )
        places = np.concatenate([group[-1] for group in groups])
        np.testing.assert_array_equal(places, np.arange(20))
        seen.add(tuple(np.concatenate([group[3] for group in groups])))
    assert len(seen) == 3


def test_batches_are_the_test_images_in_order(dataset):
    batches = list(dataset.test.batches(5))
    assert [len(labels) for _, labels in batches] == [5, 5, 2]
    columns = zip(*dataset.test.shards, strict=True)
    features = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert images.dtype == np.float32 and labels.dtype == np.int32
    assert images.shape == (TEST, *dataset.image_shape) == (TEST, 224, 224, 3)
    for record, image, label in zip(
        read_records(*columns), images, labels, strict=True
    ):
        parts = tf.io.parse_single_example(record, features)
        assert parts["label"] == label
        np.testing.assert_array_equal(
            image, imagenet_augment.test_image(parts["image"])
        )


def test_sample_is_a_range_of_the_images(dataset):
    images, labels = zip(*dataset.train.batches(100), strict=True)
    whole = np.clip(np.rint(images[0]), 0, 255).astype(np.uint8)
    starts = set()
    for seed in range(6):
        sample = dataset.train.sample(10, seed)
        assert sample.images.dtype == np.uint8 and len(sample) == 10
        (start,) = [
            start
            for start in range(25)
            if np.array_equal(whole[start : start + 10], sample.images)
        ]
        np.testing.assert_array_equal(labels[0][start : start + 10], sample.labels)
        starts.add(start)
    assert len(starts) > 1
    np.testing.assert_array_equal(dataset.train.sample(99, 0).images, whole)
    assert len(dataset.train.sample(0, 0)) == 0


def test_training_goes_over_all_images_in_an_epoch(train):
    """17 batches of 2 are all 34 images, in another order each epoch."""
    batches = steps(train, 34, batch_size=2, steps_per_epoch=17)
    assert batches[0][0].dtype == np.float32 and batches[0][1].dtype == np.int32
    labels = [y for _, y in batches]
    epochs = np.concatenate(labels[:17]), np.concatenate(labels[17:])
    _, expected = next(train.batches(100))
    for epoch in epochs:
        np.testing.assert_array_equal(np.bincount(epoch), np.bincount(expected))
    assert (epochs[0] != epochs[1]).any()


def test_resumed_training_sees_the_same_batches(train):
    unbroken = steps(train, 10)  # of 4 steps an epoch: two images sit each out
    assert np.abs(unbroken[0][0] - unbroken[4][0]).max() > 1
    for first in (1, 4, 6, 9):
        tf.random.set_seed(first)  # plays no part
        assert_same(steps(train, 10 - first, first_step=first), unbroken[first:])
    other = steps(train, 1, seed=4)
    assert np.abs(other[0][0] - unbroken[0][0]).max() > 1


def test_pipelines_share_every_batch(train):
    whole = steps(train, 6)
    for replicas, pipelines in ((2, 1), (2, 2), (4, 2)):
        local = replicas // pipelines
        shares = [
            steps(train, 5 * local, replicas=replicas, pipelines=pipelines, **more)
            for pipeline in range(pipelines)
            for more in [{"pipeline": pipeline, "first_step": 1}]
        ]
        for step in range(5):
            images, labels = whole[step + 1]
            for pipeline, share in enumerate(shares):
                parts = share[step * local : (step + 1) * local]
                assert {len(y) for _, y in parts} == {8 // replicas}
                mine = slice(pipeline, None, pipelines)
                found = [np.concatenate(part) for part in zip(*parts, strict=True)]
                np.testing.assert_array_equal(found[0], images[mine])
                np.testing.assert_array_equal(found[1], labels[mine])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps_per_epoch": 5}, "1 to 34 images.*steps_per_epoch=5, batch_size=8"),
        ({"steps_per_epoch": 0}, "1 to 34 images.*steps_per_epoch=0"),
        ({"replicas": 3}, "a multiple of `pipelines`.*batch_size=8, replicas=3"),
        ({"replicas": 2, "pipelines": 4}, "replicas=2, pipelines=4"),
    ],
)
def test_impossible_training(train, changes, message):
    with pytest.raises(ValueError, match=message):
        steps(train, 1, **changes)


def test_splits(folder, dataset):
    assert dataset.sizes == {"train": TRAIN - 6, "validation": 6, "test": TEST}
    train, validation = file_names(dataset.train), file_names(dataset.validation)
    assert len({*train, *validation}) == TRAIN
    # tfds keeps images in random order, whatever the order of the archive.
    assert train + validation != sorted(train + validation)
    assert len(dataset.class_names) == 1000 and dataset.num_classes == 1000
    assert {*SYNSETS} <= {*dataset.class_names}
    (_, labels), *_ = dataset.train.batches(TRAIN)
    assert [dataset.class_names[label] for label in labels] == [
        name.split("_")[0] for name in train
    ]
    assert not dataset.flip and dataset.crop_padding == 0
    assert dataset.source == "tensorflow_datasets imagenet2012/5.1.0"

    smaller = load_imagenet(
        folder, validation_examples=6, train_examples=10, test_examples=5
    )
    assert file_names(smaller.train) == train[:10]
    assert file_names(smaller.validation) == validation
    assert file_names(smaller.test) == file_names(dataset.test)[:5]
    other = load_imagenet(folder / "tfds", validation_examples=6, seed=1)
    assert {*file_names(other.validation)} != {*validation}
    names = {d.fingerprint for d in (dataset, smaller, other)}
    assert len(names) == 3
    assert load_imagenet(folder, validation_examples=6).fingerprint in names


@pytest.mark.parametrize(
    ("argument", "most"),
    [("validation_examples", 39), ("train_examples", 34), ("test_examples", 12)],
)
def test_impossible_sizes(folder, argument, most):
    for count in (0, most + 1):
        sizes = {"validation_examples": 6, argument: count}
        with pytest.raises(ValueError, match=rf"must be 1 to {most}: .*={count}\."):
            load_imagenet(folder, **sizes)


def test_archives_are_prepared_when_needed(folder, tmp_path):
    first = load_imagenet(tmp_path, folder / "manual", validation_examples=6)
    again = load_imagenet(tmp_path, validation_examples=6)
    assert first.fingerprint == again.fingerprint
    assert {*file_names(first.train), *file_names(first.validation)} == {
        f"{synset}_{index}.JPEG" for synset in SYNSETS for index in range(10)
    }


def test_missing_data(folder, tmp_path):
    with pytest.raises(DataError) as error:
        load_imagenet(tmp_path)
    for part in (
        f"no folder {tmp_path}/imagenet2012/5.1.0",
        f"no folder {tmp_path}/tfds/imagenet2012/5.0.0",
        "manual_dir was not given",
        "https://image-net.org/data/ILSVRC/2012/ILSVRC2012_img_train.tar",
    ):
        assert part in str(error.value)
    with pytest.raises(DataError, match=f"ILSVRC2012_img_val.tar in {tmp_path}"):
        load_imagenet(tmp_path / "tfds", tmp_path)


def test_data_that_was_prepared_from_one_archive_only(folder, tmp_path):
    manual = tmp_path / "manual"
    manual.mkdir()
    name = "ILSVRC2012_img_val.tar"
    (manual / name).symlink_to(folder / "manual" / name)
    prepare(manual, tmp_path / "tfds", shards=1)
    with pytest.raises(DataError, match="without the train images"):
        load_imagenet(tmp_path, validation_examples=6)


def test_data_that_was_prepared_in_another_format():
    file_format = types.SimpleNamespace(file_suffix="array_record")
    info = types.SimpleNamespace(splits={"train": None}, file_format=file_format)
    builder = types.SimpleNamespace(info=info, data_path="here")
    with pytest.raises(DataError, match="here must contain TFRecord.*array_record"):
        imagenet_files._images(builder, "train")


def test_real_archives(tmp_path):
    """The official archives, or a part of them, where there are any."""
    root = os.environ.get("RESPRUNE_TEST_IMAGENET_DIR")
    if not root:
        pytest.skip("RESPRUNE_TEST_IMAGENET_DIR names no folder with manual/")
    data_dir = pathlib.Path(root)
    prepared = (data_dir / "tfds" / "imagenet2012").is_dir()
    dataset = load_imagenet(
        data_dir if prepared else tmp_path, data_dir / "manual", validation_examples=100
    )
    unbroken = steps(dataset.train, 4, batch_size=16, steps_per_epoch=3)
    resumed = steps(dataset.train, 2, batch_size=16, steps_per_epoch=3, first_step=2)
    assert_same(resumed, unbroken[2:])
    images, labels = next(dataset.test.batches(64))
    assert len({*labels}) > 32
    # About the mean colour of ImageNet, as a mean over few images is.
    assert np.abs(images.mean((0, 1, 2)) - dataset.mean).max() < 25
