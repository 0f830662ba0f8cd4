"""Losses of single examples, from every kind of loss."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.src.backend import set_keras_mask

from resprune_tf.criteria.example_loss import example_loss, loss_details
from resprune_tf.graph.outputs import loss_name
from tests.made.foreign_nets import squared

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(4, 5)).astype("float32")
LABELS = np.array([0, 4, 2, 2], "int32")
PIXELS = RNG.integers(0, 5, (4, 2, 3)).astype("int32")
MAPS = RNG.normal(size=(4, 2, 3, 5)).astype("float32")


def cross_entropy(labels, logits):
    """Cross entropy in float64 over the last axis."""
    logits = logits.astype("float64")
    chosen = np.take_along_axis(logits, labels[..., None], -1)[..., 0]
    return np.log(np.exp(logits).sum(axis=-1)) - chosen


def found(loss, labels, outputs):
    return ops.convert_to_numpy(example_loss(loss)(labels, outputs))


def test_the_default_is_the_cross_entropy_of_logits():
    expected = cross_entropy(LABELS, LOGITS)
    np.testing.assert_allclose(found(None, LABELS, LOGITS), expected, rtol=1e-5)
    rows = np.eye(5, dtype="float32")[LABELS]
    np.testing.assert_allclose(found(None, rows, LOGITS), expected, rtol=1e-5)


def test_an_example_has_the_mean_over_its_places():
    expected = cross_entropy(PIXELS, MAPS).mean(axis=(1, 2))
    np.testing.assert_allclose(found(None, PIXELS, MAPS), expected, rtol=1e-5)
    whole = found(squared, MAPS, MAPS + 2)
    np.testing.assert_allclose(whole, np.full(4, 4.0), rtol=1e-5)


@pytest.mark.parametrize(
    "loss",
    ["mse", "Huber", keras.losses.MeanAbsoluteError(), keras.losses.LogCosh(), squared],
)
def test_the_mean_over_examples_is_what_keras_reports(loss):
    labels = RNG.normal(size=(4, 2, 3))
    outputs = RNG.normal(size=(4, 2, 3)).astype("float32")
    model = keras.Sequential([keras.Input((2, 3)), layers.Identity()])
    model.compile(loss=loss, run_eagerly=True)
    expected = model.evaluate(outputs, labels, verbose=0)
    assert found(loss, labels, outputs).mean() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("outputs", [MAPS, MAPS.astype("float16")])
def test_masked_places_do_not_count(outputs):
    mask = np.array([[1, 1], [1, 0], [0, 1], [0, 0]], bool)
    masked = ops.convert_to_tensor(outputs)
    set_keras_mask(masked, ops.convert_to_tensor(mask))
    values = cross_entropy(PIXELS, outputs).mean(axis=2)
    expected = (values * mask).sum(axis=1) / np.maximum(mask.sum(axis=1), 1)
    np.testing.assert_allclose(found(None, PIXELS, masked), expected, rtol=1e-2)
    with pytest.raises(ValueError, match="a value for each position"):
        found(lambda y, p: ops.mean(p, axis=(1, 2, 3)), PIXELS, masked)


def test_refuses_a_loss_that_is_a_mean_already():
    with pytest.raises(ValueError, match="each example, not their mean"):
        found(lambda y, p: ops.mean(ops.square(y - p)), LOGITS, LOGITS)
    with pytest.raises(ValueError, match=r"of shape \(5,\) for outputs"):
        found(lambda y, p: ops.mean(ops.square(y - p), axis=0), LOGITS, LOGITS)


def test_refuses_unknown_losses():
    with pytest.raises(ValueError, match="not interpret loss identifier: sizes"):
        example_loss("sizes")


def test_a_loss_is_named():
    assert loss_details(None) == []
    assert loss_name() == "cross entropy of logits"
    assert loss_details("mse") == ["loss mse"]
    assert loss_details(squared) == ["loss squared"]
    assert loss_details(keras.losses.Huber()) == ["loss huber_loss"]
