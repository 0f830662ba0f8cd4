"""Costs against published counts, hand counts and each other."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers, ops

from resprune_tf.architecture import Architecture
from resprune_tf.cost import Latency, cost, latency
from resprune_tf.removal import remove_units
from resprune_tf.resnet import build_resnet
from tests.conftest import small_net


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


def net_of(shape, *chain):
    x = image = keras.Input(shape)
    for layer in chain:
        x = layer(x)
    return keras.Model(image, x)


# name: (input shape, layer, MACs by hand, whether it is a convolution)
TINY = {
    "plain": ((8, 6, 3), lambda: layers.Conv2D(5, 3), 3 * 3 * 3 * 5 * 6 * 4, True),
    "strided": (
        (8, 8, 3),
        lambda: layers.Conv2D(5, 3, 2, "same"),
        3 * 3 * 3 * 5 * 4 * 4,
        True,
    ),
    "channels first": (
        (3, 8, 6),
        lambda: layers.Conv2D(5, 1, data_format="channels_first"),
        3 * 5 * 8 * 6,
        True,
    ),
    "grouped": ((4, 4, 8), lambda: layers.Conv2D(6, 1, groups=2), 4 * 6 * 16, True),
    "depthwise": (
        (8, 8, 3),
        lambda: layers.DepthwiseConv2D(3, depth_multiplier=2),
        3 * 3 * 3 * 2 * 6 * 6,
        True,
    ),
    "separable": (
        (8, 8, 3),
        lambda: layers.SeparableConv2D(5, 3, depth_multiplier=2),
        (3 * 3 * 3 * 2 + 6 * 5) * 6 * 6,
        True,
    ),
    "transpose": (
        (4, 4, 3),
        lambda: layers.Conv2DTranspose(5, 3, 2),
        3 * 3 * 3 * 5 * 4 * 4,
        True,
    ),
    "conv1d": ((8, 3), lambda: layers.Conv1D(5, 3), 3 * 3 * 5 * 6, True),
    "conv3d": ((4, 4, 4, 2), lambda: layers.Conv3D(3, 2), 8 * 2 * 3 * 27, True),
    "dense": ((7,), lambda: layers.Dense(3), 7 * 3, False),
    "dense on a sequence": ((5, 7), lambda: layers.Dense(3), 5 * 7 * 3, False),
    "einsum dense": (
        (5, 7),
        lambda: layers.EinsumDense("abc,cde->abde", (5, 2, 3)),
        5 * 7 * 2 * 3,
        False,
    ),
    "einsum dense with an ellipsis": (
        (5, 6, 7),
        lambda: layers.EinsumDense("...x,xy->...y", 4),
        5 * 6 * 7 * 4,
        False,
    ),
    "matmul": ((5, 7), lambda: lambda x: x @ ops.transpose(x, (0, 2, 1)), 175, False),
    "constant": ((5, 7), lambda: lambda x: ops.matmul(x, np.ones((7, 2))), 70, False),
    "einsum": (
        (5, 7),
        lambda: lambda x: ops.einsum("bij,bkj->bik", x, x),
        5 * 5 * 7,
        False,
    ),
    "a transposition": ((5, 7), lambda: lambda x: ops.einsum("bij->bji", x), 0, False),
    "embedding": ((5,), lambda: layers.Embedding(9, 4), 0, False),
}


@pytest.mark.parametrize("name", TINY)
def test_hand_counts(name):
    shape, make, macs, convolution = TINY[name]
    c = cost(net_of(shape, make()))
    assert c.uncounted == ()
    assert (c.macs, c.conv_macs) == (macs, macs if convolution else 0)


def test_attention():
    query, value = keras.Input((5, 8)), keras.Input((7, 6))
    attention = layers.MultiHeadAttention(num_heads=2, key_dim=3, value_dim=4)
    projections = 5 * 8 * 6 + 7 * 6 * 6 + 7 * 6 * 8 + 5 * 8 * 8
    pairs = 2 * 5 * 7 * (3 + 4)
    c = cost(keras.Model([query, value], attention(query, value=value)))
    assert (c.macs, c.conv_macs, c.layers) == (projections + pairs, 0, 1)


def test_attention_over_one_of_two_axes():
    image = keras.Input((5, 6, 8))
    attention = layers.MultiHeadAttention(1, 4, attention_axes=2)
    c = cost(keras.Model(image, attention(image, image)))
    assert c.macs == 4 * (5 * 6) * 8 * 4 + 5 * (6 * 6) * (4 + 4)


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
    with pytest.raises(TypeError, match="a Sequential must be built first"):
        cost(keras.Sequential([layers.Dense(3)]))


def test_what_has_no_rule_is_named():
    class Odd(layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], shape[-1]))

        def call(self, x):
            return x @ self.kernel

    odd = Odd(name="odd")
    attention = layers.Attention(name="attention")
    x = image = keras.Input((5, 4))
    x = layers.LSTM(3, return_sequences=True, name="lstm")(odd(odd(x)))
    x = layers.LayerNormalization()(attention([x, x]))
    x = layers.BatchNormalization()(x)
    c = cost(keras.Model(image, layers.Dense(2)(x)))
    assert c.uncounted == ("odd", "lstm", "attention")
    assert (c.macs, c.layers) == (5 * 3 * 2, 1)


def test_names_the_layer_whose_shape_is_open():
    message = r"MACs of 'conv' .*\(None, None, None, 3\).*fixed input shape"
    with pytest.raises(ValueError, match=message):
        cost(net_of((None, None, 3), layers.Conv2D(4, 3, name="conv")))
    # A 1x1 output is known even so.
    pooled = net_of((None, None, 3), layers.GlobalMaxPooling2D(), layers.Dense(2))
    assert cost(pooled).macs == 6


@pytest.fixture(scope="module")
def net():
    return small_net(11)


@pytest.mark.parametrize("backward", [False, True])
def test_latency_measures_and_changes_nothing(net, backward):
    before = [keras.ops.convert_to_numpy(v.value) for v in net.variables]
    found = latency(net, batch_size=2, backward=backward, runs=4, warmup=1)
    assert isinstance(found, Latency)
    assert 0 < found.p10_ms <= found.median_ms <= found.p90_ms
    assert found.p10_ms <= found.mean_ms
    assert (found.runs, found.batch_size, found.backward) == (4, 2, backward)
    assert found.precision == "float32"
    assert found.backend == keras.backend.backend()
    assert found.device
    for value, variable in zip(before, net.variables, strict=True):
        np.testing.assert_array_equal(value, keras.ops.convert_to_numpy(variable.value))


def test_latency_of_other_inputs_and_outputs():
    inputs = {
        "image": keras.Input((4, 4, 3), name="image"),
        "word": keras.Input((2,), dtype="int32", name="word"),
    }
    x = layers.Conv2D(2, 1, dtype="mixed_bfloat16")(inputs["image"])
    x = layers.BatchNormalization(dtype="mixed_bfloat16")(x)
    word = layers.Flatten()(layers.Embedding(3, 4)(inputs["word"]))
    net = keras.Model(inputs, [layers.Dropout(0.5)(x), word])
    found = latency(net, backward=True, runs=1, warmup=1)
    assert found.precision == "mixed_bfloat16"
    assert latency(net, runs=1, warmup=1).median_ms > 0


def test_latency_says_what_is_wrong(net):
    with pytest.raises(ValueError, match="`runs` must be >= 1. Received: runs=0"):
        latency(net, runs=0)
    with pytest.raises(ValueError, match="fixed input shape. Received: input 'image'"):
        latency(keras.Model(x := keras.Input((None,), name="image"), x + 1))
    with pytest.raises(TypeError, match="latency reads the graph"):
        latency(keras.Sequential([layers.Dense(3)]))
