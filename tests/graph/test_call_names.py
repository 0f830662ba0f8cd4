"""Names of units and outputs that stay, whatever else is removed."""

import keras
import numpy as np
import pytest
from keras import layers

import resprune_tf as rp
from resprune_tf.targets.measures import extent
from resprune_tf.targets.savings import unit_savings
from tests.conftest import images_of, outputs, randomise

pytestmark = pytest.mark.slow


@keras.saving.register_keras_serializable(package="tests")
class Gated(layers.Layer):
    """x + gate * branch: a merge with a weight, which no second instance could have."""

    def build(self, shapes):
        self.gate = self.add_weight(shape=(), initializer="ones", name="gate")

    def call(self, inputs):
        return inputs[0] + self.gate * inputs[1]


@keras.saving.register_keras_serializable(package="tests")
class Whole(layers.Layer):
    """A whole unit."""

    def build(self, shape):
        self.dense = layers.Dense(4, activation="tanh")
        self.dense.build(shape)

    def call(self, x):
        return x + self.dense(x)


rp.register_merge(Gated, shortcuts=(0,))
rp.register_unit(Whole)


def calls(merge, count=4, end=True):
    """A net whose units are calls of one merge, each with a dense layer of its own."""
    x = inputs = keras.Input((4,), name="x")
    for index in range(count):
        dense = layers.Dense(4, activation="tanh", name=f"d{index}")
        x = merge([x, dense(x)])
    model = keras.Model(inputs, layers.Dense(2, name="head")(x) if end else x)
    randomise(model)
    return model


def names(model):
    return [unit.name for unit in rp.find_units(model)]


def dense(model):
    return [layer.name for layer in model.layers if layer.name[0] == "d"]


def raw(inputs):
    return operation(*inputs)


operation = keras.src.ops.numpy.Add(name="sum")  # one operation of several calls

MERGES = {
    "layer": lambda: layers.Add(name="sum_add"),
    "registered": lambda: Gated(name="sum"),
    "operation": lambda: raw,
}


@pytest.mark.parametrize("kind", MERGES)
def test_calls_of_one_merge_keep_their_names(kind, tmp_path):
    model = calls(MERGES[kind]())
    assert names(model) == ["sum", "sum#1", "sum#2", "sum#3"]
    first = rp.remove_units(model, "sum#1")
    assert names(first) == ["sum", "sum#2", "sum#3"]
    first.save(tmp_path / "first.keras")
    first = keras.saving.load_model(tmp_path / "first.keras")
    second = rp.remove_units(first, ["sum", "sum#2"])
    assert names(second) == ["sum#3"] and dense(second) == ["d3"]
    assert names(rp.fold(second)) == ["sum#3"]
    scaled = rp.add_importance(second, value=0.0)
    assert list(rp.importances(scaled)) == ["sum.3"]
    assert rp.find_units(scaled)[0].importance == "sum.3_importance"
    x = images_of(model)
    last = rp.remove_units(scaled, "sum#3")
    np.testing.assert_array_equal(outputs(last, x), outputs(scaled, x))
    assert [layer.name for layer in last.layers] == ["x", "head"]
    gone = rp.add_importance(model, ["sum", "sum#1", "sum#2"], value=0.0)
    np.testing.assert_array_equal(outputs(second, x), outputs(gone, x))


def test_calls_of_one_registered_unit_keep_their_names():
    x = inputs = keras.Input((4,))
    unit = Whole(name="unit")
    for index in range(3):
        x = layers.Dense(4, name=f"between{index}")(unit(x))
    model = keras.Model(inputs, x)
    shorter = rp.remove_units(model, "unit")
    assert names(shorter) == ["unit#1", "unit#2"]
    (first, _) = rp.find_units(shorter)
    assert first.layers == ("unit.1_call",)  # the other call goes on
    shorter = rp.remove_units(shorter, "unit#1")
    assert names(shorter) == ["unit#2"]
    order = [layer.name for layer in shorter.layers if "b" in layer.name]
    assert order == ["between0", "between1", "between2"]


