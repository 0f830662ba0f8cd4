"""Folding: equal outputs, fewer layers, nothing of ours left."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from resprune_tf.deploy.folding import fold
from resprune_tf.nets.architecture import Architecture
from resprune_tf.nets.importance import ImportanceScale
from resprune_tf.nets.resnet import build_resnet
from resprune_tf.units.removal import remove_units
from tests.conftest import images_of, outputs, randomise

pytestmark = pytest.mark.slow

UNITS = {"kept": ((1, 2), (1, 2)), "widths": (4, 8)}
SMALL = {**UNITS, "image_shape": (8, 8, 3)}
NETS = {
    "pre bottleneck": Architecture(**SMALL),
    "post bottleneck": Architecture(activation="post", **SMALL),
    "pre basic": Architecture(unit_kind="basic", **SMALL),
    "post basic": Architecture(
        unit_kind="basic", activation="post", shortcut="zero_pad", **SMALL
    ),
    "imagenet": dataclasses.replace(
        Architecture.imagenet(18, activation="post", image_shape=(32, 32, 3)), **UNITS
    ),
}


def lively(model):
    randomise(model)
    return model


def assert_agree(folded, model, tolerance=1e-5):
    x = images_of(model)
    expected = outputs(model, x)
    scale = max(1.0, np.abs(expected).max())
    assert np.abs(expected).max() > 1e-3  # else everything would agree
    assert np.abs(outputs(folded, x) - expected).max() <= tolerance * scale


def standing(model):
    """How many BatchNormalization layers are left, or convolutions in their place."""
    return sum(
        type(layer) is layers.BatchNormalization
        or (type(layer) is layers.DepthwiseConv2D and layer.kernel_size == (1, 1))
        for layer in model.layers
    )


def kinds(model):
    return [type(layer) for layer in model._flatten_layers(include_self=False)]


@functools.cache
def folding(name):
    """One of the nets, its variables before it was folded, and the folded net."""
    net = lively(build_resnet(NETS[name]))
    before = [keras.ops.convert_to_numpy(v.value) for v in net.variables]
    return net, before, fold(net)


@pytest.mark.parametrize("name", NETS)
def test_outputs_agree_and_nothing_of_ours_is_left(name):
    net, before, folded = folding(name)
    assert_agree(folded, net)
    assert ImportanceScale in kinds(net)
    assert all(kind.__module__.startswith("keras.") for kind in kinds(folded))
    assert layers.Rescaling not in kinds(folded)
    assert folded.name == net.name
    assert {layer.name for layer in folded.layers} < {x.name for x in net.layers}
    for value, variable in zip(before, net.variables, strict=True):
        np.testing.assert_array_equal(value, keras.ops.convert_to_numpy(variable.value))


@pytest.mark.parametrize("name", ["post bottleneck", "post basic", "imagenet"])
def test_post_activation_nets_have_no_batch_normalization_left(name):
    *_, folded = folding(name)
    assert layers.BatchNormalization not in kinds(folded)


def test_pre_activation_importance_adds_no_bias():
    *_, folded = folding("pre bottleneck")
    # The last convolution of a branch takes ω alone; the others also take their
    # BatchNormalization, so need a bias.
    assert not folded.get_layer("stage1_unit2_conv3").use_bias
    assert folded.get_layer("stage1_unit2_conv1").use_bias
    # What follows an addition has no convolution to go to: the first of every unit
    # but the stem's neighbour, and the final one.
    assert standing(folded) == 3 + 1


def test_folds_after_removal():
    net, *_ = folding("post bottleneck")
    small = remove_units(net, ["stage2_unit2"])
    assert_agree(fold(small), small)


def test_folded_model_is_saved_without_our_code(tmp_path):
    net, _, folded = folding("pre bottleneck")
    path = tmp_path / "folded.keras"
    folded.save(path)
    loaded = keras.saving.load_model(path, safe_mode=True)
    x = images_of(net)
    np.testing.assert_array_equal(outputs(loaded, x), outputs(folded, x))
    assert "resprune_tf" not in folded.to_json()


@pytest.fixture(scope="module")
def two_units():
    fields = {**SMALL, "kept": ((1, 2, 3),), "widths": (4,)}
    return lively(build_resnet(Architecture(activation="post", **fields)))


@settings(max_examples=5, deadline=None)
@given(values=st.lists(st.floats(-2, 2, width=32), min_size=2, max_size=2))
def test_any_importance_folds(two_units, values):
    scales = [x for x in two_units.layers if isinstance(x, ImportanceScale)]
    for layer, value in zip(scales, values, strict=True):
        layer.importance.assign(value)
    assert_agree(fold(two_units), two_units)


BN = layers.BatchNormalization
KEPT, GONE = 1, 0
# name: (input shape, layers in a row, BatchNormalization layers left)
CHAINS = {
    "conv1d": ((6, 4), [layers.Conv1D(3, 3)], GONE),
    "conv3d": ((4, 4, 4, 2), [layers.Conv3D(3, 2)], GONE),
    "grouped": ((6, 6, 4), [layers.Conv2D(6, 3, groups=2, use_bias=False)], GONE),
    "depthwise": ((6, 6, 3), [layers.DepthwiseConv2D(3, depth_multiplier=2)], GONE),
    "depthwise1d": ((6, 3), [layers.DepthwiseConv1D(3, depth_multiplier=2)], GONE),
    "transpose": ((4, 4, 3), [layers.Conv2DTranspose(5, 3, 2)], GONE),
    "dense": ((5,), [layers.Dense(4)], GONE),
    "dense on a sequence": ((6, 5), [layers.Dense(4, use_bias=False)], GONE),
    "dropouts between": (
        (6, 6, 3),
        [layers.Conv2D(4, 3), layers.SpatialDropout2D(0.5), layers.GaussianNoise(1.0)],
        GONE,
    ),
    "linear activation": (
        (5,),
        [layers.Dense(4, activation="linear"), layers.Activation("linear")],
        GONE,
    ),
    "two normalisations": ((6, 6, 3), [layers.Conv2D(4, 3), BN(name="first")], GONE),
    "separable": ((6, 6, 3), [layers.SeparableConv2D(4, 3)], KEPT),
    "relu in the convolution": (
        (6, 6, 3),
        [layers.Conv2D(4, 3, activation="relu")],
        KEPT,
    ),
    "relu after it": ((6, 6, 3), [layers.Conv2D(4, 3), layers.ReLU()], KEPT),
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("bare", [False, True])
def test_batch_normalization_folds_into_what_is_linear(name, bare):
    shape, chain, left = CHAINS[name]
    x = image = keras.Input(shape)
    for layer in chain:
        x = type(layer).from_config(layer.get_config())(x)
    x = BN(scale=not bare, center=not bare)(x)
    net = lively(keras.Model(image, ImportanceScale(name="scale")(x)))
    folded = fold(net)
    assert_agree(folded, net)
    assert standing(folded) == left
    assert ImportanceScale not in kinds(folded)
    assert layers.Rescaling not in kinds(folded)  # ω went along, or into the BN
    assert not {layers.SpatialDropout2D, layers.GaussianNoise} & set(kinds(folded))


def test_the_channel_axis_has_to_match():
    image = keras.Input((4, 4, 3))
    net = lively(keras.Model(image, BN(axis=1)(layers.Conv2D(4, 1)(image))))
    folded = fold(net)
    assert_agree(folded, net)
    assert BN in kinds(folded)


@pytest.mark.parametrize("bare", [False, True])
def test_what_follows_a_relu_becomes_one_depthwise_convolution(bare):
    """Its shared calls and an ω behind it, too; not where it cannot."""
    image = keras.Input((6, 6, 3))
    norm = BN(scale=not bare, center=not bare, name="norm")
    x = norm(layers.ReLU()(norm(image)))
    x = ImportanceScale()(BN(name="scaled")(layers.ReLU()(x)))
    x = BN(axis=2, name="rows")(x)
    x = BN(name="features")(layers.GlobalAveragePooling2D()(x))
    net = lively(keras.Model(image, x))
    folded = fold(net)
    assert_agree(folded, net)
    named = {layer.name: type(layer) for layer in folded.layers}
    assert named["norm"] is named["scaled"] is layers.DepthwiseConv2D
    assert named["rows"] is named["features"] is BN
    assert ImportanceScale not in kinds(folded)


def test_batch_statistics_and_live_dropout_stay():
    image = keras.Input((4, 4, 3))
    x = BN()(layers.Conv2D(4, 1)(image), training=True)
    x = ImportanceScale()(x)
    x = layers.Dropout(0.0)(x, training=True)
    net = lively(keras.Model(image, x))
    folded = fold(net)
    assert_agree(folded, net)
    assert kinds(folded).count(BN) == kinds(folded).count(layers.Dropout) == 1
    assert layers.Rescaling not in kinds(folded)  # gamma and beta took ω even so


def test_a_pooling_between_leaves_a_rescaling():
    image = keras.Input((6, 6, 3))
    x = layers.MaxPooling2D()(BN()(layers.Conv2D(3, 3, padding="same")(image)))
    x = ImportanceScale(name="unit_importance")(x)
    net = lively(keras.Model(image, x))
    folded = fold(net)
    assert_agree(folded, net)
    rescaling = folded.get_layer("unit_importance")
    assert type(rescaling) is layers.Rescaling
    assert rescaling.scale == pytest.approx(
        float(net.get_layer("unit_importance").importance.numpy())
    )
    assert BN not in kinds(folded)


def test_a_shared_convolution_is_not_folded():
    image = keras.Input((6, 6, 3))
    conv = layers.Conv2D(3, 3, padding="same", name="shared")
    x = BN(name="first")(conv(image))
    x = ImportanceScale(name="scale")(conv(x))
    net = lively(keras.Model(image, x))
    folded = fold(net)
    assert_agree(folded, net)
    assert standing(folded) and layers.Rescaling in kinds(folded)


def test_a_tensor_with_two_consumers_is_not_changed():
    image = keras.Input((6, 6, 3))
    x = layers.Conv2D(3, 3, padding="same")(image)
    x = layers.Add()([x, ImportanceScale()(BN()(x))])
    net = lively(keras.Model(image, x))
    folded = fold(net)
    assert_agree(folded, net)
    assert standing(folded) and ImportanceScale not in kinds(folded)


def test_an_output_is_a_consumer():
    image = keras.Input((6, 6, 3))
    x = layers.Conv2D(3, 3)(image)
    net = lively(keras.Model(image, {"raw": x, "normal": BN()(x)}))
    folded = fold(net)
    x = images_of(net)
    for key, expected in net(x, training=False).items():
        found = folded(x, training=False)[key]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_outputs_keep_their_names():
    """Though what made them is gone, all calls of a shared layer among it."""
    image = keras.Input((6, 6, 3))
    normal = BN(name="normal")(layers.Conv2D(3, 3)(image))
    scaled = ImportanceScale(name="scaled")(
        BN()(layers.Dense(3)(layers.ReLU()(normal)))
    )
    shared = layers.Dropout(0.5, name="shared")
    x = shared(shared(layers.Conv2D(2, 3)(scaled)))
    quiet = layers.Dropout(0.5, name="quiet")(image)
    net = lively(keras.Model(image, [normal, scaled, x, quiet]))
    folded = fold(net)
    assert folded.output_names == net.output_names
    assert net.output_names == ["normal", "scaled", "shared", "quiet"]
    x = images_of(net)
    for output, expected in zip(folded(x), net(x, training=False), strict=True):
        np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5)
    assert BN not in kinds(folded) and ImportanceScale not in kinds(folded)
    assert kinds(folded).count(layers.Identity) == 4
    assert layers.Dropout not in kinds(folded)
    again = fold(folded)
    assert again.output_names == net.output_names


def test_a_subclass_of_a_convolution_is_left_alone():
    class Odd(layers.Conv2D):
        def call(self, inputs):
            return keras.ops.square(super().call(inputs))

    image = keras.Input((6, 6, 3))
    net = lively(keras.Model(image, BN()(Odd(3, 3)(image))))
    folded = fold(net)
    assert_agree(folded, net)
    assert standing(folded)


def test_nested_models_are_folded():
    inner = build_resnet(dataclasses.replace(NETS["pre bottleneck"], num_classes=6))
    image = keras.Input((8, 8, 3))
    x = BN()(layers.Dense(4)(layers.Dropout(0.5)(inner(image))))
    net = lively(keras.Model(image, x))
    folded = fold(net)
    assert_agree(folded, net)
    assert folded.get_layer(inner.name).get_layer("stage1_unit2_conv1").use_bias
    assert ImportanceScale not in kinds(folded)
    assert layers.Dropout not in kinds(folded)


def test_layers_keep_their_precision():
    net = lively(build_resnet(NETS["post basic"], dtype="mixed_bfloat16"))
    folded = fold(net)
    for layer in folded.layers:
        assert layer.dtype_policy.name == net.get_layer(layer.name).dtype_policy.name
    assert folded.get_layer("stem_conv").kernel.dtype == "float32"
    assert folded.get_layer("stem_conv").compute_dtype == "bfloat16"
    assert ImportanceScale not in kinds(folded) and BN not in kinds(folded)
    assert_agree(folded, net, tolerance=0.05)


def test_refuses_a_model_without_a_graph():
    with pytest.raises(TypeError, match="fold reads the graph of a functional model"):
        fold(keras.Sequential([layers.Dense(2)], name="bag"))
