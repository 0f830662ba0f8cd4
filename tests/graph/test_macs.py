"""Multiply-accumulates against counts by hand."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from resprune_tf.graph.cost import cost
from resprune_tf.units.finding import find_units
from tests.conftest import net_of

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
    "depthwise scale": ((8, 8, 3), lambda: layers.DepthwiseConv2D(1), 0, True),
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


class Kernel(layers.Layer):
    """Multiplies by a kernel of its own."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 3))
        self.scale = self.add_weight(shape=())

    def call(self, x):
        return self.scale * (x @ self.kernel)  # Keras's own `*` takes numbers only


class Block(layers.Layer):
    """Holds layers: two in a row, and one beside them."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = layers.Conv1D(6, 3), Kernel()
        self.beside = layers.Dense(3)

    def build(self, shape):
        self.first.build(shape)
        self.second.build((*shape[:-1], 6))
        self.beside.build(shape)

    def call(self, x):
        batch = ops.shape(x)[0]  # which is not known
        start = ops.broadcast_to(ops.zeros((1, 1, 3)), (batch, 1, 3))
        return ops.concatenate([start, self.second(self.first(x)), self.beside(x)], 1)


class Windows(layers.Layer):
    """Attention within windows of 4 of 8 positions, which it moves into the batch."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attention = layers.MultiHeadAttention(1, 4)

    def build(self, shape):
        self.attention.build((None, 4, shape[-1]), (None, 4, shape[-1]))

    def call(self, x):
        windows = ops.reshape(x, (-1, 4, x.shape[-1]))
        return ops.reshape(self.attention(windows, windows), (-1, *x.shape[1:]))


class FromTheLeft(layers.Layer):
    """Multiplies positions, not channels."""

    def build(self, shape):
        self.mix = self.add_weight(shape=(3, shape[1]))

    def call(self, x):
        channels_first = ops.transpose(x, (1, 0, 2))
        flat = ops.reshape(channels_first, (x.shape[1], -1))
        return ops.reshape(self.mix @ flat, (-1, 3, x.shape[2]))


class OneStep(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.cell = layers.LSTMCell(3)

    def build(self, shape):
        self.cell.build((None, shape[-1]))

    def call(self, x):
        return self.cell(x[:, 0], [x[:, 1, :3], x[:, 2, :3]])[0]


# name: (input shape, layer, MACs, those of convolutions, layers)
CLOSED = {
    "a kernel of its own": ((5, 4), Kernel, 5 * 4 * 3, 0, 1),
    "layers inside": (
        (5, 4),
        Block,
        3 * (3 * 4 * 6) + 3 * 6 * 3 + 5 * 4 * 3,
        3 * (3 * 4 * 6),
        2,
    ),
    "a Lambda": (
        (5, 4),
        lambda: layers.Lambda(lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1)))),
        5 * 5 * 4,
        0,
        0,
    ),
    "time distributed": (
        (5, 6, 2),
        lambda: layers.TimeDistributed(layers.Conv1D(3, 3)),
        5 * 4 * (3 * 2 * 3),
        5 * 4 * (3 * 2 * 3),
        1,
    ),
    "LSTM": ((5, 4), lambda: layers.LSTM(3), 5 * (4 * 12 + 3 * 12), 0, 1),
    "stacked cells": (
        (5, 4),
        lambda: layers.RNN([layers.GRUCell(3), layers.SimpleRNNCell(2)]),
        5 * (4 * 9 + 3 * 9 + 3 * 2 + 2 * 2),
        0,
        1,
    ),
    "both directions": (
        (5, 4),
        lambda: layers.Bidirectional(layers.GRU(3)),
        2 * 5 * (4 * 9 + 3 * 9),
        0,
        1,
    ),
    "attention without weights": (
        (5, 4),
        lambda: lambda x: layers.Attention()([x, x]),
        2 * 5 * 5 * 4,
        0,
        0,
    ),
    "windows": ((8, 5), Windows, 4 * (8 * 5 * 4) + 2 * (4 * 4) * (4 + 4), 0, 1),
    "from the left": ((7, 5), FromTheLeft, 3 * 7 * 5, 0, 1),
    "a cell": ((5, 4), OneStep, 4 * 12 + 3 * 12, 0, 1),
    "nothing to count": ((5, 4), lambda: layers.Lambda(lambda x: x + 1), 0, 0, 0),
}


