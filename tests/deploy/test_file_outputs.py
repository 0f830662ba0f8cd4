"""What files compute is asked of the files themselves."""

import types

import keras
import numpy as np
import pytest
from keras import layers

from resprune_tf.deploy import file_outputs as made
from resprune_tf.deploy import registry, runtimes
from resprune_tf.deploy.export import _tolerances
from resprune_tf.deploy.file_outputs import file_inputs, file_outputs
from resprune_tf.deploy.formats import write_folded, write_saved_model
from tests.conftest import net_of, outputs, randomise


def doubled(shape):
    """A loaded model of one input of a shape, and the sizes of its calls."""
    calls = []

    def run(feed):
        (x,) = feed.values()
        assert x.dtype == "float32"
        calls.append(len(x))
        return [2 * x, x[:, 0]]

    return lambda path, threads: runtimes.Loaded({"x": (shape, "float32")}, run), calls


@pytest.mark.parametrize(
    ("shape", "sizes"), [((None, 2), [4, 4, 2]), ((3, 2), [3, 3, 3, 3])]
)
def test_all_examples_go_through_in_batches(shape, sizes):
    """A file that takes a fixed number of examples gets that many."""
    load, calls = doubled(shape)
    x = np.arange(20, dtype="uint8").reshape(10, 2)
    made = runtimes.predictions(load, [x], "file", ["image"], batch_size=4)
    assert calls == sizes
    np.testing.assert_array_equal(made["0"], 2.0 * x)
    np.testing.assert_array_equal(made["1"], x[:, 0])


def test_quantized_inputs_and_outputs_are_values():
    fed = []

    def run(feed):
        fed.append(feed["x"])
        return [feed["x"], feed["x"]]

    quantized = {"x": (0.5, -3), 1: (2.0, 1)}
    loaded = runtimes.Loaded({"x": ((None,), "int8")}, run, quantized)
    x = np.array([-200, -1.5, 0, 0.3, 200])
    made = runtimes.predictions(lambda *_: loaded, [x], "file", ["x"], batch_size=8)
    np.testing.assert_array_equal(fed[0], np.array([-128, -6, -3, -2, 127], "int8"))
    np.testing.assert_array_equal(made["0"], fed[0])
    np.testing.assert_array_equal(made["1"], [-258, -14, -8, -6, 252])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs were expected")
@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_a_litert_file_may_take_integers(tmp_path, kind):
    """As converters write it for accelerators: `export` keeps float32."""
    import tensorflow as tf

    net = net_of((4,), layers.Dense(3, "softmax"))
    randomise(net)
    x = np.random.default_rng(0).uniform(0, 2, (40, 4)).astype("float32")
    write_saved_model(net, tmp_path / "saved_model", None)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved_model"))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([each[None]] for each in x)
    converter.inference_input_type = converter.inference_output_type = tf.as_dtype(kind)
    path = tmp_path / "model.tflite"
    path.write_bytes(converter.convert())
    loaded = runtimes.RUNTIMES["litert"][0](str(path), None)
    assert {dtype for _, dtype in loaded.inputs.values()} == {np.dtype(kind).type}
    made = runtimes.predictions(lambda *_: loaded, [x], path, None, batch_size=1)
    np.testing.assert_allclose(made["0"], outputs(net, x), atol=0.05)


@pytest.mark.slow
def test_a_file_is_asked_for_its_inputs_and_its_outputs(tmp_path):
    net = net_of((4,), layers.Dense(3))
    randomise(net)
    path = write_folded("litert", net, tmp_path)
    ((_, shape, dtype),) = file_inputs(path, "litert")
    assert (shape, dtype) == ((None, 4), "float32")
    x = np.random.default_rng(0).normal(size=(7, 4)).astype("float32")
    (found,) = file_outputs(path, "tflite", x, batch_size=3)
    np.testing.assert_allclose(found, outputs(net, x), atol=1e-5)


@pytest.mark.slow
def test_inputs_of_a_file_are_given_by_name(tmp_path):
    """LiteRT and ONNX order them differently, and both have the same shape."""
    zeta, alpha = (keras.Input((4,), name=name) for name in ("zeta", "alpha"))
    mixed = layers.Dense(3)(layers.Dense(8)(zeta) - 2 * layers.Dense(8)(alpha))
    net = keras.Model([zeta, alpha], mixed)
    randomise(net)
    given = np.random.default_rng(0).normal(size=(2, 7, 4)).astype("float32")
    by_name = dict(zip(("zeta", "alpha"), given, strict=True))
    for runtime, format in (("litert", "litert"), ("onnx", "onnx")):
        path = write_folded(format, net, tmp_path)
        (found,) = file_outputs(path, runtime, by_name)
        np.testing.assert_allclose(found, outputs(net, list(given)), atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ([np.ones((5, 2))], TypeError, "must be an array, or a dict .*: list"),
        (np.ones((5, 2)), ValueError, "has the inputs a, b. Pass a dict"),
        ({"a": np.ones((5, 2)), "c": 1}, ValueError, "inputs a, b. Received: a, c"),
        ({"a": np.ones(2), "b": np.ones((5, 3))}, ValueError, r"'a' .*\(examples, 2\)"),
        (
            {"a": np.ones((5, 2)), "b": np.ones((0, 3))},
            ValueError,
            r"'b' .*\(examples, any\), with at least one.*\(0, 3\)",
        ),
        (
            {"a": np.ones((5, 2)), "b": np.ones((4, 3))},
            ValueError,
            "number of examples: a: 5, b: 4",
        ),
    ],
)
def test_inputs_that_a_file_does_not_have(
    tmp_path, monkeypatch, inputs, error, message
):
    known = [("a", (None, 2), "float32"), ("b", (None, None), "float32")]
    monkeypatch.setattr(made, "file_inputs", lambda *_: known)
    path = tmp_path / "model.tflite"
    path.touch()
    with pytest.raises(error, match=message):
        file_outputs(path, "litert", inputs)


def test_files_and_runtimes_that_do_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.tflite' does not exist"):
        file_outputs(tmp_path / "none.tflite", "litert", np.ones((5, 2)))
    with pytest.raises(ValueError, match="`runtime` must be one of .*'keras'"):
        file_outputs(tmp_path, "keras", np.ones((5, 2)))


def test_aliases_and_files_name_their_runtime(tmp_path):
    names = [*registry.FORMATS, *registry.ALIASES]
    assert len(set(names)) == len(names)
    assert registry.known_as("int8") == "litert_int8"
    for mapping in ({"int8": 0.5}, types.MappingProxyType({"int8": 0.5})):
        assert _tolerances(mapping)["litert_int8"] == 0.5
    assert registry.runtime_of("a/model.tflite") == "litert"
    assert registry.runtime_of("model.onnx") == "onnxruntime"
    assert registry.runtime_of("model.keras") is None
    assert registry.runtime_of(tmp_path) is None
    (tmp_path / "saved_model.pb").touch()
    assert registry.runtime_of(tmp_path) == "tensorflow"


def test_the_work_of_others_is_told_apart(monkeypatch):
    """Seconds of all cores, of the busy ones, and of this process."""
    seconds = iter([(100.0, 40.0, 5.0), (104.0, 42.0, 6.0)])
    monkeypatch.setattr(runtimes.BackgroundLoad, "_read", lambda self: next(seconds))
    monkeypatch.setattr(runtimes.time, "sleep", lambda seconds: None)
    assert runtimes.BackgroundLoad().share() == 0.25
    monkeypatch.setattr(runtimes.BackgroundLoad, "_read", lambda self: None)
    assert runtimes.BackgroundLoad().share() is None