def test_scores_and_savings_of_labelled_units():
    model = calls(layers.Add(name="sum"))
    shorter = rp.remove_units(model, "sum")
    x, y = images_of(model), np.arange(len(images_of(model))) % 2
    table = rp.compare_scores(shorter, x, y)
    assert set(table.omitted) == {"importance"}
    whole = rp.criteria.random(0)(model)
    for scores in table.scores.values():
        assert list(scores) == ["sum#1", "sum#2", "sum#3"]
    assert set(table.scores["random"]) < set(whole)
    target = rp.Target(layers=1)
    units = rp.find_units(shorter)
    sizes = extent(shorter, names(shorter), target)
    saved, _ = unit_savings(shorter, units, target, *sizes)
    assert saved["layers"] == {"sum#1": 1, "sum#2": 1, "sum#3": 1}
    scores = {"sum#1": 3.0, "sum#2": 1.0, "sum#3": 2.0}
    assert rp.solve_target(shorter, rp.Target(units=1), scores).units == (
        "sum#2",
        "sum#3",
    )


def test_units_whose_layers_differ_in_the_ending_alone_keep_their_names():
    x = inputs = keras.Input((4,))
    for index, name in enumerate(("sum_add", "sum", "sum.1")):
        x = layers.Add(name=name)([x, layers.Dense(4, name=f"d{index}")(x)])
    model = keras.Model(inputs, layers.Dense(2)(x))
    assert names(model) == ["sum", "sum#1", "sum.1"]
    assert names(rp.remove_units(model, "sum")) == ["sum#1", "sum.1"]
    assert names(rp.remove_units(model, "sum#1")) == ["sum", "sum.1"]


def test_a_merge_within_a_model_that_is_called_twice():
    twin = calls(layers.Add(name="sum"), 3, end=False)
    x = keras.Input((4,))
    model = keras.Model(x, twin(layers.Dense(4)(twin(x))))
    inside = f"{twin.name}/sum"
    assert names(model) == [inside, f"{inside}#1", f"{inside}#2"]
    shorter = rp.remove_units(rp.remove_units(model, inside), f"{inside}#1")
    assert names(shorter) == [f"{inside}#2"]
    assert dense(shorter.get_layer(twin.name)) == ["d2"]


def test_dropped_branches_leave_names_alone():
    x = inputs = keras.Input((4,))
    add = layers.Add(name="sum")
    for index in range(3):
        project = layers.Dense(4, name=f"p{index}")
        branch = layers.Dense(4, name=f"d{index}")(layers.ReLU(name=f"r{index}")(x))
        x = add([project(x), branch])
    model = keras.Model(inputs, x)
    shorter = rp.drop_branches(rp.drop_branches(model, "sum"), "sum#1")
    assert names(shorter) == ["sum#2"] and dense(shorter) == ["d2"]


def test_a_protected_call_stays_through_all_rounds(tmp_path):
    model = rp.add_importance(calls(layers.Add(name="sum"), 3))
    for place, importance in enumerate((0.1, 0.9, 0.5)):
        suffix = f".{place}" if place else ""
        layer = model.get_layer(f"sum{suffix}_importance")
        layer.importance.assign(importance)
    model.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
    x = images_of(model)
    result = rp.prune_and_retrain(
        model,
        rp.FitData(train=(x, x[:, :2]), validation=(x, x[:, :2])),
        rp.FitRecipe(epochs=1),
        removal=rp.Removal(monitor="loss", tolerance=99, protected=("sum#2",)),
        run=rp.RunOptions(tmp_path, verbose=False),
    )
    removed = [each.removed for each in result.rounds]
    assert removed == [(), ("sum",), ("sum#1",)]
    assert dense(result.model) == ["d2"]
    assert result.rounds[-1].units == ("sum#2",)


