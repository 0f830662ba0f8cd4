"""Latency: what is measured and that nothing else changes, never how fast it is."""

import itertools
import time

import keras
import numpy as np
import pytest
from keras import layers

from resprune_tf.deploy.latency import (
    _COMPILERS,
    Latency,
    latencies,
    latency,
)
from resprune_tf.system.wording import busy_note
from tests.conftest import shallow_net

NAMES = ("first", "second")


@pytest.fixture(scope="module")
def net():
    return shallow_net()


@pytest.mark.parametrize("backward", [False, True])
def test_latency_measures_and_changes_nothing(net, backward):
    before = [keras.ops.convert_to_numpy(v.value) for v in net.variables]
    found = latency(net, batch_size=2, backward=backward, runs=4, warmup=1)
    assert isinstance(found, Latency)
    assert 0 < found.p10_ms <= found.median_ms <= found.p90_ms
    assert found.p10_ms <= found.mean_ms
    assert len(found.times_ms) == 4 and min(found.times_ms) > 0
    assert found.mean_ms == pytest.approx(sum(found.times_ms) / 4)
    assert (found.runs, found.batch_size, found.backward) == (4, 2, backward)
    assert found.precision == "float32"
    assert found.backend == keras.backend.backend()
    assert found.device
    for value, variable in zip(before, net.variables, strict=True):
        np.testing.assert_array_equal(value, keras.ops.convert_to_numpy(variable.value))


def test_latency_of_other_inputs_and_outputs():
    inputs = {
        "image": keras.Input((4, 4, 3), name="image"),
        "word": keras.Input((2,), dtype="int32", name="word"),
    }
    x = layers.Conv2D(2, 1, dtype="mixed_bfloat16")(inputs["image"])
    x = layers.BatchNormalization(dtype="mixed_bfloat16")(x)
    word = layers.Flatten()(layers.Embedding(3, 4)(inputs["word"]))
    net = keras.Model(inputs, [layers.Dropout(0.5)(x), word])
    found = latency(net, backward=True, runs=1, warmup=1)
    assert found.precision == "mixed_bfloat16"
    assert latency(net, runs=1, warmup=1).median_ms > 0


def test_a_busy_machine_is_mentioned():
    assert busy_note() is None and busy_note(None, 0.05) is None
    assert "other processes used 60% of its processor cores" in busy_note(0.1, 0.6)


def test_models_take_turns(monkeypatch):
    """All warm up first, then each is called once a turn."""
    calls, clock = [], itertools.count(0.0, 0.5)

    def compile_none(model, step, inputs, backward):
        return lambda: calls.append(model.name), "made up"

    def seconds():
        # The clock stands at 0.5 s a look; a call of the second model takes 1 s more.
        return next(clock) + sum(name == "second" for name in calls)

    monkeypatch.setitem(_COMPILERS, keras.backend.backend(), compile_none)
    nets = [keras.Model(x := keras.Input((2,)), x + 1, name=n) for n in NAMES]
    with monkeypatch.context() as patch:
        patch.setattr(time, "perf_counter", seconds)
        first, second = latencies(nets, runs=3, warmup=2)
    assert calls == ["first"] * 2 + ["second"] * 2 + [*NAMES] * 3
    assert first.times_ms == (500.0,) * 3 and second.times_ms == (1500.0,) * 3
    assert (second.median_ms, second.device) == (1500.0, "made up")
    assert second.ratios(first) == [3.0] * 3


def test_ratios_are_of_one_call(net):
    first, second = (latency(net, runs=runs, warmup=1) for runs in (1, 2))
    with pytest.raises(ValueError, match="one call of .latencies.. Received: 1 and 2"):
        first.ratios(second)


def test_latency_says_what_is_wrong(net):
    with pytest.raises(ValueError, match="`runs` must be an integer >= 1.*runs=0"):
        latency(net, runs=0)
    with pytest.raises(ValueError, match="fixed input shapes. Received: input 'image'"):
        latency(keras.Model(x := keras.Input((None,), name="image"), x + 1))
    with pytest.raises(ValueError, match="at least one model. Received: none"):
        latencies([])
    with pytest.raises(TypeError, match=r"single Functional. Pass `\[model\]`"):
        latencies(net)
    with pytest.raises(TypeError, match="latency reads the graph"):
        latency(keras.Sequential([layers.Dense(3)]))
