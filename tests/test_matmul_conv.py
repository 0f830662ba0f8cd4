"""A convolution as a matrix product equals the stock one, its gradients too."""

import keras
import numpy as np
import pytest
from keras import layers

from resprune_tf.matmul_conv import MatmulConv2D, matmul_copy
from tests.conftest import images_of, net_of, outputs, randomise, small_net

KERNELS = (1, 2, (3, 1), 3)
STRIDES = (1, 2, (3, 1))


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_outputs_and_gradients_equal_the_stock_layer(padding):
    """The gradients show in the weights after a step of SGD: those of the inputs in the
    weights of the stem."""

    def net(kind):
        image = keras.Input((9, 8, 3))
        stem = layers.Conv2D(4, 1, name="stem")(image)
        found = [
            kind(2, kernel, strides, padding, activation="tanh")(stem)
            for kernel in KERNELS
            for strides in STRIDES
        ]
        flat = layers.Concatenate()([layers.Flatten()(each) for each in found])
        return keras.Model(image, flat)

    stock, ours = net(layers.Conv2D), net(MatmulConv2D)
    randomise(stock)
    ours.set_weights(stock.get_weights())
    images = images_of(stock)
    expected = outputs(stock, images)
    np.testing.assert_allclose(outputs(ours, images), expected, atol=1e-5)
    target = np.random.default_rng(2).normal(size=expected.shape)
    for model in (stock, ours):
        model.compile(keras.optimizers.SGD(10.0), "mse")
        model.train_on_batch(images, target)
    for a, b in zip(stock.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_mixed_precision_and_images_of_unknown_size():
    mixed = net_of((8, 8, 3), MatmulConv2D(4, 3, dtype="mixed_bfloat16"))
    assert mixed(images_of(mixed)).dtype in ("bfloat16", keras.ops.ones(1, "bfloat16"))
    any_size = net_of((None, None, 3), MatmulConv2D(4, 3, padding="same"))
    stock = net_of((None, None, 3), layers.Conv2D(4, 3, padding="same"))
    stock.set_weights(any_size.get_weights())
    images = np.random.default_rng(0).normal(size=(2, 6, 7, 3)).astype("float32")
    np.testing.assert_allclose(
        outputs(any_size, images), outputs(stock, images), atol=1e-5
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"groups": 2},
        {"dilation_rate": 2},
        {"data_format": "channels_first"},
    ],
)
def test_other_convolutions_are_refused_and_stay_in_a_copy(arguments):
    name = next(iter(arguments))
    with pytest.raises(ValueError, match=f"{name}=.*layer 'odd'"):
        MatmulConv2D(4, 3, name="odd", **arguments)
    odd = net_of((8, 8, 4), layers.Conv2D(4, 3, name="odd", **arguments))
    assert type(matmul_copy(odd).get_layer("odd")) is layers.Conv2D


def test_copy_of_a_net():
    """Nested models included; the net itself keeps its convolutions."""
    net = small_net(11)
    outer = net_of((8, 8, 3), layers.Rescaling(0.5), net)
    copy = matmul_copy(outer)
    images = images_of(outer)
    expected = outputs(outer, images)
    error = np.abs(outputs(copy, images) - expected).max()
    assert error < 1e-5 * np.abs(expected).max()
    kinds = [type(layer) for layer in copy._flatten_layers()]
    assert layers.Conv2D not in kinds
    assert kinds.count(MatmulConv2D) == sum(
        type(layer) is layers.Conv2D for layer in net.layers
    )
    for a, b in zip(outer.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_only_functional_models():
    with pytest.raises(TypeError, match="matmul_copy reads the graph"):
        matmul_copy(keras.Sequential([layers.Conv2D(4, 3)]))
