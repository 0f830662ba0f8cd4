"""State that is no variable goes with a layer, by the methods that save it."""

import pathlib

import keras
import numpy as np
import pytest
from keras import layers

import resprune_tf as rp
from resprune_tf.criteria.gates import add_gates
from resprune_tf.deploy.formats import in_float32
from resprune_tf.graph.cloning import copy_state
from resprune_tf.graph.resizing import with_input_shape
from resprune_tf.graph.transfer import copy_values, load_weights
from resprune_tf.training.fast_copy import fast_copy
from resprune_tf.training.recalibration import recalibrate

KEEP = np.array([1, 0, 3, 0], "float32")


@keras.saving.register_keras_serializable("own_state")
class InAssets(layers.Layer):
    """Multiplies by an array, which it saves as a file."""

    keep = None

    def call(self, x):
        return x if self.keep is None else x * self.keep

    def save_assets(self, folder):
        np.save(pathlib.Path(folder, "keep.npy"), self.keep)

    def load_assets(self, folder):
        self.keep = np.load(pathlib.Path(folder, "keep.npy"))


@keras.saving.register_keras_serializable("own_state")
class AmongVariables(layers.Layer):
    """Multiplies by an array, which it saves beside its variable."""

    keep = None
    loads = 0

    def build(self, shape):
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def call(self, x):
        return x * self.scale * (1.0 if self.keep is None else self.keep)

    def save_own_variables(self, store):
        super().save_own_variables(store)
        store["keep"] = self.keep

    def load_own_variables(self, store):
        self.loads += 1
        self.keep = np.array(store["keep"])
        self.scale.assign(store["0"])


@keras.saving.register_keras_serializable("own_state")
class Around(layers.Layer):
    """Holds a layer in a dict in a list."""

    def __init__(self, kind="InAssets", **kwargs):
        super().__init__(**kwargs)
        self.kind = kind
        self.held = [{"one": KINDS[kind](name="inside")}]

    def call(self, x):
        return self.held[0]["one"](x)

    def get_config(self):
        return {**super().get_config(), "kind": self.kind}


KINDS = {"InAssets": InAssets, "AmongVariables": AmongVariables}
PLACES = {
    "plain": lambda layer: layer,
    "sequential": lambda layer: keras.Sequential([keras.Input((3, 4)), layer]),
    "time_distributed": lambda layer: layers.TimeDistributed(
        keras.Sequential([keras.Input((4,)), layer])
    ),
    "custom": lambda layer: Around(type(layer).__name__),
}


def model_with(layer):
    inputs = keras.Input((3, 4))
    x = layer(inputs)
    x = layers.Add(name="u_add")([x, layers.Dense(4, name="d")(x)])
    model = keras.Model(inputs, x)
    for each in model._flatten_layers():
        if isinstance(each, (InAssets, AmongVariables)):
            each.keep = KEEP
    model.get_layer("d").bias.assign(np.ones(4))
    return model


def holders(model):
    return [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, (InAssets, AmongVariables))
    ]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_state_of_a_layer_goes_with_it_wherever_it_lies(kind, place):
    model = model_with(PLACES[place](KINDS[kind]()))
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    np.testing.assert_array_equal(rp.add_importance(model)(x), model(x))


REBUILDS = {
    "remove_units": lambda model: rp.remove_units(rp.add_importance(model), "u"),
    "fold": rp.fold,
    "fast_copy": fast_copy,
    "bfloat16": lambda model: in_float32(fast_copy(model, "bfloat16")),
    "recalibrate": lambda model: recalibrate(model, np.ones((2, 3, 4), "float32")),
    "with_input_shape": lambda model: with_input_shape(model, (3, 4)),
    "gates": lambda model: add_gates(model, rp.find_units(model))[0],
    "expand": rp.expand,
}


@pytest.mark.parametrize("rebuild", REBUILDS.values(), ids=REBUILDS)
def test_every_copy_of_a_model_has_the_state(rebuild):
    opened = rebuild is rp.expand
    model = model_with(Around() if opened else AmongVariables())
    (holder,) = holders(rebuild(model))
    np.testing.assert_array_equal(holder.keep, KEEP)


