"""Layers and weights that several layers hold stay shared, or are refused by name."""

import keras
import numpy as np
import pytest
from keras import layers

import resprune_tf as rp
from resprune_tf.pruning.preflight import check_saving
from resprune_tf.training.fast_copy import fast_copy

pytestmark = pytest.mark.slow


def unit(x, name="u"):
    branch = layers.Dense(x.shape[-1], name=f"{name}_d")(x)
    return layers.Add(name=f"{name}_add")([x, branch])


@keras.saving.register_keras_serializable("sharing")
class Head(layers.Layer):
    """Multiplies by the table of an embedding, which it holds."""

    def __init__(self, table, **kwargs):
        super().__init__(**kwargs)
        self.table = table

    def call(self, x):
        return x @ keras.ops.transpose(self.table.embeddings)

    def get_config(self):
        table = keras.saving.serialize_keras_object(self.table)
        return {**super().get_config(), "table": table}

    @classmethod
    def from_config(cls, config):
        table = keras.saving.deserialize_keras_object(config["table"])
        return cls(**{**config, "table": table})


@keras.saving.register_keras_serializable("sharing")
class Copying(Head):
    """Makes a table of its own from its configuration."""

    def build(self, input_shape):
        if not self.table.built:
            self.table.build(None)

    @classmethod
    def from_config(cls, config):
        table = layers.Embedding.from_config(config["table"]["config"])
        return cls(**{**config, "table": table})


def wrapped(wrapper_first=True):
    """A Dense that is called, and held by a `TimeDistributed`."""
    dense = layers.Dense(4, name="s")
    series, single = keras.Input((3, 5)), keras.Input((5,))

    def by_wrapper():
        return layers.TimeDistributed(dense, name="td")(series)[:, 0]

    if wrapper_first:
        ends = [by_wrapper(), dense(single)]
    else:
        ends = [dense(single), by_wrapper()][::-1]
    x = unit(layers.Concatenate()(ends))
    return keras.Model([series, single], layers.Dense(1)(x))


def two_wrappers():
    """One model in two `TimeDistributed`s."""
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(5, name="s")])
    series = keras.Input((3, 5))
    x = layers.TimeDistributed(inner, name="one")(series)
    x = layers.TimeDistributed(inner, name="two")(x)
    return keras.Model(series, unit(x))


def tied(head=Head):
    tokens = keras.Input((3,), dtype="int32")
    table = layers.Embedding(7, 4, name="table")
    return keras.Model(tokens, head(table, name="head")(unit(unit(table(tokens)), "v")))


def run(model):
    rng = np.random.default_rng(1)
    given = [
        np.ones((2, *tensor.shape[1:]), tensor.dtype)
        if "int" in tensor.dtype
        else rng.normal(size=(2, *tensor.shape[1:])).astype("float32")
        for tensor in model.inputs
    ]
    return np.asarray(model(given if len(given) > 1 else given[0]))


@pytest.mark.parametrize(
    "make",
    [wrapped, lambda: wrapped(wrapper_first=False), two_wrappers, tied],
    ids=["wrapper first", "layer first", "two wrappers", "head"],
)
@pytest.mark.parametrize("rebuild", [rp.add_importance, rp.fold, fast_copy])
def test_shared_weights_stay_shared_whatever_is_made_of_a_model(make, rebuild):
    model = make()
    made = rebuild(model)
    added = sum(name.endswith("importance") for name in (w.name for w in made.weights))
    assert len(made.weights) == len(model.weights) + added
    assert rp.cost(made).parameters == rp.cost(model).parameters
    np.testing.assert_allclose(run(made), run(model), rtol=1e-5, atol=1e-6)


def test_a_unit_saves_only_what_nothing_else_holds():
    model = wrapped()
    (found,) = rp.find_units(model)
    shorter = rp.remove_units(model, "u")
    saved = rp.cost(model).parameters - rp.cost(shorter).parameters
    assert saved == found.parameters == 72
    assert shorter.get_layer("td").layer is shorter.get_layer("s")


def test_what_a_wrapper_outside_of_a_unit_keeps_is_not_saved_by_it():
    inputs = keras.Input((3, 5))
    dense = layers.Dense(5, name="s")
    x = layers.Add(name="u_add")([inputs, dense(inputs)])
    model = keras.Model(inputs, layers.TimeDistributed(dense, name="td")(x))
    shorter = rp.remove_units(model, "u")
    assert rp.find_units(model)[0].parameters == 0
    assert rp.cost(shorter).parameters == rp.cost(model).parameters == 30


@pytest.mark.parametrize("rebuild", [rp.fold, fast_copy], ids=["fold", "fast_copy"])
def test_a_factor_does_not_go_into_weights_that_others_use(rebuild):
    inputs = keras.Input((3, 5))
    dense = layers.Dense(5, name="s", use_bias=False)
    x = layers.Add(name="u_add")([inputs, dense(inputs)])
    model = keras.Model(inputs, layers.TimeDistributed(dense, name="td")(x))
    scaled = rp.add_importance(model, value=3.0)
    np.testing.assert_allclose(run(rebuild(scaled)), run(scaled), rtol=1e-5, atol=1e-6)


