"""Export: what is written runs on its own, or nothing is written."""

import importlib
import pathlib

import keras
import numpy as np
import pytest
from keras import layers

from resprune_tf.importance import ImportanceScale
from tests.conftest import images_of, outputs, small_net

# By name: the package's `export` is the function.
exporting = importlib.import_module("resprune_tf.export")
export, ExportError = exporting.export, exporting.ExportError
check_formats = exporting.check_formats


@pytest.fixture(scope="module")
def net():
    return small_net()


def listing(directory):
    return sorted(path.name for path in pathlib.Path(directory).iterdir())


def test_both_formats_run_on_their_own_and_replace_older_ones(net, tmp_path):
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model" / "stale.txt").write_text("old")
    (tmp_path / "model.keras").write_text("old")
    before = [keras.ops.convert_to_numpy(v.value) for v in net.variables]
    made = export(net, tmp_path)
    assert listing(tmp_path) == ["model.keras", "saved_model"]
    saved_model, saved_keras = made
    assert (saved_model.format, saved_keras.format) == ("saved_model", "keras")
    assert saved_model.path == tmp_path / "saved_model"
    assert "saved_model.pb" in listing(saved_model.path)
    assert "stale.txt" not in listing(saved_model.path)
    assert saved_keras.path == tmp_path / "model.keras"
    assert saved_keras.bytes == saved_keras.path.stat().st_size > 1000
    assert saved_model.bytes > saved_keras.bytes
    scale = max(1, np.abs(outputs(net, images_of(net, 8))).max())
    assert all(0 <= x.max_abs_difference <= 1e-4 * scale for x in made)
    loaded = keras.saving.load_model(saved_keras.path)
    assert not any(isinstance(layer, ImportanceScale) for layer in loaded.layers)
    for value, variable in zip(before, net.variables, strict=True):
        np.testing.assert_array_equal(value, keras.ops.convert_to_numpy(variable.value))


def test_wrong_outputs_are_refused_and_the_old_file_stays(net, tmp_path, monkeypatch):
    def wrong(model):
        folded = fold(model)
        folded.get_layer("logits").bias.assign_add([0.5, 0, 0, 0, 0])
        return folded

    fold = exporting.fold_model
    monkeypatch.setattr(exporting, "fold_model", wrong)
    (tmp_path / "model.keras").write_text("old")
    message = r"'keras' artefact .* 1 images differ by 0\.5.* tolerance=1e-05"
    with pytest.raises(ExportError, match=message):
        export(net, tmp_path, "keras", images=images_of(net))
    assert listing(tmp_path) == ["model.keras"]
    assert (tmp_path / "model.keras").read_text() == "old"


def test_custom_layers_cannot_hide(net, tmp_path):
    message = r"(?s)'keras' artefact does not run .* without resprune_tf.*ImportanceSc"
    with pytest.raises(ExportError, match=message):
        export(net, tmp_path / "new", ["keras"], fold=False)
    assert listing(tmp_path / "new") == []


@pytest.mark.parametrize("found", [np.nan, 1.0])
def test_every_output_is_compared(net, tmp_path, monkeypatch, found):
    def run(command, **options):
        expected = exporting._arrays(net(np.load(command[-2]), training=False))[0]
        batches = {f"{i}_0": expected[:n].copy() for i, n in enumerate((1, 3, 5))}
        batches["2_0"][-1, -1] += found
        np.savez(command[-1], **batches)
        return exporting.subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(exporting.subprocess, "run", run)
    with pytest.raises(ExportError, match="for 5 images differ by (nan|1)"):
        export(net, tmp_path, ("keras",), images=images_of(net, 5))
    assert listing(tmp_path) == []


def test_refuses_unknown_formats_before_any_work(net, tmp_path):
    message = r"Supported formats: saved_model, keras\. Received: .*'h5'"
    with pytest.raises(ValueError, match=message):
        export(net, tmp_path / "new", ("keras", "h5"))
    assert listing(tmp_path) == []
    for formats in ("h5", ["keras", "h5"]):
        with pytest.raises(ValueError, match=message):
            check_formats(formats)
    with pytest.raises(ValueError, match=r"Received: formats=\(\)\."):
        check_formats([])
    assert check_formats("keras") == ("keras",)
    assert check_formats(["keras", "keras"]) == ("keras",)


def test_says_that_tensorflow_is_missing(net, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="TensorFlow is not installed"):
        export(net, tmp_path / "new")
    assert listing(tmp_path) == []


def test_refuses_too_few_images_and_others_shapes(net, tmp_path):
    with pytest.raises(ValueError, match="`images` must be 4 or more"):
        export(net, tmp_path / "new", images=images_of(net, 3))
    with pytest.raises(ValueError, match="incompatible"):
        export(net, tmp_path / "new", images=np.zeros((4, 9, 8, 3)))
    assert listing(tmp_path) == []


def test_asks_for_images_where_the_shape_is_open(tmp_path):
    image = keras.Input((None, None, 3))
    net = keras.Model(image, layers.GlobalMaxPooling2D()(image))
    with pytest.raises(ValueError, match="not fixed: give `images`"):
        export(net, tmp_path / "new")


def test_refuses_two_inputs(tmp_path):
    inputs = [keras.Input((2,)), keras.Input((2,))]
    net = keras.Model(inputs, layers.Add()(inputs))
    with pytest.raises(ValueError, match="one input"):
        export(net, tmp_path / "new")
