"""Layers that tf2onnx cannot write are written another way, with equal outputs."""

import keras
import numpy as np
import pytest
from keras import layers

from resprune_tf.export import export
from resprune_tf.onnx_form import onnx_form
from tests.conftest import images_of, net_of, outputs, small_net


def normalization(**options):
    layer = layers.Normalization(**options)
    if not options:
        layer.adapt(np.random.default_rng(0).normal(5, 3, (64, 8, 8, 4)))
    return layer


LAYERS = {
    "adapted": lambda: normalization(),
    "given": lambda: normalization(mean=[1.0, 2, 3, 4], variance=[1.0, 4, 9, 16]),
    "one mean": lambda: normalization(mean=3.0, variance=0.0),
    "each": lambda: layers.Conv2D(4, 3, groups=4, padding="same"),
    "twice": lambda: layers.Conv2D(8, 3, 2, groups=4, use_bias=False),
    "dilated": lambda: layers.Conv2D(
        4, 3, groups=4, dilation_rate=2, activation="relu", kernel_regularizer="l2"
    ),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_outputs_are_equal(kind):
    model = net_of((8, 8, 4), LAYERS[kind]())
    for weight in model.trainable_weights:
        weight.assign(np.random.default_rng(1).normal(size=weight.shape))
    form = onnx_form(model)
    expected = outputs(model, images_of(model))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        outputs(form, images_of(model)) / scale, expected / scale, atol=1e-6
    )
    kinds = {type(layer) for layer in form.layers}
    if "mean" not in kind:  # one for all channels is a constant anyway
        assert kinds & {layers.Rescaling, layers.DepthwiseConv2D}
        assert not kinds & {layers.Normalization, layers.Conv2D}


def test_other_layers_stay():
    model = small_net()
    assert onnx_form(model) is model
    pairs = net_of((8, 8, 4), layers.Conv2D(4, 3, groups=2))
    assert onnx_form(pairs) is pairs


def test_such_models_are_exported(tmp_path):
    """The beginning of an EfficientNet and a block of a ConvNeXt."""
    inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(4, 3, groups=4, padding="same")(normalization()(inputs))
    model = keras.Model(inputs, layers.Add()([inputs, layers.Activation("gelu")(x)]))
    images = images_of(model, 5)
    (made,) = export(model, tmp_path, "onnx", images)
    assert made.max_abs_difference < 1e-4
