"""Latency: what is measured and that nothing else changes, never how fast it is."""

import keras
import numpy as np
import pytest
from keras import layers

from resprune_tf.latency import Latency, latency
from tests.conftest import small_net


@pytest.fixture(scope="module")
def net():
    return small_net(11)


@pytest.mark.parametrize("backward", [False, True])
def test_latency_measures_and_changes_nothing(net, backward):
    before = [keras.ops.convert_to_numpy(v.value) for v in net.variables]
    found = latency(net, batch_size=2, backward=backward, runs=4, warmup=1)
    assert isinstance(found, Latency)
    assert 0 < found.p10_ms <= found.median_ms <= found.p90_ms
    assert found.p10_ms <= found.mean_ms
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


def test_latency_says_what_is_wrong(net):
    with pytest.raises(ValueError, match="`runs` must be >= 1. Received: runs=0"):
        latency(net, runs=0)
    with pytest.raises(ValueError, match="fixed input shape. Received: input 'image'"):
        latency(keras.Model(x := keras.Input((None,), name="image"), x + 1))
    with pytest.raises(TypeError, match="latency reads the graph"):
        latency(keras.Sequential([layers.Dense(3)]))
