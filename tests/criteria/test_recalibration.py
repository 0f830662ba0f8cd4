"""Recalibration: the statistics of the images, exactly; nothing else changes."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

from resprune_tf.criteria.recalibration import Recalibration, recalibrate
from resprune_tf.units.removal import remove_units
from tests.conftest import images_of, net_of, outputs, small_net
from tests.made.foreign_nets import flat

pytestmark = pytest.mark.slow

BN = layers.BatchNormalization


def values(model):
    return [ops.convert_to_numpy(v.value).copy() for v in model.variables]


def statistics(layer):
    return [
        ops.convert_to_numpy(v.value)
        for v in (layer.moving_mean, layer.moving_variance)
    ]


def assert_statistics(layer, inputs, rtol=1e-5):
    """That a layer holds the float64 mean and variance of its inputs."""
    inputs = np.asarray(inputs, "float64")
    axes = tuple(range(inputs.ndim - 1))
    mean, variance = statistics(layer)
    np.testing.assert_allclose(variance, inputs.var(axis=axes), rtol=rtol)
    deviation = np.sqrt(inputs.var(axis=axes)).max()
    np.testing.assert_allclose(mean, inputs.mean(axis=axes), atol=rtol * deviation)


def inputs_of(model, name, images):
    """What a layer of the model takes in at inference."""
    return outputs(keras.Model(model.input, model.get_layer(name).input), images)


@pytest.mark.parametrize("activation", ["pre", "post"])
def test_one_batch_gives_every_layer_the_statistics_of_its_inputs(activation):
    net = small_net(activation=activation)
    x = images_of(net, 16)
    fresh = recalibrate(net, x, batch_size=16)
    found = [layer for layer in fresh.layers if isinstance(layer, BN)]
    assert len(found) == sum(isinstance(layer, BN) for layer in net.layers)
    for layer in found:
        # At inference, so behind layers that are normalized by the same statistics.
        assert_statistics(layer, inputs_of(fresh, layer.name, x), rtol=1e-4)


@settings(max_examples=10, deadline=None)
@given(
    count=st.integers(1, 12),
    batch_size=st.integers(1, 13),
    offset=st.floats(-50, 50),
)
def test_batches_of_any_size_are_pooled(count, batch_size, offset):
    net = net_of((3, 3, 2), BN(name="bn"))
    x = np.random.default_rng(count).normal(offset, 2.0, (count, 3, 3, 2))
    x = x.astype("float32")
    fresh = recalibrate(net, x, batch_size)
    assert_statistics(fresh.get_layer("bn"), x, rtol=1e-4)


def test_the_model_is_not_touched_and_nothing_else_changes():
    net = flat()
    x = images_of(net, 8)
    before = values(net)
    fresh = recalibrate(net, x)
    for old, new in zip(before, values(net), strict=True):
        np.testing.assert_array_equal(old, new)
    assert fresh.name == net.name
    for old, new in zip(net.layers, fresh.layers, strict=True):
        assert old.get_config() == new.get_config()
        assert type(old) is type(new)
        for a, b in zip(old.variables, new.variables, strict=True):
            assert a.dtype == b.dtype
            same = np.array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))
            assert same == ("moving" not in a.path)


def test_again_is_the_same_to_the_last_bit():
    net = flat()
    x = images_of(net, 8)
    once = recalibrate(net, x, 4)
    again = recalibrate(once, x, 4)
    for old, new in zip(values(once), values(again), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_recalibration_can_be_repeated():
    net = flat()
    first, second = images_of(net, 8, seed=1), images_of(net, 8, seed=2)
    recalibration = Recalibration(net)
    recalibration.run(first, 4)
    recalibration.run(second, 4)
    for old, new in zip(values(net), values(recalibrate(net, second, 4)), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_shortened_net_gets_statistics_of_its_own():
    net = flat()
    x = images_of(net, 16)
    short = remove_units(recalibrate(net, x), ["a", "b"])
    fresh = recalibrate(short, x)
    assert_statistics(fresh.get_layer("c_bn"), inputs_of(fresh, "c_bn", x), rtol=1e-4)


def test_dropout_is_off():
    net = net_of((4, 4, 3), layers.Dropout(0.5), BN(name="bn"))
    x = images_of(net, 8)
    assert_statistics(recalibrate(net, x).get_layer("bn"), x)


def test_frozen_layers_are_recalibrated_and_stay_frozen():
    net = net_of((4, 4, 3), BN(name="bn", trainable=False))
    x = images_of(net, 8)
    layer = recalibrate(net, x).get_layer("bn")
    assert_statistics(layer, x)
    assert not layer.trainable


def test_a_shared_layer_gets_the_statistics_of_all_its_calls():
    shared = BN(name="bn")
    image = keras.Input((4, 4, 3))
    sides = [shared(image), shared(layers.MaxPooling2D(2)(image))]
    net = keras.Model(image, sides)
    x = images_of(net, 8)
    small = x.reshape(8, 2, 2, 2, 2, 3).max(axis=(2, 4))
    seen = np.concatenate([x.reshape(-1, 3), small.reshape(-1, 3)])
    assert_statistics(recalibrate(net, x, 3).get_layer("bn"), seen)


@pytest.mark.parametrize("kind", [lambda i, o: keras.Model(i, o), None])
def test_nested_models_are_recalibrated(kind):
    if kind is None:
        inner = keras.Sequential([keras.Input((4, 4, 3)), BN(name="bn")], name="inner")
    else:
        image = keras.Input((4, 4, 3))
        inner = keras.Model(image, BN(name="bn")(image), name="inner")
    net = net_of((4, 4, 3), layers.ReLU(), inner, layers.Dropout(0.5))
    x = images_of(net, 8)
    layer = recalibrate(net, x).get_layer("inner").get_layer("bn")
    assert_statistics(layer, np.maximum(x, 0))


@keras.saving.register_keras_serializable(package="test")
class Opaque(layers.Layer):
    def build(self, input_shape):
        self.norm = BN(name="hidden")
        self.norm.build(input_shape)

    def call(self, inputs, training=None):
        return self.norm(inputs, training=training)


def test_refuses_what_it_cannot_reach():
    with pytest.raises(ValueError, match="BatchNormalization hidden of 'outer'"):
        image = keras.Input((4, 4, 3))
        net = keras.Model(image, Opaque()(image), name="outer")
        recalibrate(net, images_of(net))


def test_a_net_without_batch_normalization_is_only_copied():
    net = net_of((4, 4, 3), layers.Conv2D(3, 3))
    x = images_of(net)
    np.testing.assert_array_equal(outputs(recalibrate(net, x), x), outputs(net, x))


def test_takes_raw_pixels():
    net = net_of((4, 4, 3), BN(name="bn"))
    x = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3)).astype("uint8")
    assert_statistics(recalibrate(net, x, 3).get_layer("bn"), x)


def test_mixed_precision_keeps_its_statistics_in_float32():
    net = flat(policy="mixed_bfloat16")
    fresh = recalibrate(net, images_of(net, 8))
    for layer in fresh.layers:
        assert layer.dtype_policy.name == net.get_layer(layer.name).dtype_policy.name
        if isinstance(layer, BN):
            assert layer.moving_mean.dtype == "float32"


@pytest.mark.parametrize("count, batch_size", [(0, 4), (4, 0)])
def test_refuses_no_images_and_no_batch(count, batch_size):
    net = net_of((4, 4, 3), BN())
    with pytest.raises(ValueError, match=f"{count} images, batch_size={batch_size}"):
        recalibrate(net, np.zeros((count, 4, 4, 3)), batch_size)


def test_refuses_a_model_without_a_graph():
    with pytest.raises(TypeError, match="recalibrate reads the graph of a functional"):
        recalibrate(keras.Sequential([BN()]), np.zeros((1, 3)))