def test_a_configuration_that_makes_a_second_layer_is_refused_with_both_names():
    model = tied(Copying)
    with pytest.raises(rp.CloneError, match="'table' and 'head' share the weight"):
        rp.add_importance(model)


def test_half_of_a_bidirectional_layer_that_is_called_too_is_refused():
    series = keras.Input((3, 4))
    both = layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="both")
    x = both(series)[..., :4] + both.forward_layer(series)
    with pytest.raises(rp.CloneError, match="'both'.* share the weight"):
        rp.add_importance(keras.Model(series, unit(x)))


@pytest.mark.parametrize("whole", [True, False])
def test_a_model_in_a_wrapper_of_which_something_else_uses_a_part_is_refused(whole):
    inputs = keras.Input((5,))
    part = layers.Dense(5, name="part")
    inner = keras.Model(inputs, layers.ReLU()(part(inputs)), name="inner")
    series, single = keras.Input((3, 5)), keras.Input((5,))
    x = layers.TimeDistributed(inner, name="td")(series)[:, 0]
    x = x + (inner if whole else part)(single)
    model = keras.Model([series, single], unit(x))
    with pytest.raises(rp.CloneError, match="'td' contains the model 'inner'"):
        rp.add_importance(model)


def test_a_layer_in_two_nested_models_stays_one():
    part = layers.Dense(5, name="part")
    first = keras.Sequential([keras.Input((5,)), part], name="first")
    second = keras.Sequential([keras.Input((5,)), layers.ReLU(), part], name="second")
    inputs = keras.Input((5,))
    model = keras.Model(inputs, unit(second(first(inputs))))
    made = rp.add_importance(model)
    assert made.get_layer("first").layers[-1] is made.get_layer("second").layers[-1]


def with_weight_as_argument():
    inputs = keras.Input((4,))
    dense = layers.Dense(4, name="dense", use_bias=False)
    x = unit(layers.BatchNormalization(beta_initializer="ones")(dense(inputs)))
    return keras.Model(inputs, keras.ops.matmul(x, dense.kernel))


@pytest.mark.parametrize("rebuild", [rp.add_importance, rp.fold, fast_copy])
def test_a_weight_that_an_operation_is_called_with_is_the_copys(rebuild):
    model = with_weight_as_argument()
    made = rebuild(model)
    before = run(model)
    model.get_layer("dense").kernel.assign(np.zeros((4, 4)))
    np.testing.assert_allclose(run(made), before, rtol=1e-5, atol=1e-6)


def test_a_weight_of_a_layer_that_is_called_later_is_refused():
    inputs = keras.Input((4,))
    dense = layers.Dense(4, name="dense")
    dense.build((None, 4))
    x = keras.ops.matmul(unit(inputs), dense.kernel)
    with pytest.raises(rp.CloneError, match="called with the weight 'dense/kernel'"):
        rp.add_importance(keras.Model(inputs, dense(x)))


def test_the_function_of_a_lambda_that_uses_weights_of_the_model_is_refused():
    inputs = keras.Input((4,))
    dense = layers.Dense(4, name="dense", use_bias=False)
    x = unit(dense(inputs))
    model = keras.Model(inputs, layers.Lambda(lambda t: t @ dense.kernel, name="f")(x))
    with pytest.raises(rp.CloneError, match="Lambda 'f' uses weights of the model"):
        rp.add_importance(model)


def test_a_clone_that_keeps_an_original_weight_is_refused():
    inputs = keras.Input((4,))
    first = layers.Dense(4, name="first")
    model = keras.Model(inputs, unit(first(inputs)))

    def clone(layer):
        if layer is first:
            made = layers.Dense(4, name="first")
            made.kernel_of_the_original = first.kernel
            made.build((None, 4))
            return made
        return None

    with pytest.raises(rp.CloneError, match="copy of 'first' uses weights of the orig"):
        rp.add_importance(model, clone=clone)


def test_a_run_refuses_a_model_that_keras_does_not_load_as_it_is():
    check_saving(tied())
    with pytest.raises(ValueError, match="'td' and 's' share the weight"):
        check_saving(wrapped())
    with pytest.raises(
        ValueError, match="constants instead of weights|Cannot serialize"
    ):
        check_saving(with_weight_as_argument())


def test_deletion_refuses_before_any_epoch_what_cannot_be_cloned():
    model = tied(Copying)
    model.compile("sgd", "mse")
    before = model.get_weights()
    deletion = rp.LayerDeletion(epochs=1, criterion=rp.criteria.random(0))
    x, y = np.ones((2, 3), "int32"), np.ones((2, 3, 7), "float32")
    with pytest.raises(rp.CloneError, match="'table' and 'head' share"):
        model.fit(x, y, callbacks=[deletion], verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