def with_aux(first="recon", between=(), **options):
    """A net with a unit as its first output."""
    x = inputs = keras.Input((4,), name="x")
    x = stem = layers.Dense(4, name="stem")(x)
    for layer in between:
        x = layer(x)
    merge = layers.Add(name=first, **options)
    x = merge([x, layers.Dense(4, name="branch", **options)(x)])
    return keras.Model(inputs, [x, layers.Dense(1, name="aux")(stem)])


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "float64"])
def test_an_output_keeps_the_name_of_its_unit(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = with_aux()
    finally:
        keras.config.set_dtype_policy("float32")
    shorter = rp.remove_units(model, "recon")
    assert shorter.output_names == ["recon", "aux"]
    assert [t.dtype for t in shorter.outputs] == [t.dtype for t in model.outputs]
    again = rp.fold(rp.add_importance(with_aux()))
    assert again.output_names == ["recon", "aux"]
    assert rp.remove_units(again, "recon").output_names == ["recon", "aux"]


def test_losses_by_name_last_through_a_run():
    model = rp.add_importance(with_aux())
    metrics = {"recon": "mae", "aux": "mae"}
    losses = {"recon": "mse", "aux": "mse"}
    model.compile("sgd", losses, metrics=metrics, run_eagerly=True)
    x = images_of(model)
    given = x, {"recon": x, "aux": x[:, :1]}
    result = rp.prune_and_retrain(
        model,
        rp.FitData(train=given, validation=given),
        rp.FitRecipe(epochs=1),
        removal=rp.Removal(monitor="recon_mae", tolerance=99),
        run=rp.RunOptions(verbose=False),
    )
    assert result.model.output_names == ["recon", "aux"]
    assert result.rounds[1].removed == ("recon",)


def test_an_output_takes_its_name_from_a_merge_that_is_still_called():
    add = layers.Add(name="sum")
    x = inputs = keras.Input((4,), name="x")
    for name in ("d0", "d1"):
        x = add([x, layers.Dense(4, name=name)(x)])
    x = layers.Dense(4, name="middle")(x)
    model = keras.Model(inputs, add([x, layers.Dense(4, name="d2")(x)]))
    shorter = rp.remove_units(model, "sum#2")
    assert shorter.output_names == ["sum"]
    assert names(shorter) == ["sum", "sum#1"]
    shorter = rp.remove_units(shorter, "sum")
    assert shorter.output_names == ["sum"]
    assert names(shorter) == ["sum#1"] and dense(shorter) == ["d1"]


def test_a_net_that_loses_all_it_does_keeps_the_name_of_its_output():
    model = calls(layers.Add(name="sum"), 2, end=False)
    shorter = rp.remove_units(model, ["sum", "sum#1"])
    assert shorter.output_names == ["sum"]
    x = images_of(model)
    np.testing.assert_array_equal(outputs(shorter, x), x)
    outer = keras.Sequential([keras.Input((4,)), model, layers.Dense(2)])
    inner = rp.remove_units(outer, f"{model.name}/sum").get_layer(model.name)
    assert inner.output_names == ["sum"]


def test_opening_a_layer_keeps_the_name_of_its_output():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, Whole(name="whole")(inputs))
    opened = rp.expand(model, Whole)
    assert opened.output_names == ["whole"] and names(opened) == ["whole"]
    assert rp.remove_units(opened, "whole").output_names == ["whole"]


@pytest.mark.parametrize("times", [1, 3])
def test_reading_a_model_leaves_models_within_its_layers_alone(times):
    """The nodes of a model in a model in `TimeDistributed` were taken from it."""
    inner = calls(layers.Add(name="sum"), 2, end=False)
    x = inputs = keras.Input((4,))
    for _ in range(times):
        x = inner(x) + layers.Dense(4)(x)
    frames = keras.Input((2, 4))
    steps = layers.TimeDistributed(keras.Model(inputs, x), name="steps")
    model = keras.Model(frames, steps(frames))
    counts = [len(layer._inbound_nodes) for layer in inner.layers]
    assert rp.find_units(model).opaque
    rp.cost(model)
    assert [len(layer._inbound_nodes) for layer in inner.layers] == counts
    opened = rp.expand(model)
    found = names(opened)
    assert found[:2] == [f"steps_{inner.name}/sum", f"steps_{inner.name}/sum#1"]
    assert len(found) == 2 + 2 * times
    assert names(rp.remove_units(opened, found[0])) == found[1:]


def test_units_that_every_time_step_calls():
    """`expand` makes a call for each step of a net within `TimeDistributed`."""
    inner = calls(layers.Add(name="sum"), 2, end=False)
    frames = keras.Input((2, 4))
    steps = layers.TimeDistributed(inner, name="steps")
    model = rp.expand(keras.Model(frames, layers.LSTM(3)(steps(frames))))
    base = ["steps_sum", "steps_sum#1", "steps_sum#2", "steps_sum#3"]
    assert names(model) == base
    shorter = rp.remove_units(model, base[1])
    assert names(shorter) == [base[0], *base[2:]]
    x = np.random.default_rng(0).normal(size=(3, 2, 4)).astype("float32")
    silenced = rp.add_importance(model, base[1], value=0.0)
    np.testing.assert_array_equal(outputs(shorter, x), outputs(silenced, x))
    assert rp.cost(model).macs - rp.cost(shorter).macs == 16
