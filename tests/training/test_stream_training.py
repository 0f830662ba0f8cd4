"""Training on images that are read from disk: as a plain fit, and inside an epoch."""

import math

import keras
import numpy as np
import pytest

from resprune_tf import Recipe, RunInterrupted
from resprune_tf.data.imagenet_files import load_imagenet
from resprune_tf.runs import callbacks
from resprune_tf.runs.callbacks import Checkpoint, StopCheck
from resprune_tf.runs.checkpoint import load_state
from resprune_tf.training.trainer import Trainer, evaluate
from tests.conftest import outputs
from tests.made.imagenet import prepare, write_archives

pytestmark = pytest.mark.slow

# 34 training images: 8 steps an epoch, in two parts.
RECIPE = Recipe(epochs=2, batch_size=4, learning_rate=0.01, parts=2)
SEED = 5


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imagenet")
    write_archives(folder / "manual")
    prepare(folder / "manual", folder / "tfds", shards=3)
    return load_imagenet(folder, validation_examples=6)


def net():
    """Small, but for images of 224 pixels and a thousand classes."""
    layers = keras.layers
    keras.utils.set_random_seed(1)
    image = keras.Input((224, 224, 3))
    x = layers.Rescaling(1 / 64, -1.5)(image)
    x = layers.Conv2D(4, 16, 16, use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.5)(x))
    return keras.Model(image, layers.Dense(1000)(layers.GlobalMaxPooling2D()(x)))


def trained(dataset, done=0, state=None, **arguments):
    trainer = Trainer(net(), dataset, RECIPE, SEED)
    if state:
        load_state(state, trainer.model)
    trainer.fit(done, **arguments)
    return trainer.core


@pytest.fixture(scope="module")
def straight(dataset):
    """The weights after a training without a break."""
    return trained(dataset).weights


def test_training_is_that_of_a_plain_fit(dataset, straight):
    model = net()
    model.compile(
        RECIPE.optimizer(), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    stream = dataset.train.training(4, SEED, steps_per_epoch=8).as_numpy_iterator()
    for epoch in range(2):
        model.optimizer.learning_rate = RECIPE.learning_rate_at(epoch)
        for _ in range(8):
            model.train_on_batch(*next(stream))
    for a, b in zip(straight, model.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=a.path)


def test_a_training_continues_inside_an_epoch(dataset, straight, tmp_path, monkeypatch):
    """Stopped in the third part of four: not a bit of difference."""
    monkeypatch.setattr(callbacks, "SAVING_SHARE", math.inf)
    state, history = tmp_path / "state.npz", []
    asked = iter([None] * 12 + ["enough"])
    stop = StopCheck(lambda: next(asked))
    with pytest.raises(RunInterrupted):
        saver = Checkpoint(state, {"round": 0}, history, stop, parts=2)
        trained(dataset, callbacks=[saver])
    assert [line["epoch"] for line in history] == [0.5, 1]
    continued = trained(dataset, len(history), state)
    for a, b in zip(straight, continued.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_evaluation_counts_every_image_once(dataset):
    model = net()
    images, labels = (
        np.concatenate(parts) for parts in zip(*dataset.test.batches(5), strict=True)
    )
    loss, accuracy = evaluate(model, dataset.test, batch_size=5)
    logits = outputs(model, images)
    assert accuracy == np.mean(logits.argmax(1) == labels)
    expected = keras.losses.sparse_categorical_crossentropy(
        labels, logits, from_logits=True
    )
    assert loss == pytest.approx(float(np.mean(expected)), rel=1e-5)
    assert evaluate(model, dataset.test) == pytest.approx((loss, accuracy), rel=1e-5)
