"""`benchmark` and `compare` judge the files that they time, not the Keras models."""

from unittest import mock

import keras
import numpy as np
import pytest
from keras import layers

from resprune_cli.work import benchmarking, comparing, deployed, measuring
from resprune_tf.deploy.latency import Latency
from resprune_tf.system.wording import busy_note
from tests.conftest import net_of
from tests.made.cli import (
    brightness_net,
    eager,
    examples,
    resprune,
    resprune_json,
    write_npz,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A folder with `net.keras`, which is always right, and `data.npz`."""
    place = tmp_path_factory.mktemp("given")
    eager(brightness_net()).save(place / "net.keras")
    write_npz(place / "data.npz")
    return place


def latency(times, load, runtime="litert"):
    fields = dict.fromkeys(("backward", "precision", "device", "backend"))
    return Latency.of(times, **fields, batch_size=1, runtime=runtime, load=load)


def write_classes(folder, names):
    """An image of 8x8 grey pixels in a folder per class."""
    for name in names:
        (folder / name).mkdir(parents=True)
        image = np.zeros((8, 8, 1), "uint8")
        keras.utils.save_img(folder / name / "0.png", image, scale=False)


@pytest.fixture
def files(monkeypatch):
    """Files that no runtime sees: what they are said to compute, and how fast.

    Returns:
        A list of the runtimes and calibrations that models were written with.
    """
    written = []

    def write(model, folder, data, args, name=None):
        folder.mkdir()
        written.append((args.runtime, data is not None))
        (folder / "file").write_bytes(b"four")
        return folder / "file"

    def outputs(path, runtime, inputs, model, args, name=None):
        """Half of them of the first class, the others as the model says."""
        found = model.predict(inputs[0], verbose=0)
        found[: len(found) // 2] = [0.6, 0.2, 0.2]
        return [found]

    def runtime_latencies(paths, runtime, batch_size, runs=50, threads=1):
        return tuple(latency([1.0, 2.0, 3.0], 0.5, runtime) for _ in paths)

    monkeypatch.setattr(deployed, "write", write)
    monkeypatch.setattr(deployed, "outputs", outputs)
    for module in (comparing, benchmarking):
        monkeypatch.setattr(module, "runtime_latencies", runtime_latencies)
    return written


def test_compare_measures_the_files_that_it_times(given, files, tmp_path, capsys):
    x, y = examples(12)
    data = write_npz(tmp_path / "held.npz", x=x, y=y, x_test=x, y_test=y)
    argv = ["compare", *[given / "net.keras"] * 2, "--data", data]
    told = resprune_json(capsys, *argv, "--runtime", "int8")
    assert files == [("litert_int8", True)] * 2  # calibrated on the data
    # Of the 6 that are said to be of the first class 2 are.
    assert told["b"]["test accuracy"] == pytest.approx(8 / 12)
    assert told["b"]["test loss"] > 0.2
    assert told["outputs"]["of"] == "litert_int8 files"
    assert told["latency"]["busy"] == busy_note(0.5)
    assert resprune_json(capsys, *argv, "--runtime", "none")["b"]["test accuracy"] == 1
    assert len(files) == 2
    text = comparing.table(told)
    assert busy_note(0.5) in text
    assert "exported litert_int8 files that were timed" in text


def test_examples_of_sorted_data_are_of_all_classes(given, tmp_path, capsys):
    """A whole class comes before the next, as in many files."""
    x, y = examples(1500)
    order = np.argsort(y, kind="stable")
    x, y = x[order], y[order]
    data = write_npz(tmp_path / "sorted.npz", x=x, y=y, x_test=x, y_test=y)

    def check(images, count):
        classes = images.mean(axis=(1, 2, 3)) // 80  # as `examples` makes them
        assert len(images) == count and set(classes) == {0, 1, 2}

    net = given / "net.keras"
    argv = ["export", net, "--formats", "int8", "--out", tmp_path, "--data", data]
    with (
        mock.patch("resprune_tf.export", side_effect=ValueError) as export,
        mock.patch.object(measuring, "check_classifier") as judged,
    ):
        resprune(capsys, *argv)
    check(export.call_args.kwargs["calibration"], 500)
    check(export.call_args.kwargs["images"], 64)
    _, images, labels, _ = judged.call_args.args
    check(images, 1000)
    np.testing.assert_array_equal(images.mean(axis=(1, 2, 3)) // 80, labels)

    argv = ["benchmark", net, "--runtime", "int8", "--data", data]
    stop = mock.Mock(side_effect=ValueError)
    with mock.patch.object(deployed, "images_to_calibrate", stop) as calibrate:
        resprune(capsys, *argv)
    check(calibrate.call_args.args[1], 500)


def test_compare_takes_examples_of_all_classes(given, files, tmp_path, capsys):
    x, y = examples(900)
    order = np.argsort(y, kind="stable")
    data = write_npz(tmp_path / "d.npz", x=x, y=y, x_test=x[order], y_test=y[order])
    argv = ["compare", *[given / "net.keras"] * 2, "--data", data]
    compared = mock.Mock(return_value=None)
    with (
        mock.patch.object(comparing, "_outputs", compared),
        mock.patch.object(deployed, "outputs", lambda path, _, x, *rest: [x[0] / 2]),
        mock.patch.object(deployed, "measures_of_outputs", return_value=({}, None)),
    ):
        resprune(capsys, *argv, "--runtime", "int8")
    _, _, images, _, _, known = compared.call_args.args
    assert len(images) == 256
    assert set(images.mean(axis=(1, 2, 3)) // 80) == {0, 1, 2}
    for (found,) in known:  # of the same examples
        np.testing.assert_array_equal(found, images / 2)


def test_benchmark_tells_the_spread_and_how_busy_the_machine_was(given, files, capsys):
    argv = ["benchmark", given / "net.keras", "--data", given / "data.npz"]
    told = resprune_json(capsys, *argv, "--repeats", 2, "--runtime", "int8")
    time = told["latency"]
    assert (time["runtime"], time["median_ms"]) == ("litert_int8", 2.0)
    assert time["repeat_medians_ms"] == [2.0, 2.0] and time["p10_ms"] == 1.2
    assert (time["machine_load"], time["busy"]) == (0.5, busy_note(0.5))
    assert told["bytes"] == 4
    # Three of six examples are said to be of the first class, and one is.
    assert told["measures"]["accuracy"] == pytest.approx(4 / 6)
    assert told["agreement"] == pytest.approx(4 / 6)
    _, out, _ = resprune(capsys, *argv)
    assert "tensorflow, exported for this measurement:" in out
    assert "3 repeats of 3 calls" in out and busy_note(0.5) in out
    assert "Meanwhile" not in out  # the note has the number


def test_a_real_file_is_timed_and_judged(given, tmp_path, capsys):
    """An exported file alone, of whose loss nothing is known."""
    argv = ["export", given / "net.keras", "--formats", "tflite", "--out", tmp_path]
    assert resprune(capsys, *argv)[0] == 0
    argv = ["benchmark", tmp_path / "model.tflite", "--data", given / "data.npz"]
    told = resprune_json(capsys, *argv, "--runs", 3, "--repeats", 1)
    assert told["latency"]["runtime"] == "litert" and told["latency"]["runs"] == 3
    assert told["measures"] == {"accuracy": 1.0} and told["agreement"] is None
    assert told["bytes"] == (tmp_path / "model.tflite").stat().st_size
    code, _, err = resprune(capsys, *argv, "--pixels", "unit")
    assert code == 0, err  # a doubt, not an error
    wide = write_npz(tmp_path / "wide.npz", x=np.zeros((9, 9, 9), "uint8"))
    code, _, err = resprune(capsys, *argv[:3], wide)
    assert code == 2 and "expects examples of 8x8x1" in err
    write_classes(tmp_path / "four", "abcd")
    code, _, err = resprune(capsys, *argv[:3], tmp_path / "four")
    assert code == 2 and "4 class folders, a (0) to d (3), but 'model' dis" in err


@pytest.mark.parametrize(
    ("outputs", "loss", "expected"),
    [
        ([[0.9, 0.1], [0.2, 0.8]], "sparse_categorical_crossentropy", 0.164),
        # As logits: log(1 + exp(-2)) on average.
        ([[1.0, -1.0], [0.0, 2.0]], "sparse_categorical_crossentropy", 0.127),
        ([[0.1], [0.8]], "binary_crossentropy", 0.164),
        ([[-2.0], [2.0]], "binary_crossentropy", 0.127),
    ],
)
def test_the_loss_of_a_file_is_that_of_its_outputs(
    outputs, loss, expected, given, files, monkeypatch, tmp_path, capsys
):
    """They are probabilities or logits, and the accuracy suits both."""
    (tmp_path / "model.tflite").touch()
    x = np.zeros((2, 4), "float32")
    data = write_npz(tmp_path / "d.npz", x=x, y=[0, 1], x_test=x, y_test=[0, 1])
    inputs = [("x", (None, 4), "float32")]
    monkeypatch.setattr(benchmarking, "file_inputs", lambda *_: inputs)
    found = np.array(outputs, "float32")
    monkeypatch.setattr(deployed, "outputs", lambda *_: [found])
    argv = ["benchmark", tmp_path / "model.tflite", "--data", data]
    told = resprune_json(capsys, *argv, "--loss", loss)["measures"]
    assert told["loss"] == pytest.approx(expected, abs=1e-3)
    assert told["accuracy"] == 1.0
    assert resprune_json(capsys, *argv)["measures"] == {"accuracy": 1.0}


def test_probabilities_of_outputs():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(1000, 0.05), 50)
    rounded = np.round(shares * 256) / 256
    assert benchmarking._probabilities(shares, None)
    assert benchmarking._probabilities(rounded, None)  # as in an int8 file
    several = rng.uniform(0.5, 1, (50, 10))  # labels per example
    assert benchmarking._probabilities(several, "binary_crossentropy")
    assert not benchmarking._probabilities(several, None)
    assert not benchmarking._probabilities(several - 0.6, "binary_crossentropy")


def test_a_named_output_is_benchmarked(files, tmp_path, capsys):
    image = keras.Input((8, 8, 1))
    x = layers.Dense(3, "softmax")(layers.Flatten()(image))
    eager(keras.Model(image, {"classes": x})).save(tmp_path / "net.keras")
    data = write_npz(tmp_path / "data.npz")

    def outputs(path, runtime, inputs, model, args, name=None):
        return [model.predict(inputs[0], verbose=0)["classes"]]

    with mock.patch.object(deployed, "outputs", outputs):
        argv = ["benchmark", tmp_path / "net.keras", "--data", data]
        told = resprune_json(capsys, *argv)
    assert told["agreement"] == 1.0 and "accuracy" in told["measures"]


def test_compare_checks_the_classes_of_both_models(given, tmp_path, capsys):
    net_of((8, 8, 1), layers.Flatten(), layers.Dense(2)).save(tmp_path / "two.keras")
    write_classes(tmp_path / "three", "abc")
    argv = ["compare", given / "net.keras", tmp_path / "two.keras", "--runtime", "none"]
    code, out, err = resprune(capsys, *argv, "--data", tmp_path / "three")
    assert (code, out) == (2, "")
    assert "3 class folders, a (0) to c (2), but " in err
    assert "distinguishes 2 classes" in err
