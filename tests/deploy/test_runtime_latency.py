"""Runtime latency: what is timed and how, never how fast it is."""

import functools
import pathlib

import numpy as np
import pytest
from keras import layers

import resprune_tf.deploy.runtime_latency as timing
from resprune_tf.deploy import formats
from resprune_tf.deploy.fresh_process import RuntimeFailed
from resprune_tf.deploy.registry import name_of
from resprune_tf.deploy.runtime_latency import device_latencies, runtime_latencies
from resprune_tf.nets.importance import ImportanceScale
from tests.conftest import net_of

pytestmark = pytest.mark.slow


def test_models_and_files_are_timed_in_turns(tmp_path):
    small = net_of((4,), lambda x: x + 1)
    small.export(tmp_path / "small", format="tf_saved_model", verbose=False)
    for runtime, models in (
        ("litert", [small, net_of((4,), lambda x: 2 * x)]),
        ("onnxruntime", [small]),
        ("tensorflow", [tmp_path / "small", str(tmp_path / "small")]),
    ):
        found = runtime_latencies(models, runtime, batch_size=3, runs=4, warmup=1)
        assert len(found) == len(models)
        for latency in found:
            assert latency.load is None or 0 <= latency.load <= 1
            assert latency.runtime == runtime and latency.device == "cpu"
            assert (latency.runs, latency.batch_size) == (4, 3)
            assert not latency.backward
            assert 0 < latency.p10_ms <= latency.median_ms <= latency.p90_ms
            made = "as written" if runtime == "tensorflow" else "float32"
            assert latency.precision == made
        assert len(found[-1].ratios(found[0])) == 4


def test_what_is_deployed_in_less_than_float32_is_timed_so(tmp_path):
    net = net_of((8,), layers.Dense(64), layers.Dense(4))
    for runtime in ("litert_float16", "litert_int8"):
        (found,) = runtime_latencies([net], runtime, runs=2, warmup=1)
        assert found.precision == runtime.removeprefix("litert_")
        assert found.runtime == runtime and found.median_ms > 0


def test_models_are_folded_and_times_told_apart(monkeypatch):
    """Compared is what is deployed: ω and BatchNormalization are not there."""
    written, jobs = [], []

    def write(name, model, folder, calibration):
        assert calibration is None
        written.append((name, [type(layer).__name__ for layer in model.layers]))
        return folder / "model"

    def in_fresh_process(runtime, job):
        jobs.append((runtime, job))
        return {"times": np.array([[1.0, 20.0], [3.0, 40.0]]), "load": np.nan}

    monkeypatch.setattr(formats, "write", write)
    monkeypatch.setattr(timing, "in_fresh_process", in_fresh_process)
    nets = [
        net_of((4,), layers.Dense(n), layers.BatchNormalization(), ImportanceScale())
        for n in (3, 2)
    ]
    full, small = runtime_latencies(nets, "litert", threads=2)
    assert full.times_ms == (1.0, 3.0) and small.times_ms == (20.0, 40.0)
    assert small.median_ms == 30.0
    assert [name for name, _ in written] == ["litert"] * 2
    assert not {"ImportanceScale", "Rescaling", "BatchNormalization"} & {
        k for _, kinds in written for k in kinds
    }
    ((runtime, job),) = jobs
    assert runtime == "litert" and len(job["paths"]) == 2
    assert (job["batch_size"], job["runs"], job["threads"]) == (1, 50, 2)


def test_says_what_is_wrong(tmp_path):
    net = net_of((4,), lambda x: x + 1)
    with pytest.raises(ValueError, match="one of tensorflow, litert, .*, onnxruntime"):
        runtime_latencies([net], "tensorrt")
    with pytest.raises(ValueError, match="`threads` must be an integer >= 1"):
        runtime_latencies([net], "litert", threads=0)
    with pytest.raises(ValueError, match="at least one model"):
        runtime_latencies([], "litert")
    with pytest.raises(TypeError, match="must be a list of models.*single str"):
        runtime_latencies("out/model.tflite", "litert")
    with pytest.raises(FileNotFoundError, match="'.*none.onnx' does not exist"):
        runtime_latencies([tmp_path / "none.onnx"], "onnxruntime")
    flexible = net_of((None,), lambda x: x + 1)
    with pytest.raises(RuntimeFailed, match="must be fixed, except the batch"):
        runtime_latencies([flexible], "onnxruntime")