@pytest.mark.parametrize("name", CLOSED)
def test_what_lies_inside_a_layer(name):
    shape, make, macs, conv_macs, depth = CLOSED[name]
    model = net_of(shape, make())
    noted = [len(layer._inbound_nodes) for layer in model._flatten_layers()]
    c = cost(model)
    assert c.uncounted == ()
    assert (c.macs, c.conv_macs, c.layers) == (macs, conv_macs, depth)
    assert noted == [len(layer._inbound_nodes) for layer in model._flatten_layers()]


def test_positions_may_be_moved_into_the_batch():
    dense = layers.Dense(7)
    rows = net_of((8, 5), lambda x: ops.reshape(x, (-1, 5)), dense)
    assert cost(rows).macs == 8 * 5 * 7
    x = keras.Input((8, 5))
    y = x + ops.reshape(layers.Dense(5)(ops.reshape(x, (-1, 5))), (-1, 8, 5))
    (unit,) = find_units(keras.Model(x, y))
    assert unit.macs == 8 * 5 * 5


def test_a_fixed_batch_counts_as_one_image():
    image = keras.Input(batch_shape=(3, 5, 4))
    model = keras.Model(image, image + layers.Dense(4)(image))
    assert cost(model).macs == find_units(model)[0].macs == 5 * 4 * 4


@pytest.mark.skipif(
    not hasattr(layers, "ReversibleEmbedding"), reason="a layer of later Keras versions"
)
def test_an_embedding_that_is_used_again_multiplies():
    words = keras.Input((6,), dtype="int32")
    embedding = layers.ReversibleEmbedding(9, 4)
    model = keras.Model(words, embedding(embedding(words), reverse=True))
    assert cost(model).macs == 6 * 4 * 9


def test_looking_inside_a_function_leaves_nothing_behind():
    dense = layers.Dense(4)
    dense.build((None, 4))
    model = net_of((4,), layers.Lambda(lambda x: dense(x), output_shape=(4,)))
    before = len(dense._inbound_nodes)
    assert cost(model).macs == 16
    assert len(dense._inbound_nodes) == before


def test_looking_inside_changes_no_seed():
    class Noise(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.seeds = keras.random.SeedGenerator(3)

        def call(self, x):
            return x + keras.random.normal((1, 4), seed=self.seeds)

    model = net_of((4,), Noise(), layers.Dense(2))
    before = ops.convert_to_numpy(model.layers[1].seeds.state.value)
    assert cost(model).macs == 8
    after = ops.convert_to_numpy(model.layers[1].seeds.state.value)
    np.testing.assert_array_equal(after, before)


def test_what_cannot_be_looked_into_is_named():
    class Odd(Kernel):
        def call(self, x):
            if isinstance(x, keras.KerasTensor):
                raise TypeError("numbers, please")
            return super().call(x)

        def compute_output_spec(self, x):
            return keras.KerasTensor((*x.shape[:-1], 3), x.dtype)

    odd = Odd(name="odd")
    odd.build((None, 5, 3))
    attention = layers.AdditiveAttention(name="attention")
    grouped = layers.GroupQueryAttention(2, 4, 2, name="grouped")  # loses sizes
    x = image = keras.Input((5, 3))
    x = odd(odd(x))
    x = layers.LayerNormalization()(attention([x, grouped(x, x)]))
    x = layers.BatchNormalization()(x)
    c = cost(keras.Model(image, layers.Dense(2)(x)))
    assert c.uncounted == ("odd", "grouped", "attention")
    assert (c.macs, c.layers) == (5 * 3 * 2, 1)


def test_names_the_layer_whose_shape_is_open():
    message = r"MACs of 'conv' .*\(1, None, None, 3\).*with_input_shape"
    with pytest.raises(ValueError, match=message):
        cost(net_of((None, None, 3), layers.Conv2D(4, 3, name="conv")))
    # A 1x1 output is known even so.
    pooled = net_of((None, None, 3), layers.GlobalMaxPooling2D(), layers.Dense(2))
    assert cost(pooled).macs == 6
