"""The fast step against a plain Keras fit of the stock net over the same batches."""

import dataclasses
from unittest import mock

import keras
import numpy as np
import pytest

from resprune_tf import ImportanceScale, Recipe
from resprune_tf.training.resident import steps_per_dispatch
from resprune_tf.training.trainer import Trainer, epoch_order
from tests.conftest import randomise, toy_dataset

pytestmark = pytest.mark.slow

RECIPE = Recipe(epochs=3, batch_size=16, learning_rate=0.01)
SEED = 5


# Without augmentation, which a plain fit does not have.
DATASET = dataclasses.replace(toy_dataset(), flip=False, crop_padding=0)


def net():
    """With each kind of layer that is another one while it trains."""
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 1, 2, use_bias=False, name="strided")(image)
    x = layers.BatchNormalization(momentum=0.9, name="bn")(x)
    x = layers.ReLU()(x)
    branch = layers.Conv2D(4, 3, padding="same", name="conv")(x)
    x = layers.Add()([x, ImportanceScale(name="importance")(branch)])
    x = layers.Dense(3, name="logits")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    randomise(model)
    return model


def plain_fit(dataset):
    """Losses, accuracies and weights of `fit` as anybody would call it."""
    model = net()
    model.compile(
        RECIPE.optimizer(),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    split, history = dataset.train, []
    for epoch in range(RECIPE.epochs):
        model.optimizer.learning_rate = RECIPE.learning_rate_at(epoch)
        rows = np.ravel(epoch_order(len(split), RECIPE.batch_size, SEED, epoch))
        fitted = model.fit(
            split.images[rows].astype("float32"),
            split.labels[rows],
            batch_size=RECIPE.batch_size,
            shuffle=False,
            verbose=0,
        )
        history.append({name: values[0] for name, values in fitted.history.items()})
    return history, model.get_weights()


@pytest.fixture(scope="module")
def plain():
    return plain_fit(DATASET)


# 4 steps an epoch, so that of "at most 3 at a time" come 2.
@pytest.mark.parametrize("dispatch", [1, 3, 4])
def test_losses_accuracies_and_weights_are_those_of_a_plain_fit(plain, dispatch):
    history, calls = [], []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            calls.append(batch)

        def on_epoch_end(self, epoch, logs=None):
            history.append(logs)

    core = net()
    trainer = Trainer(core, DATASET, RECIPE, SEED, dispatch=dispatch)
    # What a plain fit does not do after its last epoch.
    with mock.patch("resprune_tf.training.trainer.refresh_statistics", return_value=0):
        trainer.fit(callbacks=[Watch()])
    assert len(calls) == {1: 12, 3: 6, 4: 3}[dispatch]
    for ours, theirs in zip(history, plain[0], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=2e-4)
        assert ours["accuracy"] == pytest.approx(theirs["accuracy"])
    rates = [RECIPE.learning_rate_at(epoch) for epoch in range(3)]
    assert [logs["learning_rate"] for logs in history] == pytest.approx(rates)
    for a, b in zip(core.get_weights(), plain[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-2, atol=2e-3)


def test_bfloat16_trains_the_same_net_a_little_differently(plain):
    core = net()
    recipe = RECIPE.replace(precision="bfloat16")
    history = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            history.append(logs["loss"])

    Trainer(core, DATASET, recipe, SEED).fit(callbacks=[Watch()])
    expected = [logs["loss"] for logs in plain[0]]
    assert history == pytest.approx(expected, rel=0.05) and history != expected
    assert {v.dtype for v in core.variables} == {"float32"}


def test_a_cpu_gets_one_step_at_a_time():
    assert steps_per_dispatch(390) == 1
