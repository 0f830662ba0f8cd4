"""Held-out splits, subsets and statistics of data sets."""

import dataclasses

import numpy as np
import pytest

from resprune_tf.data.dataset import Split
from resprune_tf.data.loading import load_dataset
from resprune_tf.data.readers import DataError
from resprune_tf.data.registry import NAMES
from tests.made.data import assert_equal, rows_of, write_binary


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
    with pytest.raises(ValueError, match=rf"{', '.join(NAMES)}, or.*name='mnist'"):
        load_dataset("mnist")
    with pytest.raises(DataError, match=r"no folder '.*nowhere'"):
        load_dataset("cifar10", tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"'auto', 'tfds' or 'binary'.*'web'"):
        load_dataset("cifar10", tmp_path, source="web")
    with pytest.raises(ValueError, match="source='binary' for digits"):
        load_dataset("digits", source="binary")


def test_published_statistics_are_used(tmp_path):
    for name, mean, std in (
        ("cifar10", (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)),
        ("cifar100", (129.3, 124.1, 112.4), (68.2, 65.4, 70.4)),
    ):
        write_binary(tmp_path, name)
        dataset = load_dataset(name, tmp_path, "binary")
        assert (dataset.mean, dataset.std) == (mean, std)


def test_fingerprint_tells_data_apart():
    """A run is continued with the very images and labels that it began with."""
    dataset = load_dataset("digits")
    assert dataset.fingerprint == load_dataset("digits").fingerprint
    assert dataset.fingerprint != load_dataset("digits", seed=1).fingerprint
    labels = dataset.test.labels.copy()
    labels[-1] = (labels[-1] + 1) % 10
    test = Split(dataset.test.images, labels)
    changed = dataclasses.replace(dataset, test=test)
    assert changed.fingerprint != dataset.fingerprint


def test_batches_of_a_split():
    split = load_dataset("digits").test
    batches = list(split.batches(100))
    assert [len(labels) for _, labels in batches] == [100, 100, 100, 60]
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert images.dtype == np.float32 and labels.dtype == np.int32
    np.testing.assert_array_equal(images, split.images)
    np.testing.assert_array_equal(labels, split.labels)


def test_sample_of_a_split():
    split = load_dataset("digits").train
    assert split.image_shape == (8, 8, 1)
    first, again, other = (split.sample(50, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.images, again.images)
    assert rows_of(first) < rows_of(split) and rows_of(first) != rows_of(other)
    # The choice that records name "512 images, seed 0", in the order of the split.
    chosen = np.sort(np.random.default_rng(0).permutation(len(split))[:50])
    np.testing.assert_array_equal(first.images, split.images[chosen])
    np.testing.assert_array_equal(first.labels, split.labels[chosen])
    np.testing.assert_array_equal(split.sample(10**6, 0).images, split.images)
    assert len(split.sample(0, 0)) == 0
