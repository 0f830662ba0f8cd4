"""ω applied to weights: losses, gradients and statistics of the stock layers."""

import keras
import numpy as np
import pytest
from keras import layers

from resprune_tf import ImportanceScale
from resprune_tf.training.fast_copy import fast_copy
from resprune_tf.training.scaled_weights import (
    AppliedImportance,
    ScaledWeights,
    scalable,
)
from tests.conftest import images_of, outputs, randomise
from tests.training.gradients import loss_and_gradients, two_stages

pytestmark = pytest.mark.slow

# What can come before an ω, by the shape of the image.
PRODUCERS = {
    "conv": ((6, 6, 3), lambda: layers.Conv2D(3, 3, padding="same")),
    "conv without bias": ((6, 6, 3), lambda: layers.Conv2D(3, 1, use_bias=False)),
    "grouped": ((6, 6, 4), lambda: layers.Conv2D(4, 3, padding="same", groups=2)),
    "conv1d": ((6, 3), lambda: layers.Conv1D(3, 3, padding="causal")),
    "conv3d": ((3, 3, 3, 2), lambda: layers.Conv3D(2, 3, padding="same")),
    "transposed": ((6, 6, 3), lambda: layers.Conv2DTranspose(3, 3, padding="same")),
    "depthwise": ((6, 6, 3), lambda: layers.DepthwiseConv2D(3, padding="same")),
    "dense": ((5,), lambda: layers.Dense(5)),
    "norm": ((6, 6, 3), lambda: layers.BatchNormalization(momentum=0.8)),
    "norm without beta": ((6, 6, 3), lambda: layers.BatchNormalization(center=False)),
    "norm of rows": ((6, 6, 3), lambda: layers.BatchNormalization(axis=1)),
    "norm of features": ((5,), lambda: layers.BatchNormalization()),
}


def unit_of(shape, layer, classes=4):
    """A residual unit of one layer, in a classifier of the backend's own layers."""
    image = keras.Input(shape)
    x = image
    branch = ImportanceScale(name="unit_importance")(layer(x))
    x = layers.Add(name="unit_add")([x, branch])
    x = layers.Dense(classes)(layers.Flatten()(x))
    model = keras.Model(image, x)
    randomise(model)
    return model


@pytest.mark.parametrize("kind", PRODUCERS)
def test_losses_gradients_and_statistics_are_those_of_the_stock_layers(kind):
    shape, make = PRODUCERS[kind]
    model = unit_of(shape, make())
    copy = fast_copy(model)
    assert [type(la) for la in copy.layers].count(AppliedImportance) == 1
    assert [v.path for v in copy.variables] == [v.path for v in model.variables]
    images, labels = images_of(model, count=8), np.arange(8) % 4
    np.testing.assert_allclose(
        outputs(copy, images), outputs(model, images), rtol=1e-5, atol=1e-5
    )
    ours = loss_and_gradients(copy, images, labels)
    stock = loss_and_gradients(model, images, labels)
    assert ours[0] == pytest.approx(stock[0], rel=1e-5)
    for a, b in zip(ours[1], stock[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    for a, b in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # moving statistics


@pytest.mark.parametrize("activation", ["pre", "post"])
@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_every_unit_of_a_resnet_trains_in_this_form(activation, kind):
    model = two_stages(unit_kind=kind, activation=activation)
    copy = fast_copy(model)
    stock = [la for la in copy.layers if type(la) is ImportanceScale]
    applied = [la for la in copy.layers if type(la) is AppliedImportance]
    last = "bn2 bn3" if activation == "post" else "conv2 conv3"
    scaled = {
        la.name.split("_")[-1] for la in copy.layers if isinstance(la, ScaledWeights)
    }
    assert applied and not stock and scaled < {*last.split()}
    images, labels = images_of(model, count=8), np.arange(8) % 5
    ours = loss_and_gradients(copy, images, labels)
    theirs = loss_and_gradients(model, images, labels)
    assert ours[0] == pytest.approx(theirs[0], rel=1e-4)
    for a, b in zip(ours[1], theirs[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4)


def test_frozen_weights_are_scaled_and_stay_frozen():
    model = unit_of((6, 6, 3), layers.Conv2D(3, 3, padding="same", name="conv"))
    model.get_layer("conv").trainable = False
    copy = fast_copy(model)
    assert not copy.get_layer("conv").trainable_variables
    images = images_of(model)
    np.testing.assert_allclose(
        outputs(copy, images), outputs(model, images), rtol=1e-5, atol=1e-5
    )


def test_bfloat16_multiplies_the_float32_weights():
    """Only the product is rounded, not both of its factors."""
    model = unit_of((64,), layers.Dense(64, use_bias=False, name="mixer"))
    kernel = np.random.default_rng(0).uniform(0.5, 1, 64).astype("float32")
    model.get_layer("mixer").set_weights([np.diag(kernel)])
    model.get_layer("unit_importance").set_weights([np.float32(0.7654321)])
    mixer = fast_copy(model, "bfloat16").get_layer("mixer")
    found = mixer(np.ones((1, 64), "float32"))
    expected = keras.ops.cast(kernel * np.float32(0.7654321), "bfloat16")
    assert keras.ops.all(found[0] == expected)


def _cases():
    def shared_producer(x):
        conv = layers.Conv2D(3, 1)
        return ImportanceScale()(conv(x)) + conv(x)

    def second_consumer(x):
        y = layers.Conv2D(3, 1)(x)
        return ImportanceScale()(y) + y

    def shared_importance(x):
        scale = ImportanceScale()
        return scale(layers.Conv2D(3, 1)(x)) + scale(layers.Conv2D(3, 1)(x))

    def shared_producer_and_importance(x):
        """Each is called twice, and each tensor between them is used twice."""
        conv, scale = layers.Conv2D(3, 1), ImportanceScale()
        first, second = conv(x), conv(layers.ReLU()(x))
        return scale(first) + first + scale(second) + second

    def activation(x):
        return x + ImportanceScale()(layers.Conv2D(3, 1, activation="relu")(x))

    def unscaled_norm(x):
        return x + ImportanceScale()(layers.BatchNormalization(scale=False)(x))

    def own_penalty(x):
        conv = layers.Conv2D(3, 1, activity_regularizer="l2")
        return x + ImportanceScale()(conv(x))

    def nothing_before(x):
        return x + ImportanceScale()(layers.ReLU()(x))

    return [
        shared_producer,
        second_consumer,
        shared_importance,
        shared_producer_and_importance,
        activation,
        unscaled_norm,
        own_penalty,
        nothing_before,
    ]


@pytest.mark.parametrize("branch", _cases(), ids=lambda case: case.__name__)
def test_where_no_layer_can_take_it_the_importance_stays(branch):
    image = keras.Input((6, 6, 3))
    model = keras.Model(image, layers.GlobalAveragePooling2D()(branch(image)))
    randomise(model)
    assert scalable(model) == {}
    images = images_of(model)
    np.testing.assert_allclose(
        outputs(fast_copy(model), images), outputs(model, images), rtol=1e-5, atol=1e-5
    )


def test_an_output_of_the_model_is_not_scaled_before_its_importance():
    image = keras.Input((6, 6, 3))
    conv = layers.Conv2D(3, 1)(image)
    model = keras.Model(image, [image + ImportanceScale()(conv), conv])
    assert scalable(model) == {}


def test_nested_models_are_searched():
    inner = two_stages(unit_kind="basic")
    image = keras.Input((8, 8, 3))
    assert len(scalable(keras.Model(image, inner(image)))) == len(scalable(inner)) == 2
