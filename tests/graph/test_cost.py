"""Costs against published counts and each other."""

import dataclasses

import keras
import pytest
from keras import layers

from resprune_tf.graph.cost import cost
from resprune_tf.nets.architecture import Architecture
from resprune_tf.nets.resnet import build_resnet
from resprune_tf.units.removal import remove_units
from tests.conftest import net_of, small_net

pytestmark = pytest.mark.slow


def counts(architecture):
    c = cost(build_resnet(architecture))
    assert c.uncounted == ()
    return c.layers, c.parameters, c.conv_macs, c.macs


def kept(architecture, *units):
    return dataclasses.replace(
        architecture, kept=tuple(tuple(range(1, n + 1)) for n in units)
    )


# The nets of the paper: layers, parameters, MACs of convolutions, MACs.
@pytest.mark.parametrize(
    ("classes", "units", "expected"),
    [
        (10, (6, 6, 6), (56, 590_426, 84_066_304, 84_068_864)),
        (10, (1, 5, 4), (32, 409_114, 48_414_720, 48_417_280)),
        (100, (6, 6, 6), (56, 613_556, 84_066_304, 84_091_904)),
        (100, (1, 4, 6), (35, 555_252, 52_871_168, 52_896_768)),
    ],
)
def test_cifar_nets_of_the_paper(classes, units, expected):
    net = kept(Architecture.cifar(num_classes=classes), *units)
    assert counts(net) == expected


@pytest.mark.parametrize(
    ("n", "parameters", "macs_m"),
    [
        (5, (497_690, 520_820), 70.697),
        (4, (404_954, 428_084), 57.328),
        (3, (312_218, 335_348), 43.958),
        (2, (219_482, 242_612), 30.589),
        (1, (126_746, 149_876), 17.220),
    ],
)
def test_shorter_plain_baselines(n, parameters, macs_m):
    for classes, expected in zip((10, 100), parameters, strict=True):
        net = Architecture.cifar(9 * n + 2, num_classes=classes)
        depth, count, conv_macs, _ = counts(net)
        assert (depth, count) == (9 * n + 2, expected)
        assert round(conv_macs / 1e6, 3) == macs_m


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ((3, 4, 6, 3), (50, 25_549_352, 4_087_136_256, 4_089_184_256)),
        ((2, 2, 5, 3), (38, 23_801_640, 3_213_672_448, 3_215_720_448)),
    ],
)
def test_imagenet_nets_of_the_paper(units, expected):
    assert counts(kept(Architecture.imagenet(50), *units)) == expected


@pytest.mark.parametrize(("strided", "macs"), [(2, 4_089_184_256), (1, 3_857_973_248)])
def test_published_resnet50(strided, macs):
    net = Architecture.imagenet(50, activation="post", strided_convolution=strided)
    c = cost(build_resnet(net))
    assert (c.layers, c.parameters, c.macs) == (50, 25_557_032, macs)


@pytest.mark.parametrize(
    ("shortcut", "parameters", "macs"),
    [("zero_pad", 853_018, 125_485_696), ("projection", 855_770, 125_747_840)],
)
def test_published_basic_resnet56(shortcut, parameters, macs):
    net = Architecture.cifar(56, "basic", activation="post", shortcut=shortcut)
    c = cost(build_resnet(net))
    assert (c.layers, c.parameters, c.macs) == (56, parameters, macs)


@pytest.mark.parametrize("depth", [18, 34, 101, 152])
def test_layers_are_counted_as_the_literature_does(depth):
    net = dataclasses.replace(
        Architecture.imagenet(depth), widths=(2, 2, 2, 2), image_shape=(32, 32, 3)
    )
    assert cost(build_resnet(net)).layers == depth


def test_removal_saves_what_the_unit_cost():
    net = small_net()
    small = cost(remove_units(net, ["stage2_unit2"]))
    unit = 2 * 8 * 32 + 9 * 8 * 8  # weights of its three convolutions
    assert cost(net).macs - small.macs == unit * 4 * 4
    assert cost(net).parameters - small.parameters == unit + 2 * (32 + 8 + 8)
    assert cost(net).layers - small.layers == 3


def test_a_shared_layer_computes_twice_and_is_stored_once():
    shared = layers.Dense(4, use_bias=False)
    c = cost(net_of((4,), shared, shared))
    assert (c.layers, c.parameters, c.macs) == (2, 16, 32)


def test_nested_models_are_counted_through():
    inner = net_of((8, 8, 3), layers.Conv2D(4, 1), layers.Conv2D(4, 1))
    bag = keras.Sequential([keras.Input((8, 8, 4)), layers.Conv2D(4, 1)])
    image = keras.Input((8, 8, 3))
    x = bag(inner(image))
    c = cost(keras.Model(image, layers.Add()([x, layers.Conv2D(4, 1)(image)])))
    assert c.layers == 3
    assert c.conv_macs == c.macs == 64 * (12 + 16 + 16 + 12)
    assert c.parameters == (12 + 4) + 2 * (16 + 4) + (12 + 4)


def test_a_built_sequential_has_a_graph():
    bag = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    assert cost(bag).macs == 12
    with pytest.raises(TypeError, match="A Sequential must be built first"):
        cost(keras.Sequential([layers.Dense(3)]))
