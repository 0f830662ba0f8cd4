"""One-pass BatchNormalization against the stock layer."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resprune_tf.training.fast_copy import OnePassBatchNormalization
from tests.conftest import net_of, randomise
from tests.training.gradients import loss_and_gradients


def pair(shape, dtype="float32", **arguments):
    """A stock layer and ours, with the same random weights, each in a small net."""
    nets = []
    for kind in (keras.layers.BatchNormalization, OnePassBatchNormalization):
        flatten = keras.layers.Flatten(dtype="float32")
        layer = kind(momentum=0.8, epsilon=1e-4, dtype=dtype, name="bn", **arguments)
        nets.append(net_of(shape, layer, flatten))
        randomise(nets[-1])
    return nets


def values(variables):
    return [keras.ops.convert_to_numpy(v) for v in variables]


# JAX compiles each operation anew for each shape.
EXAMPLES = 12 if keras.backend.backend() == "tensorflow" else 5


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    shape=st.sampled_from([(5,), (7, 3), (4, 6, 3), (1, 1, 2), (2, 3, 4, 2)]),
    batch=st.integers(2, 6),
    center=st.booleans(),
    scale=st.booleans(),
    seed=st.integers(0, 99),
)
def test_outputs_gradients_and_statistics_are_the_stock_layers(
    shape, batch, center, scale, seed
):
    stock, ours = pair(shape, center=center, scale=scale)
    rng = np.random.default_rng(seed)
    images = rng.normal(0.5, 2, (batch, *shape)).astype("float32")
    labels = rng.integers(0, stock.output_shape[-1], batch)
    for training in (False, True):
        np.testing.assert_allclose(
            *(
                keras.ops.convert_to_numpy(m(images, training=training))
                for m in (stock, ours)
            ),
            rtol=1e-4,
            atol=1e-5,
        )
    for a, b in zip(stock.variables, ours.variables, strict=True):
        assert a.path == b.path
        np.testing.assert_allclose(*values([a, b]), rtol=1e-5, atol=1e-6)
    if center or scale:
        (loss, gradients), (other, others) = (
            loss_and_gradients(m, images, labels) for m in (stock, ours)
        )
        # As close as the outputs that it is of.
        assert loss == pytest.approx(other, rel=1e-4)
        for a, b in zip(gradients, others, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_statistics_stay_float32_in_bfloat16():
    stock, ours = pair((4, 4, 3), dtype="mixed_bfloat16")
    images = np.random.default_rng(0).normal(1, 1, (64, 4, 4, 3)).astype("float32")
    for model in (stock, ours):
        model(images, training=True)
    for a, b in zip(stock.variables, ours.variables, strict=True):
        assert b.dtype == "float32"
        np.testing.assert_allclose(*values([a, b]), rtol=1e-5, atol=1e-6)
    outputs = [m(images, training=True) for m in (stock, ours)]
    np.testing.assert_allclose(*values(outputs), rtol=0.02, atol=0.02)


def test_a_frozen_layer_uses_its_moving_statistics():
    _, ours = pair((4, 4, 3))
    ours.get_layer("bn").trainable = False
    before = values(ours.variables)
    images = np.random.default_rng(0).normal(3, 1, (8, 4, 4, 3)).astype("float32")
    training, inference = (ours(images, training=t) for t in (True, False))
    np.testing.assert_array_equal(*values([training, inference]))
    for a, b in zip(before, values(ours.variables), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_constant_channel_has_no_negative_variance():
    _, ours = pair((8, 8, 1))
    images = np.full((32, 8, 8, 1), 1000.1, "float32")
    ours(images, training=True)
    layer = ours.get_layer("bn")
    assert float(layer.moving_variance[0]) >= 0
    assert np.isfinite(values([ours(images, training=True)])[0]).all()
