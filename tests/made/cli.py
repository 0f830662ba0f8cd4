"""What the tests of the command line read: a small net, examples, files of both."""

import json

import keras
import numpy as np
from keras import layers

from resprune_cli.main import main


@keras.saving.register_keras_serializable(package="cli")
class Block(layers.Layer):
    """x + F(x) in one layer."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(4, name="dense")

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return x + self.dense(x)


def plain_net():
    """Three units of plain Keras layers on 8x8x1 pixels; three classes, by softmax."""
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Rescaling(1 / 255, name="scale")(image)
    x = layers.Conv2D(4, 3, padding="same", name="stem")(x)
    x = layers.BatchNormalization(name="stem_bn", momentum=0.5)(x)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Activation("relu")(x))
    for unit in (1, 2, 3):
        branch = layers.Dense(4, activation="relu", name=f"unit{unit}_dense")
        x = layers.Add(name=f"unit{unit}_add")([x, branch(x)])
    x = layers.Dense(3, activation="softmax", name="classes")(x)
    net = keras.Model(image, x, name="plain")
    net.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return net


def brightness_net():
    """A net that tells `examples` apart without training: raw pixels, two units.

    Its outputs are distances to the mean brightness of each class, as logits.
    """
    image = keras.Input((8, 8, 1), name="image")
    x = layers.GlobalAveragePooling2D(name="pool")(image)
    for unit in (1, 2):
        branch = layers.Dense(1, kernel_initializer="zeros", name=f"unit{unit}_dense")
        x = layers.Add(name=f"unit{unit}_add")([x, branch(x)])
    head = layers.Dense(3, name="classes")
    net = keras.Model(image, layers.Softmax(name="shares")(head(x)), name="bright")
    means = np.array([30.0, 110.0, 190.0])
    head.set_weights([means[None] / 100, -(means**2) / 200])
    net.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return net


def eager(net):
    """Compiles a classifier so that it computes without a trace.

    Tracing takes longer than the few steps of a test. Pruned nets are compiled alike.
    """
    loss = "sparse_categorical_crossentropy"
    net.compile("sgd", loss, metrics=["accuracy"], run_eagerly=True)
    return net


def examples(count=60, seed=0):
    """Grey uint8 images `(count, 8, 8)`, whose brightness tells the class of three."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = rng.integers(0, 60, (count, 8, 8)) + 80 * labels[:, None, None]
    return images.astype("uint8"), labels.astype("int64")


def write_npz(path, **arrays):
    """An `.npz` file: of `examples` if nothing else is given."""
    if not arrays:
        arrays = dict(zip(("x", "y"), examples(), strict=True))
    np.savez(path, **arrays)
    return str(path)


def resprune(capsys, *argv):
    """Runs a command line: `(exit code, standard output, standard error)`."""
    capsys.readouterr()
    try:
        code = main([str(each) for each in argv])
    except SystemExit as end:  # of argparse
        code = end.code
    out, err = capsys.readouterr()
    return code, out, err


def besides_progress(err):
    """Lines of standard error but those that say what is being done."""
    return [line for line in err.splitlines() if not line.endswith(" ...")]


def resprune_json(capsys, *argv):
    """Runs a command line that ends well; what it prints as JSON."""
    code, out, err = resprune(capsys, *argv, "--json")
    assert code == 0, err
    return json.loads(out)
