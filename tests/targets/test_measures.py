"""Measures of nets: what is written and timed, and what may go."""

import keras
import numpy as np
import pytest
from keras import layers

import resprune_tf.targets.measures as sizes
from resprune_tf import Target, find_units, fold, remove_units
from tests.conftest import net_of, randomise, shallow_net, small_net
from tests.made.fits import dense_net
from tests.made.latency import fake_latencies

pytestmark = pytest.mark.slow


def test_counts_alone_unless_more_is_limited(monkeypatch):
    monkeypatch.setattr(sizes, "runtime_latencies", None)
    monkeypatch.setattr(sizes, "write_folded", None)
    (found,) = sizes.target_measures([shallow_net()], Target(layers=3))
    assert set(found) == {"layers", "units", "macs", "parameters"}
    assert (found["layers"], found["units"]) == (5, 3)


def test_a_file_is_that_of_the_folded_net(tmp_path):
    net = shallow_net()
    shorter = remove_units(net, ["stage1_unit2"])
    target = Target(file_ratio=0.9, file_format="keras")
    full, small = sizes.target_measures([net, shorter], target)
    fold(shorter).save(tmp_path / "model.keras")
    assert small["file_bytes"] == (tmp_path / "model.keras").stat().st_size
    assert full["file_ratio"] == 1
    assert small["file_ratio"] == small["file_bytes"] / full["file_bytes"] < 1


def test_an_int8_file_needs_no_images():
    net = net_of((8,), layers.Dense(64))
    int8, float32 = (sizes.file_bytes(net, f) for f in ("litert_int8", "litert"))
    assert int8 < float32


def test_latencies_are_ratios_of_the_same_turns(monkeypatch):
    """So `latency_ms` tells no drift of the machine once the initial time is known."""
    calls = fake_latencies(monkeypatch, lambda net: len(net.layers))
    net = shallow_net()
    shorter = remove_units(net, ["stage1_unit2"])
    ratio = len(shorter.layers) / len(net.layers)
    target = Target(latency_ms=9, runtime="onnxruntime", batch_size=4, threads=2)
    full, small = sizes.target_measures([net, shorter], target)
    assert full["latency_ms"] == len(net.layers) and full["latency_ratio"] == 1
    assert small["latency_ratio"] == pytest.approx(ratio)
    assert small["latency_ms"] == pytest.approx(len(shorter.layers))
    full, small = sizes.target_measures([net, shorter], target, initial_ms=10)
    assert full["latency_ms"] == 10
    assert small["latency_ms"] == pytest.approx(10 * ratio)
    assert calls == [("onnxruntime", 2, 4, 2)] * 2


def test_a_real_latency():
    net = dense_net()
    target = Target(latency_ratio=0.9, runtime="litert")
    full, small = sizes.target_measures([net, remove_units(net, ["unit1"])], target)
    assert full["latency_ratio"] == 1.0
    assert full["latency_ms"] > 0 and small["latency_ratio"] > 0


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Target(macs=0.5), "MACs of these layers of .*: attention. Choose a target"),
    ],
)
def test_what_cannot_be_measured_is_refused(target, message):
    image = keras.Input((4, 4))
    attention = layers.AdditiveAttention(name="attention")([image, image])
    net = keras.Model(image, layers.Add(name="unit_add")([image, attention]))
    with pytest.raises(ValueError, match=message):
        sizes.extent(net, ["unit"], target)


def test_what_may_go_and_why_others_stay():
    image = keras.Input((4,))
    inner = layers.Add(name="inner_add")([image, layers.Dense(4)(image)])
    outer = layers.Add(name="outer_add")([image, layers.Dense(4)(inner)])
    other = layers.Add(name="other_add")([outer, layers.Dense(4)(outer)])
    wide = layers.Add(name="wide_add")(
        [layers.Dense(6, name="projection")(other), layers.Dense(6, "relu")(other)]
    )
    found = find_units(keras.Model(image, wide))
    units, not_removable = sizes.removable_units(found, ["inner", "outer", "wide"])
    assert [unit.name for unit in units] == ["inner", "outer"]
    assert not_removable["other"] == "it has no score"
    assert "passes through 'projection'" in not_removable["wide"]
    units, not_removable = sizes.removable_units(
        found, ["inner", "outer", "other"], ["inner"]
    )
    assert [unit.name for unit in units] == ["other"]
    assert not_removable["inner"] == "it is protected"
    assert not_removable["outer"] == "it contains inner, protected"
    with pytest.raises(
        ValueError, match="`protected` names units.*not have: third. Its units: "
    ):
        sizes.removable_units(found, [], ["third"])
    with pytest.raises(TypeError, match="sequence of names, such as .'inner',.\\. Rec"):
        sizes.removable_units(found, [], "inner")


def test_a_file_has_its_size_before_the_training():
    """Zeros are folded as other numbers are."""
    net = small_net(11)
    net.set_weights([np.zeros_like(each) for each in net.get_weights()])
    before = sizes.file_bytes(net, "keras")
    randomise(net)
    assert sizes.file_bytes(net, "keras") == before
