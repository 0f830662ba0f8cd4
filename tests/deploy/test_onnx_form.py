"""ONNX files: what tf2onnx alone would not write, and the names that they have."""

import keras
import numpy as np
import onnx
import pytest
from keras import layers

from resprune_tf.deploy.export import export
from resprune_tf.deploy.formats import write
from resprune_tf.deploy.runtimes import RUNTIMES
from tests.conftest import images_of


def normalization():
    layer = layers.Normalization()
    layer.adapt(np.random.default_rng(0).normal(5, 3, (64, 8, 8, 4)))
    return layer


class Scaled(layers.Layer):
    """Holds a tensor that is no variable."""

    def build(self, shape):
        self.scale = keras.ops.arange(1.0, shape[-1] + 1)

    def call(self, inputs):
        return inputs * self.scale


def tensor(*shape):
    values = np.random.default_rng(2).normal(size=shape)
    return keras.ops.convert_to_tensor(values, "float32")


# Tensors that are no variables, and functions that Keras compiles by themselves.
LAYERS = {
    "adapted": lambda: normalization(),
    "given": lambda: layers.Normalization(mean=[1.0, 2, 3, 4], variance=[1.0, 4, 9, 1]),
    "held": lambda: Scaled(),
    "scalar": lambda: lambda x: x * keras.ops.convert_to_tensor(1.5),
    "channels": lambda: lambda x: x + tensor(4),
    "image": lambda: lambda x: tensor(8, 8, 4) - x,
    "numpy": lambda: lambda x: x + np.arange(4, dtype="float32"),
    "order": lambda: lambda x: keras.ops.take(x, keras.ops.arange(3, -1, -1), axis=-1),
    "grouped": lambda: layers.Conv2D(8, 3, groups=2, padding="same"),
    "each": lambda: layers.Conv2D(8, 3, 2, groups=4, use_bias=False),
    "dilated": lambda: layers.Conv2D(4, 3, groups=4, dilation_rate=2),
}


def test_constants_and_grouped_convolutions_are_written(tmp_path):
    image = keras.Input((8, 8, 4), name="image")
    model = keras.Model(image, {kind: make()(image) for kind, make in LAYERS.items()})
    images = images_of(model)
    load, _ = RUNTIMES["onnxruntime"]
    loaded = load(str(write("onnx", model, tmp_path)), 1)
    assert list(loaded.inputs) == ["image"]
    expected = model(images, training=False)
    found = loaded.run({"image": images})
    for kind, output in zip(sorted(LAYERS), found, strict=True):
        wanted = keras.ops.convert_to_numpy(expected[kind])
        np.testing.assert_allclose(output, wanted, atol=1e-5, err_msg=kind)


def names_of(model, folder):
    """Names of the inputs and of the outputs of an ONNX file."""
    definition = onnx.load(write("onnx", model, folder)).graph
    return [[x.name for x in side] for side in (definition.input, definition.output)]


def test_names_and_their_order(tmp_path):
    """Those of Keras, where it has some; a list has numbers."""
    inputs = [keras.Input((3,), name=name) for name in ("b", "a", "one")]
    sums = [layers.Add()(inputs) for _ in range(11)]
    (tmp_path / "list").mkdir()
    model = keras.Model(inputs, sums)
    numbers = [f"output_{index}" for index in range(11)]
    assert names_of(model, tmp_path / "list") == [["b", "a", "one"], numbers]
    model = keras.Model(inputs, {"z": sums[0], "one": sums[1], "c": sums[2]})
    ends = ["c", "one_output", "z"]  # as Keras orders dicts; values have one name each
    assert names_of(model, tmp_path) == [["b", "a", "one"], ends]


def test_a_name_that_is_taken_is_left_to_its_owner(tmp_path):
    x = keras.Input((3,), name="x")
    model = keras.Model({"x": x}, {"x": layers.Dense(2)(x), "x_output": x * 2})
    assert names_of(model, tmp_path) == [["x"], ["x_output_", "x_output"]]


@pytest.mark.slow
def test_such_models_are_exported(tmp_path, in_this_process):
    """The beginning of an EfficientNet, a tensor and a block of a ConvNeXt."""
    inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(4, 3, groups=4, padding="same")(normalization()(inputs))
    x = layers.Activation("gelu")(x * tensor(4))
    model = keras.Model(inputs, layers.Add()([inputs, x]))
    made = export(model, tmp_path, ("onnx", "litert", "litert_int8"), images_of(model))
    assert max(exported.max_abs_difference for exported in made[:2]) < 1e-4