def test_drop_branches_keeps_the_state():
    inputs = keras.Input((3, 4))
    x = InAssets(name="kept")(inputs)
    x = layers.Add(name="p_add")(
        [layers.Dense(6, name="shortcut")(x), layers.Dense(6, name="d")(x)]
    )
    model = keras.Model(inputs, x)
    model.get_layer("kept").keep = KEEP
    (holder,) = holders(rp.drop_branches(model, "p"))
    np.testing.assert_array_equal(holder.keep, KEEP)


def test_what_a_copy_has_already_is_not_loaded_again():
    model = model_with(AmongVariables(name="own"))
    copy = rp.add_importance(model)
    loads = copy.get_layer("own").loads
    copy_values(model, copy)
    assert copy.get_layer("own").loads == loads
    model.get_layer("own").keep = 2 * KEEP
    copy_values(model, copy)
    np.testing.assert_array_equal(copy.get_layer("own").keep, 2 * KEEP)


def test_methods_that_fail_are_named_with_their_layer():
    class Failing(InAssets):
        def load_assets(self, folder):
            raise KeyError("no such table")

    model = model_with(Failing(name="failing"))
    with pytest.raises(rp.CloneError, match="state of 'failing' .*no such table"):
        rp.add_importance(model, clone=lambda layer: _failing(layer, Failing))


def _failing(layer, kind):
    return kind(name=layer.name) if isinstance(layer, kind) else None


def test_saved_assets_that_nothing_loads_are_refused():
    class OneWay(layers.Layer):
        def call(self, x):
            return x

        def save_assets(self, folder):
            pathlib.Path(folder, "words.txt").write_text(self.name)

    old, new = OneWay(name="old"), OneWay(name="new")
    with pytest.raises(rp.CloneError, match="state of 'old' .*load_assets"):
        copy_state(old, new)


def test_weights_files_bring_state_of_layers_without_variables(tmp_path):
    @keras.saving.register_keras_serializable("own_state")
    class Kept(layers.Layer):
        keep = 1.0

        def call(self, x):
            return x * self.keep

        def save_own_variables(self, store):
            store["keep"] = self.keep

        def load_own_variables(self, store):
            self.keep = float(np.array(store["keep"]))

    model = model_with(Kept(name="kept"))
    shorter = rp.remove_units(rp.add_importance(model), "u")
    model.get_layer("kept").keep = 5.0
    model.save_weights(tmp_path / "a.weights.h5")
    load_weights(shorter, str(tmp_path / "a.weights.h5"))
    assert shorter.get_layer("kept").keep == 5.0


LOOKUPS = {
    "string": lambda: layers.StringLookup(),
    "multi_hot": lambda: layers.StringLookup(output_mode="multi_hot"),
    "tf_idf": lambda: layers.StringLookup(output_mode="tf_idf"),
    "given": lambda: layers.StringLookup(vocabulary=["red", "blue"]),
    "text": lambda: layers.TextVectorization(output_sequence_length=2),
}


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="JAX has no strings in a graph"
)
@pytest.mark.parametrize("kind", LOOKUPS)
def test_adapted_lookups_keep_their_words(kind):
    import tensorflow as tf

    lookup = LOOKUPS[kind]()
    if kind != "given":
        lookup.adapt(["red", "red", "blue"])
    words = keras.Input((1,) if kind != "text" else (), dtype="string")
    codes = keras.ops.cast(lookup(words), "float32")
    x = layers.Dense(4, name="first")(codes)
    x = layers.Add(name="u_add")([x, layers.Dense(4, name="d")(x)])
    model = keras.Model(words, x)
    given = [["red"], ["blue"], ["green"]]
    given = tf.constant(given if kind != "text" else [word for (word,) in given])
    expected = np.asarray(model(given))
    assert len(np.unique(expected.round(5), axis=0)) == 3
    for made in (rp.add_importance(model), rp.fold(rp.add_importance(model))):
        np.testing.assert_allclose(made(given), expected, rtol=1e-5, atol=1e-6)


def test_an_adapted_discretization_keeps_its_boundaries():
    buckets = layers.Discretization(num_bins=3, output_mode="one_hot")
    buckets.adapt(np.arange(30.0))
    inputs = keras.Input((1,))
    x = buckets(inputs)
    model = keras.Model(
        inputs, layers.Add(name="u_add")([x, layers.Dense(3, name="d")(x)])
    )
    x = np.array([[1.0], [15.0], [29.0]])
    np.testing.assert_array_equal(rp.add_importance(model)(x), model(x))
