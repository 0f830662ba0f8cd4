"""Runtimes: turns are fair, and the fresh process is a fresh one."""

import itertools
import time

import keras
import numpy as np
import pytest

from resprune_tf.deploy import runtimes
from resprune_tf.deploy.fresh_process import RuntimeFailed, in_fresh_process
from resprune_tf.deploy.runtimes import RUNTIMES, Loaded, sort_outputs, take_turns
from tests.conftest import net_of


def test_turns(monkeypatch):
    """All warm up first, then each is called once a turn."""
    calls, clock = [], itertools.count(0.0, 0.5)

    def seconds():
        # The clock stands at 0.5 s a look; a call of the second takes 1 s more.
        return next(clock) + calls.count("second")

    with monkeypatch.context() as patch:
        patch.setattr(time, "perf_counter", seconds)
        found = take_turns(
            [lambda: calls.append("first"), lambda: calls.append("second")],
            runs=3,
            warmup=2,
        )
    assert calls == ["first"] * 2 + ["second"] * 2 + ["first", "second"] * 3
    np.testing.assert_array_equal(found, [[500.0, 1500.0]] * 3)


def test_outputs_are_in_the_order_of_keras():
    assert sort_outputs([f"output_{i}" for i in (0, 1, 10, 2)]) == [
        *("output_0", "output_1", "output_2", "output_10")
    ]
    assert sort_outputs(["b_10", "b_2", "a"]) == ["a", "b_10", "b_2"]


def test_the_fresh_process_says_what_is_wrong(tmp_path):
    """And it cannot import what a runtime does not need, this package least of all."""
    path = tmp_path / "nothing.onnx"
    path.write_text("not a model")
    job = {"name": "outputs", "path": str(path), "names": ["x"], "counts": [1]}
    with pytest.raises(RuntimeFailed, match="nothing.onnx"):
        in_fresh_process("onnxruntime", job, [np.zeros((1, 2))])
    for _, forbidden in RUNTIMES.values():
        assert "resprune_tf" not in forbidden  # it is for all


def test_the_fresh_process_finds_packages_outside_the_environment(
    tmp_path, monkeypatch
):
    """As on machines where Keras is only in a folder of PYTHONPATH."""
    folder = tmp_path / "packages" / "onnxruntime"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('the one in the folder')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "packages")
    job = {"name": "outputs", "path": "a.onnx", "names": ["x"], "counts": [1]}
    with pytest.raises(RuntimeFailed, match="the one in the folder"):
        in_fresh_process("onnxruntime", job, [np.zeros((1, 2))])


def test_keras_runs_in_process_as_in_a_fresh_one(tmp_path):
    net = net_of((3,), keras.layers.Dense(2))
    net.save(tmp_path / "model.keras")
    load, _ = RUNTIMES["keras"]
    loaded = load(str(tmp_path / "model.keras"), None)
    images = np.ones((2, 3), "float32")
    (entrance,) = loaded.inputs
    (found,) = loaded.run({entrance: images})
    np.testing.assert_array_equal(found, net.predict(images, verbose=0))


def test_outputs_are_computed_in_small_batches():
    """A call on all images could need more memory than the machine has."""
    sizes = []

    def load(path, threads):
        def run(feed):
            sizes.append(len(feed["x"]))
            return [2 * feed["x"], feed["x"][:, 0]]

        return Loaded({"x": ((None, 3), "float32")}, run)

    images = np.arange(60, dtype="float32").reshape(20, 3)
    found = runtimes.outputs(load, [images], "path", ["x"], counts=(1, 3, 20))
    assert sizes == [1, 3, 8, 8, 4]
    for number, count in enumerate((1, 3, 20)):
        np.testing.assert_array_equal(found[f"{number}_0"], 2 * images[:count])
        np.testing.assert_array_equal(found[f"{number}_1"], images[:count, 0])
