"""Costs against published counts and each other."""

import dataclasses

import keras
import pytest
from keras import layers

from resprune_tf.graph.cost import cost
from resprune_tf.nets.architecture import CONVOLUTIONS_PER_UNIT, Architecture
from resprune_tf.nets.resnet import build_resnet
from resprune_tf.units.removal import remove_units
from tests.conftest import net_of

pytestmark = pytest.mark.slow


def counts(net):
    c = cost(net)
    assert c.uncounted == ()
    return c.layers, c.parameters, c.conv_macs, c.macs


def kept(architecture, *units):
    return dataclasses.replace(
        architecture, kept=tuple(tuple(range(1, n + 1)) for n in units)
    )


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
    built = build_resnet(Architecture.cifar(9 * n + 2))
    last = built.layers[-1]
    nets = [built, keras.Model(built.inputs, layers.Dense(100)(last.input))]
    if n == 1:  # it is the last layer alone that the number of classes changes
        nets.append(build_resnet(Architecture.cifar(11, num_classes=100)))
    for net, expected in zip(nets, (*parameters, parameters[-1]), strict=False):
        depth, count, conv_macs, _ = counts(net)
        assert (depth, count) == (9 * n + 2, expected)
        assert round(conv_macs / 1e6, 3) == macs_m


# Counts of whole nets of the paper and the field are in tests/nets/test_resnet.py.
def test_the_shortened_imagenet_net_of_the_paper():
    net = kept(Architecture.imagenet(50), 2, 2, 5, 3)
    assert counts(build_resnet(net)) == (38, 23_801_640, 3_213_672_448, 3_215_720_448)


@pytest.mark.parametrize("depth", [18, 34, 101, 152])
def test_layers_are_counted_as_the_literature_does(depth):
    """Of units that are all alike, two are built, and the others added."""
    net = dataclasses.replace(
        Architecture.imagenet(depth), widths=(2, 2, 2, 2), image_shape=(32, 32, 3)
    )
    short = kept(net, 2, 1, 1, 1)
    added = (len(net.units) - 5) * CONVOLUTIONS_PER_UNIT[net.unit_kind]
    assert cost(build_resnet(short)).layers + added == depth


def test_removal_saves_what_the_unit_cost():
    fields = {"kept": ((1,), (1, 2)), "widths": (4, 8), "image_shape": (8, 8, 3)}
    net = build_resnet(Architecture(**fields))
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
    with pytest.raises(TypeError, match="Build a Sequential first"):
        cost(keras.Sequential([layers.Dense(3)]))