def test_a_function_times_the_written_models_in_turns(tmp_path, monkeypatch):
    """The function gets each file, folded, in every turn; paths stay as they are."""
    (tmp_path / "blob").write_bytes(b"1")
    own = tmp_path / "own.tflite"
    own.symlink_to(tmp_path / "blob")
    written, calls = [], []

    def write(name, model, folder, calibration):
        assert name == "litert_int8" and calibration is not None
        written.append([type(layer).__name__ for layer in model.layers[1:]])
        (folder / "model_int8.tflite").write_bytes(b"22")
        return folder / "model_int8.tflite"

    def on_phone(path):
        calls.append(pathlib.Path(path))
        return np.float32(10 * calls[-1].stat().st_size + len(calls))

    monkeypatch.setattr(formats, "write", write)
    net = net_of((4,), layers.Dense(2), layers.BatchNormalization())
    small, full = device_latencies([own, net], "int8", on_phone, runs=2)
    assert written == [["Dense", "Identity"]]
    assert calls == [own, calls[1]] * 2 and calls[1].name == "model_int8.tflite"
    assert small.times_ms == (11, 13) and full.times_ms == (22, 24)
    assert (full.device, full.runtime, full.runs) == ("on_phone", "litert_int8", 2)
    assert (small.precision, full.precision) == ("as written", "int8")
    assert full.batch_size is None and full.load is None
    assert small.ratios(full) == [11 / 22, 13 / 24]
    assert own.exists() and not calls[1].exists()
    monkeypatch.setattr(timing, "check_formats", None)  # nothing to write
    monkeypatch.chdir(tmp_path)
    device_latencies([own.name], "litert", on_phone, runs=1)
    assert calls[-1] == own


def test_a_function_that_does_not_time(tmp_path):
    net = tmp_path / "net.onnx"
    net.touch()
    for wrong in (None, 0.0, -1, float("nan"), float("inf"), "3 ms", [1.0]):
        with pytest.raises(ValueError, match=r"in milliseconds, a pos.* <lambda>: "):
            device_latencies([net], "onnx", lambda path, wrong=wrong: wrong)
    with pytest.raises(TypeError, match="`latency_fn` must be a function.*'adb'"):
        device_latencies([net], "onnx", "adb")
    with pytest.raises(ValueError, match="`runtime` must be one of.*'keras'"):
        device_latencies([net], "keras", float)
    with pytest.raises(ValueError, match="`runs` must be an integer >= 1"):
        device_latencies([net], "onnx", float, runs=0)
    with pytest.raises(FileNotFoundError, match="none.onnx' does not exist"):
        device_latencies([tmp_path / "none.onnx"], "onnx", float)
    with pytest.raises(ZeroDivisionError):  # an error of the function is its own
        device_latencies([net], "onnx", lambda path: 1 / 0)


def test_names_of_functions():
    class Phone:
        def time(self, path):
            pass

        def __call__(self, path):
            pass

        @classmethod
        def new(cls):
            pass

    assert name_of(test_names_of_functions) == "test_names_of_functions"
    assert (name_of(Phone()), name_of(Phone().time)) == ("Phone", "Phone.time")
    on_phone = functools.partial(functools.partial(int, "3"), base=8)
    assert name_of(on_phone) == "int('3', base=8)"
    on_phone = functools.partial(int, Phone())
    assert name_of(on_phone) == "int(Phone)"  # no address, which another process lacks
    on_phone.__name__ = "pixel8"
    assert name_of(on_phone) == "pixel8"
    assert name_of(dict.fromkeys) == "fromkeys"
    assert name_of(Phone.new) == "Phone.new"
