"""Builders: the paper's counts, names, initialisation, forward formula."""

import dataclasses

import keras
import numpy as np
import pytest

from resprune_tf import (
    Architecture,
    build_resnet,
    cost,
    find_units,
    importances,
    resnet50,
    resnet56,
)
from tests.conftest import images_of, outputs, small_net

pytestmark = pytest.mark.slow

POST = {"activation": "post", "importance": False}
SMALL = Architecture(kept=((1,), (1,)), widths=(4, 8), image_shape=(8, 8, 3))


def trainable(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


def total(model):
    return sum(int(np.prod(w.shape)) for w in model.weights)


@pytest.fixture(scope="module")
def cifar_net():
    return resnet56()


# The nets of the paper: parameters with ω, of all without ω, and without either; then
# layers, MACs of convolutions, MACs.
@pytest.mark.parametrize(
    ("classes", "kept", "parameters", "expected"),
    [
        (10, None, (590_441, 598_522, 590_426), (56, 84_066_304, 84_068_864)),
        (10, (1, 5, 4), (409_121, 414_330, 409_114), (32, 48_414_720, 48_417_280)),
        (100, None, (613_571, 621_652, 613_556), (56, 84_066_304, 84_091_904)),
        (100, (1, 4, 6), (555_260, 561_620, 555_252), (35, 52_871_168, 52_896_768)),
    ],
)
def test_cifar_nets_of_the_paper(cifar_net, classes, kept, parameters, expected):
    net = Architecture.cifar(56, num_classes=classes)
    if kept:
        gone = [unit for unit in net.units if unit.unit > kept[unit.stage - 1]]
        net = net.without(gone)
    model = build_resnet(net) if kept or classes != 10 else cifar_net
    found = cost(model)
    assert parameters == (
        trainable(model),
        total(model) - len(importances(model)),
        found.parameters,
    )
    assert (found.layers, found.conv_macs, found.macs) == expected
    assert found.uncounted == ()


def test_post_activation_resnet50_is_the_one_of_keras_applications():
    """That strides in the 1x1; its convolutions have biases, ours have none."""
    theirs = keras.applications.ResNet50(weights=None)
    ours = build_resnet(
        Architecture.imagenet(
            50, activation="post", strided_convolution=1, importance=False
        )
    )
    biases = sum(
        layer.filters
        for layer in theirs.layers
        if isinstance(layer, keras.layers.Conv2D) and layer.use_bias
    )
    assert biases == 26_560
    assert trainable(theirs) - biases == trainable(ours) == 25_557_032
    found, expected = cost(ours), cost(theirs)
    assert expected.conv_macs == found.conv_macs
    assert expected.macs == found.macs == 3_857_973_248
    assert (found.layers, found.parameters) == (50, 25_557_032)


def test_imagenet_net_of_the_paper():
    model = resnet50()
    assert trainable(model) == 25_549_352 + 12
    found = cost(model)
    assert (found.layers, found.parameters) == (50, 25_549_352)
    assert (found.conv_macs, found.macs) == (4_087_136_256, 4_089_184_256)
    assert found.uncounted == ()
    assert model.input_shape == (None, 224, 224, 3)
    assert model.output_shape == (None, 1000)


# Of the field's common nets: parameters and MACs.
@pytest.mark.parametrize(
    ("architecture", "parameters", "macs"),
    [
        (Architecture.imagenet(50, **POST), 25_557_032, 4_089_184_256),
        (Architecture.cifar(56, "basic", **POST), 855_770, 125_747_840),
        (
            Architecture.cifar(56, "basic", shortcut="zero_pad", **POST),
            *(853_018, 125_485_696),
        ),
        (Architecture.cifar(20, "basic", **POST), 272_474, None),
    ],
)
def test_parameters_of_the_fields_common_nets(architecture, parameters, macs):
    model = build_resnet(architecture)
    found = cost(model)
    assert trainable(model) == found.parameters == parameters
    assert macs in (None, found.macs)
    assert found.layers == architecture.depth


def test_importance_sits_on_every_unit_but_the_first_of_a_stage(cifar_net):
    model = cifar_net
    assert len(importances(model)) == 15
    for unit in find_units(model):
        assert unit.removable == (not unit.name.endswith("unit1"))
        assert (unit.importance is not None) == unit.removable


def test_names_are_the_contract(cifar_net):
    names = [layer.name for layer in cifar_net.layers]
    assert names[:2] == ["image", "stem_conv"]
    assert names[-4:] == ["final_bn", "final_relu", "pool", "logits"]
    unit = [name for name in names if name.startswith("stage2_unit5_")]
    assert unit == [
        f"stage2_unit5_{part}"
        for part in (
            "bn1 relu1 conv1 bn2 relu2 conv2 bn3 relu3 conv3 importance add"
        ).split()
    ]


def test_initialisation(cifar_net):
    model = cifar_net
    kernel = np.asarray(model.get_layer("stage3_unit2_conv3").kernel)
    assert kernel.std() == pytest.approx((2 / 256) ** 0.5, rel=0.02)
    norm = model.get_layer("final_bn")
    assert (norm.momentum, norm.epsilon) == (0.9, 1e-5)
    assert np.abs(model.get_layer("logits").kernel).max() <= 1 / 16
    assert np.abs(list(importances(model).values())).max() <= 1


@pytest.mark.parametrize("activation", ["pre", "post"])
def test_unit_computes_x_plus_omega_f(activation):
    model = small_net(14, unit_kind="basic", activation=activation)
    unit = next(u for u in find_units(model) if u.name == "stage2_unit2")
    branch = model.get_layer("stage2_unit2_importance").input
    probe = keras.Model(model.input, [unit.shortcut, branch, unit.merge.outputs[0]])
    x, f, y = (np.asarray(v) for v in probe(images_of(model), training=False))
    omega = importances(model)["stage2_unit2"]
    np.testing.assert_allclose(y, x + omega * f, rtol=1e-6, atol=1e-6)


def test_normalisation_is_part_of_the_model():
    raw = build_resnet(SMALL, mean=(100, 120, 140), std=(50, 60, 70))
    normalised = build_resnet(SMALL)
    normalised.set_weights(raw.get_weights())
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype("float32")
    expected = outputs(normalised, (pixels - [100, 120, 140]) / [50, 60, 70])
    np.testing.assert_allclose(outputs(raw, pixels), expected, rtol=1e-4, atol=1e-5)


def test_stride_pads_both_sides():
    """A 3x3 stride-2 convolution sees the same window as in the paper's framework."""
    model = build_resnet(dataclasses.replace(SMALL, strided_convolution=2))
    layer = model.get_layer("stage2_unit1_conv2_pad")
    assert layer.padding == ((1, 1), (1, 1))
    assert model.get_layer("stage2_unit1_conv2").padding == "valid"
    assert model.get_layer("stage2_unit1_add").output.shape[1:3] == (4, 4)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_ends_in_float32(policy):
    model = build_resnet(SMALL, mean=(1, 1, 1), std=(1, 1, 1), dtype=policy)
    assert model.get_layer("stem_conv").compute_dtype == policy.removeprefix("mixed_")
    assert model.get_layer("normalize").compute_dtype == "float32"
    assert model.output.dtype == "float32"


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_the_global_data_format_does_not_matter(stem):
    net = dataclasses.replace(SMALL, stem=stem, image_shape=(32, 32, 3))
    settings = {"mean": (1.0, 2.0, 3.0), "std": (1.0, 2.0, 4.0)}
    usual = build_resnet(net, **settings)
    keras.config.set_image_data_format("channels_first")
    try:
        model = build_resnet(net, **settings)
        model.set_weights(usual.get_weights())
        images = images_of(model)
        made = outputs(model, images)
    finally:
        keras.config.set_image_data_format("channels_last")
    np.testing.assert_array_equal(made, outputs(usual, images))


def test_same_seed_same_net():
    models = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        models.append(build_resnet(SMALL))
    for a, b in zip(*(m.get_weights() for m in models), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("given", [{"mean": (125.0,) * 3}, {"std": (60.0,) * 3}])
def test_mean_and_std_are_given_together(given):
    with pytest.raises(ValueError, match="`mean` and `std` must be given together"):
        build_resnet(Architecture.cifar(20, unit_kind="basic"), **given)
