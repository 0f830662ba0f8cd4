"""Small nets of other kinds than ours, for the criteria."""

import keras
from keras import layers, ops

from resprune_tf.nets.importance import ImportanceScale
from tests.conftest import randomise


def _unit(x, channels, name, importance=False):
    y = layers.BatchNormalization(name=f"{name}_bn")(x)
    y = layers.Conv2D(channels, 3, padding="same", name=f"{name}_conv")(y)
    if importance:
        y = ImportanceScale(name=f"{name}_importance")(y)
    return layers.Add(name=f"{name}_add")([x, y])


def nested(trainable=True):
    """Two units in a model in a model, another of the same name behind them.

    Five logits.
    """
    image = keras.Input((4, 4, 3))
    x = layers.Conv2D(6, 3, padding="same", name="stem")(image)
    inside = keras.Input((4, 4, 6))
    stage = keras.Model(inside, _unit(_unit(inside, 6, "a"), 6, "b"), name="stage")
    backbone = keras.Model(image, stage(x), name="backbone")
    backbone.trainable = trainable
    outer = keras.Input((4, 4, 3))
    x = _unit(backbone(outer), 6, "a")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    net = keras.Model(outer, layers.Dense(5, name="logits")(x), name="nested")
    randomise(net)
    return net


def flat(importance=False, policy="float32", size=4):
    """The same net without nesting, its units named a, b and c."""
    image = keras.Input((size, size, 3))
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    x = layers.Conv2D(6, 3, padding="same", name="stem")(image)
    for name in "abc":
        x = _unit(x, 6, name, importance)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    logits = layers.Dense(5, dtype="float32", name="logits")(x)
    keras.config.set_dtype_policy(previous)
    net = keras.Model(image, logits, name="flat")
    randomise(net)
    return net


def shared():
    """A model with one unit, called twice."""
    inside = keras.Input((4, 4, 6))
    stage = keras.Model(inside, _unit(inside, 6, "a"), name="stage")
    image = keras.Input((4, 4, 3))
    x = layers.Conv2D(6, 3, padding="same", name="stem")(image)
    x = layers.GlobalAveragePooling2D(name="pool")(stage(layers.ReLU()(stage(x))))
    net = keras.Model(image, layers.Dense(5, name="logits")(x), name="shared")
    randomise(net)
    return net


def two_inputs():
    """Takes a dict of an image and tokens; a dense unit; one number as output."""
    image = keras.Input((4, 4, 3), name="image")
    tokens = keras.Input((7,), dtype="int32", name="tokens")
    words = layers.Embedding(50, 6, name="words")(tokens)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, name="conv")(image))
    x = x + layers.GlobalAveragePooling1D()(words)
    for name in ("first", "second"):
        y = layers.Dense(6, activation="relu", name=f"{name}_dense")(x)
        x = layers.Add(name=f"{name}_add")([x, y])
    inputs = {"image": image, "tokens": tokens}
    net = keras.Model(inputs, layers.Dense(1, name="value")(x), name="two_inputs")
    randomise(net)
    return net


def segmenter():
    """A class for every pixel, and probabilities instead of logits."""
    image = keras.Input((4, 4, 3))
    x = layers.Conv2D(6, 3, padding="same", name="stem")(image)
    x = _unit(_unit(x, 6, "a"), 6, "b")
    x = layers.Conv2D(4, 1, activation="softmax", name="classes")(x)
    net = keras.Model(image, x, name="segmenter")
    randomise(net)
    return net


def squared(labels, outputs):
    """A loss of one's own, with a value for each output."""
    return ops.square(labels - outputs)
