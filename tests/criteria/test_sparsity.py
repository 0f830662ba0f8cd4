"""Factors under an L1 penalty: the steps, exactly."""

import keras
import numpy as np
import pytest
from keras import layers

from resprune_tf.criteria.sparsity import l1_importance
from tests.made.foreign_nets import squared

X = np.linspace(-1, 1, 8, dtype="float32")[:, None]
SLOPES = {"first": 0.5, "second": 0.0, "third": -0.2}


def line():
    """x · 1.5 · 1 · 0.8 in three units, each a straight line."""
    x = image = keras.Input((1,))
    for name in SLOPES:
        branch = layers.Dense(1, use_bias=False, name=f"{name}_dense")(x)
        x = layers.Add(name=f"{name}_add")([x, branch])
    net = keras.Model(image, x, name="line")
    for name, slope in SLOPES.items():
        net.get_layer(f"{name}_dense").kernel.assign([[slope]])
    return net


def steps_by_hand(labels, count, l1, rate):
    """Proximal gradient steps for the mean square, in float64."""
    slopes = np.array(list(SLOPES.values()))
    factors = np.ones(3)
    for _ in range(count):
        parts = 1 + factors * slopes
        total = parts.prod()
        error = np.mean(2 * (total * X - labels) * X)
        factors = factors - rate * error * slopes * total / parts
        factors = np.sign(factors) * np.maximum(np.abs(factors) - rate * l1, 0)
    return np.abs(factors)


@pytest.mark.parametrize("loss", ["mse", squared])
def test_the_steps_are_proximal_gradient_steps(loss):
    labels = 2 * X
    options = {"l1": 0.05, "learning_rate": 0.4, "steps": 30}
    scores = l1_importance(X, labels, loss=loss, **options)(line())
    expected = steps_by_hand(labels, 30, 0.05, 0.4)
    assert list(scores.values()) == pytest.approx(list(expected), abs=1e-5)


def test_a_unit_without_influence_reaches_zero_and_stays():
    rate = {"l1": 0.125, "learning_rate": 0.25}  # 1/32 a step, exact in float32
    for steps, expected in ((31, 1 / 32), (32, 0.0), (40, 0.0)):
        scores = l1_importance(X, X, loss="mse", steps=steps, **rate)(line())
        assert scores["second"] == expected


@pytest.mark.usefixtures("eagerly")
def test_nothing_but_the_seed_is_random():
    def scores(seed):
        criterion = l1_importance(X, X, batch_size=3, loss="mse", steps=5, seed=seed)
        return criterion(line())

    assert scores(1) == scores(1)
    assert scores(1) != scores(2)


@pytest.mark.usefixtures("eagerly")
def test_the_net_is_only_read():
    net = line()
    before = net.get_weights()
    l1_importance(X, 2 * X, loss="mse", steps=3)(net)
    assert net.get_weights() == before
    assert all(layer.trainable for layer in net.layers)


def test_its_name_says_what_sets_it_apart():
    criterion = l1_importance(X, X, loss="mse", l1=0.5, steps=3, seed=4)
    assert criterion.__name__ == (
        "l1_importance(8 images, loss mse, l1 0.5, learning rate 0.1, 3 steps, seed 4)"
    )


@pytest.mark.usefixtures("eagerly")
def test_refuses_a_rate_that_diverges():
    criterion = l1_importance(X, 2 * X, loss="mse", learning_rate=1e6, steps=60)
    with pytest.raises(ValueError, match=r"at learning_rate=1e\+06. Try a smaller"):
        criterion(line())


@pytest.mark.parametrize("option", [{"l1": -1}, {"learning_rate": 0}, {"steps": 0}])
def test_refuses_numbers_out_of_range(option):
    with pytest.raises(ValueError, match="`steps` >= 1. Received"):
        l1_importance(X, X, **option)
