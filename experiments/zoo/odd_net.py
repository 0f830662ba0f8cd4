"""A model of no known family, with residual units written in many ways."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="odd_net")
class SqueezeBlock(layers.Layer):
    """A residual block as a layer; its unit is found after `expand`."""

    def build(self, input_shape):
        filters = input_shape[-1]
        self.norm = layers.GroupNormalization(4, name="norm")
        self.deep = layers.DepthwiseConv2D(5, padding="same", name="deep")
        self.wide = layers.Conv2D(2 * filters, 1, activation="silu", name="wide")
        self.back = layers.Conv2D(filters, 1, name="back")
        shape = tuple(input_shape)
        for layer, channels in (
            (self.norm, filters),
            (self.deep, filters),
            (self.wide, filters),
            (self.back, 2 * filters),
        ):
            layer.build((*shape[:-1], channels))

    def call(self, inputs):
        return inputs + self.back(self.wide(self.deep(self.norm(inputs))))


def _unit(x, name, merge):
    filters = x.shape[-1]
    branch = layers.BatchNormalization(name=f"{name}_norm")(x)
    branch = layers.ReLU(name=f"{name}_relu")(branch)
    branch = layers.SeparableConv2D(filters, 3, padding="same", name=f"{name}_conv")(
        branch
    )
    return merge(x, branch)


def _stage(shape, name):
    """A nested model with an Add layer, an `ops.add` and an `x - y`."""
    inputs = keras.Input(shape, name=f"{name}_in")
    add = layers.Add(name=f"{name}_a_add")
    x = _unit(inputs, f"{name}_a", lambda x, y: add([x, y]))
    x = _unit(x, f"{name}_b", ops.add)
    x = _unit(x, f"{name}_c", lambda x, y: x - y)
    return keras.Model(inputs, x, name=name)


def odd_net(size=64):
    """A model with nested models, blocks as layers, a projection and attention.

    One of the nested models is called twice.

    Args:
        size: height and width of the input images, a multiple of 4.

    Returns:
        A functional `keras.Model` from `(size, size, 3)` to 10 logits.
    """
    image = keras.Input((size, size, 3), name="image")
    x = layers.Conv2D(16, 3, 2, padding="same", name="stem")(image)
    first = _stage((None, None, 16), "first")
    x = first(first(x))
    x = SqueezeBlock(name="squeeze")(x)
    wide = layers.Conv2D(32, 3, 2, padding="same", name="down_conv")(layers.ReLU()(x))
    wide = layers.Conv2D(32, 3, padding="same", name="down_more")(wide)
    x = layers.Add(name="down_add")(
        [wide, layers.Conv2D(32, 1, 2, name="down_project")(x)]
    )
    inner = _stage((None, None, 32), "inner")
    tower = keras.Sequential([keras.Input((None, None, 32)), inner], name="tower")
    x = SqueezeBlock(name="squeeze_again")(tower(x))
    tokens = layers.Reshape((-1, 32), name="tokens")(x)
    norm = layers.LayerNormalization(name="attention_norm")(tokens)
    seen = layers.MultiHeadAttention(2, 16, name="attention")(norm, norm)
    tokens = layers.Add(name="attention_add")([tokens, seen])
    pooled = layers.GlobalAveragePooling1D(name="pool")(tokens)
    return keras.Model(image, layers.Dense(10, name="logits")(pooled), name="odd_net")
