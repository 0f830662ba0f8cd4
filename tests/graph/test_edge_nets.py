"""Nets at the edges: all in units, batches of one, doubles, sparse, ragged, text."""

import keras
import numpy as np
import pytest
from keras import layers

import resprune_tf as rp
from resprune_tf.deploy.signature import at_inference
from resprune_tf.pruning.plan import Plan
from tests.conftest import outputs, randomise
from tests.made.options import options

pytestmark = pytest.mark.slow


def units_of(x, count=3, **options):
    for index in range(count):
        x = x + layers.Dense(4, name=f"d{index}", **options)(x)
    return x


def net(inputs, head=True, **options):
    x = units_of(inputs, **options)
    model = keras.Model(inputs, layers.Dense(2, **options)(x) if head else x)
    randomise(model)
    return model


def rows(count=8, size=4, dtype="float32"):
    return np.random.default_rng(0).normal(size=(count, size)).astype(dtype)


def pruned(model, x, y, batch_size=32, **settings):
    model.compile("sgd", "mse", run_eagerly=True)
    return rp.prune_and_retrain(
        model,
        rp.FitData(train=(x, y), validation=(x, y), batch_size=batch_size),
        rp.FitRecipe(epochs=1),
        **options(monitor="loss", tolerance=99, **settings),
    )


def all_in_units():
    return rp.add_importance(net(keras.Input((4,)), head=False))


def test_something_that_learns_is_left():
    result = pruned(all_in_units(), rows(), rows(), units_per_round=2)
    assert [len(record.units) for record in result.rounds] == [3, 1]
    assert result.model.trainable_weights


def test_the_last_unit_that_learns_is_not_asked_for():
    model = all_in_units()
    names = [unit.name for unit in rp.find_units(model)]
    for settings, message in (
        ({"units": names}, "`units` contain all trainable weights of"),
        ({"units_per_round": 3}, "must be from 1 to 2, the number"),
        (
            {"target": rp.Target(macs=10)},
            "cannot be reached.*no other layer has trainable weights",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            pruned(model, rows(), rows(), **settings)
    last = rp.remove_units(model, names[:2])
    with pytest.raises(ValueError, match="contains all trainable weights"):
        pruned(last, rows(), rows())


def test_deletion_leaves_something_that_learns():
    model = all_in_units()
    model.compile("sgd", "mse", run_eagerly=True)
    deletion = rp.LayerDeletion(epochs=1, units_per_round=2)
    model, rounds = rp.fit_with_deletion(model, deletion, rows(), rows(), verbose=0)
    assert [len(each.removed) for each in rounds] == [0, 2]
    assert len(rp.find_units(model)) == 1
    assert deletion.stop_reason == "no removable unit is left"


def test_all_units_go_where_a_layer_beside_them_learns_or_is_as_deep():
    """Without a target of its own a run asks for what there is to save."""
    x = inputs = keras.Input((4,))
    beside = layers.Dense(1, name="b")(layers.Dense(4, name="a")(x))
    model = rp.add_importance(keras.Model(inputs, [units_of(x, 1), beside]))
    removal = rp.Removal(
        monitor="loss",
        mode="min",
        criterion=lambda model: {rp.find_units(model)[0].name: 1.0},
    )
    plan = Plan.check(model, removal)
    assert plan.target is None and plan.must_remain == 0
    assert plan.later_rounds(0, plan.initial) == 1


def test_a_batch_of_fixed_size():
    model = rp.add_importance(net(keras.Input(batch_shape=(1, 4))))
    table = rp.compare_scores(model, rows(), np.arange(8) % 2, batch_size=1)
    assert not table.omitted
    free = rp.add_importance(net(keras.Input((4,))))
    names = ["taylor", "leave_one_out"]
    wanted = rp.compare_scores(free, rows(), np.arange(8) % 2, criteria=names)
    for name in names:
        np.testing.assert_allclose(
            list(table.scores[name].values()),
            list(wanted.scores[name].values()),
            rtol=1e-4,
            atol=1e-6,
        )


def test_doubles_stay_doubles():
    inputs = keras.Input((4,), dtype="float64")
    model = net(inputs, dtype="float64")
    x = rows(dtype="float64")
    scaled = rp.add_importance(model)
    assert scaled.outputs[0].dtype == "float64"
    np.testing.assert_array_equal(outputs(scaled, x), outputs(model, x))
    units = rp.find_units(scaled)
    assert all(unit.importance and unit.removable for unit in units)
    shorter = rp.remove_units(scaled, units[1])
    assert rp.cost(scaled).macs - rp.cost(shorter).macs == units[1].macs == 16
    folded = rp.fold(shorter)
    assert folded.outputs[0].dtype == "float64"
    np.testing.assert_allclose(outputs(folded, x), outputs(shorter, x), rtol=1e-12)
    result = pruned(scaled, x, x[:, :2], max_rounds=1)
    assert result.model.outputs[0].dtype == "float64"


def test_sparse_inputs_stay_sparse_and_take_dense_arrays():
    inputs = keras.Input((4,), sparse=True)
    x = units_of(layers.Dense(4)(inputs))
    model = rp.add_importance(keras.Model(inputs, layers.Dense(2)(x)))
    shorter = rp.fold(rp.remove_units(model, rp.find_units(model)[0]))
    assert shorter.inputs[0].sparse and at_inference(shorter).inputs[0].sparse
    scores = rp.criteria.output_norm(rows())(model)
    assert len(scores) == 3

    class Sparse:  # of TensorFlow or SciPy: shapes, but no arrays
        shape = (8, 4)

    with pytest.raises(ValueError, match="array.*Sparse inputs accept dense arrays"):
        rp.criteria.output_norm(Sparse())
    with pytest.raises(ValueError, match="`train` must contain dense arrays.* Sparse"):
        rp.FitData(train=(Sparse(), rows()), validation=(rows(), rows()))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="ragged tensors")
def test_ragged_inputs_stay_ragged():
    try:
        inputs = keras.Input((None, 4), ragged=True)
    except TypeError:
        pytest.skip("This Keras has no ragged inputs.")
    model = net(inputs)
    for made in (
        rp.add_importance(model),
        rp.remove_units(model, rp.find_units(model)[0]),
        rp.fold(model),
    ):
        assert made.inputs[0].ragged


def test_text_is_refused_where_it_cannot_be_trained_on():
    words = np.array(["a b", "b"] * 4)
    for text in (words, words.astype(object)):
        with pytest.raises(
            ValueError, match="arrays of numbers only.*`train` contains"
        ):
            rp.FitData(train=(text, rows()), validation=(text, rows()))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="text")
def test_a_net_of_text_is_scored_and_shortened():
    inputs = keras.Input((), dtype="string")
    x = layers.TextVectorization(vocabulary=["a", "b"], output_sequence_length=4)(
        inputs
    )
    x = layers.GlobalAveragePooling1D()(layers.Embedding(5, 4)(x))
    model = rp.add_importance(keras.Model(inputs, layers.Dense(2)(units_of(x))))
    words = np.array(["a b", "b"] * 4)
    assert len(rp.criteria.output_norm(words)(model)) == 3
    shorter = rp.remove_units(model, rp.find_units(model)[0])
    assert shorter.inputs[0].dtype == "string"
    with pytest.raises(ValueError, match="random numbers and does not support text"):
        rp.latency(shorter)
