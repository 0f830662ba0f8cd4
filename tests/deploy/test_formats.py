"""Formats: what they need is asked for first; all compute in float32."""

import pathlib

import keras
import numpy as np
import pytest
from keras import layers

from resprune_tf.deploy import formats
from resprune_tf.deploy.formats import check_formats, in_float32
from tests.conftest import images_of, outputs, shallow_net

ROOT = pathlib.Path(__file__).parents[2]


def test_refuses_unknown_formats():
    known = ", ".join(formats.FORMATS)
    message = rf"`formats` must be one or more of {known}\. Received: .*'h5'"
    for wrong in ("h5", ["keras", "h5"]):
        with pytest.raises(ValueError, match=message):
            check_formats(wrong)
    with pytest.raises(ValueError, match=r"Received: formats=\(\)\."):
        check_formats([])
    assert check_formats("keras") == ("keras",)
    assert check_formats(["keras", "keras"]) == ("keras",)
    assert check_formats(["tflite", "litert", "int8"]) == ("litert", "litert_int8")
    assert check_formats(formats.FORMATS) == tuple(formats.FORMATS)


@pytest.mark.parametrize(
    ("missing", "format", "message"),
    [
        (
            "tensorflow",
            "saved_model",
            r"not installed: tensorflow\. .*`pip install tensorflow`",
        ),
        (
            "ai_edge_litert",
            "litert_int8",
            r"ai_edge_litert\. .*`pip install \"\.\[litert\]\"` in a clone",
        ),
        ("tf2onnx", "onnx", r"tf2onnx\. .*`pip install \"\.\[onnx\]\"` in a clone"),
    ],
)
def test_says_what_to_install(monkeypatch, missing, format, message):
    find = formats.importlib.util.find_spec
    monkeypatch.setattr(
        formats.importlib.util,
        "find_spec",
        lambda name: None if name == missing else find(name),
    )
    with pytest.raises(ImportError, match=message):
        check_formats(("keras", format))
    check_formats("keras")


def test_says_which_backend_writes_a_format(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(
        ValueError, match="'onnx' requires .* tensorflow. Received: jax"
    ):
        check_formats(("saved_model", "onnx"))
    assert check_formats(("saved_model", "keras")) == ("saved_model", "keras")


def test_in_float32_of_mixed_precision():
    half = keras.DTypePolicy("mixed_float16")
    inside = keras.Input((8, 8, 3), name="inside")
    inner = keras.Model(inside, layers.Conv2D(3, 1, dtype=half)(inside), name="inner")
    inner.dtype_policy = half
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Dense(2, dtype=half)(0.5 * inner(image))
    net = keras.Model(image, x)
    plain = in_float32(net)
    assert {layer.compute_dtype for layer in plain._flatten_layers()} == {"float32"}
    images = images_of(net)
    kernel, bias = (keras.ops.convert_to_numpy(v) for v in inner.weights)
    dense, shift = (keras.ops.convert_to_numpy(v) for v in net.layers[-1].weights)
    exact = 0.5 * (images @ kernel[0, 0] + bias) @ dense + shift
    np.testing.assert_allclose(outputs(plain, images), exact, atol=1e-6)
    # That was not so before.
    assert np.abs(outputs(net, images) - exact).max() > 1e-5


def test_in_float32_of_float32_is_the_model_itself():
    net = shallow_net()
    assert in_float32(net) is net
    word = keras.Input((2,), dtype="int32")
    net = keras.Model(word, layers.Embedding(3, 4)(word))
    assert in_float32(net) is net


def test_the_documentation_knows_every_format():
    page = (ROOT / "docs" / "deploy.md").read_text()
    for name, format in formats.FORMATS.items():
        (row,) = (r for r in page.splitlines() if r.startswith(f"| `{name}` | `"))
        assert f"`{format.file}" in row
        assert format.extra is None or f"[{format.extra}]" in row or "the same" in row
