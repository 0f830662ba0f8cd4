"""Layers that are whole residual units: scored and removed without being opened."""

import keras
import numpy as np
import pytest
from keras import layers

import resprune_tf as rp
from resprune_tf.criteria.gates import add_gates
from tests.conftest import outputs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def kind():
    @keras.saving.register_keras_serializable(package="tests")
    class Scaled(layers.Layer):
        """x + scale * dense(x), with a scale that belongs to the layer itself."""

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = layers.Dense(4)
            self.supports_masking = True

        def build(self, shape):
            self.dense.build(shape)
            self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

        def call(self, x):
            return x + self.scale * self.dense(x)

    rp.register_unit(Scaled)
    return Scaled


def net(kind, scales):
    """Units of the given scales, the last layer of which is called twice."""
    x = numbers = keras.Input((4,))
    units = [kind(name=f"unit{index}") for index in range(len(scales))]
    for unit in (*units, units[-1]):
        x = unit(x)
    for unit, scale in zip(units, scales, strict=True):
        unit.scale.assign(scale)
    return keras.Model(numbers, layers.Dense(3, name="logits")(x))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 4)).astype("float32"), rng.integers(0, 3, 40)


def test_every_criterion_but_importance_scores_them(kind, data):
    model = net(kind, (0.5, 1e-6, 0.2))
    table = rp.compare_scores(model, *data)
    assert "importance" in table.omitted
    for scores in table.scores.values():
        assert list(scores) == ["unit0", "unit1", "unit2", "unit2#1"]
    for name in ("output_norm", "block_influence", "cka", "taylor"):
        scores = table.scores[name]
        assert min(scores, key=scores.get) == "unit1", name
    assert abs(table.scores["leave_one_out"]["unit1"]) < 1e-5


def test_a_closed_gate_is_the_net_without_the_unit(kind, data):
    model, (x, _) = net(kind, (0.5, 0.3)), data
    units = rp.find_units(model)
    gated, gates = add_gates(model, units)
    np.testing.assert_array_equal(outputs(gated, x), outputs(model, x))
    for name in ("unit0", "unit1#1"):
        gates[name].set(0)
        shorter = rp.remove_units(model, name)
        np.testing.assert_array_equal(outputs(gated, x), outputs(shorter, x))
        gates[name].set(1)


def test_gates_pass_masks_on(kind):
    words = keras.Input((5,), dtype="int32")
    x = kind(name="unit")(layers.Embedding(9, 4, mask_zero=True)(words))
    model = keras.Model(words, layers.GlobalAveragePooling1D()(x))
    gated, _ = add_gates(model, rp.find_units(model))
    rows = np.array([[1, 2, 0, 0, 0], [3, 4, 5, 6, 0]])
    np.testing.assert_array_equal(outputs(gated, rows), outputs(model, rows))


def test_they_are_removed_for_a_target_and_in_rounds(kind, data):
    x, y = data
    model = net(kind, (1e-6, 0.2))
    scores = rp.criteria.output_norm(x)(model)
    solution = rp.solve_target(model, rp.Target(units=2), scores)
    assert solution.units == ("unit0",)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(0.0)
    model.compile(optimizer, loss, metrics=["accuracy"], run_eagerly=True)
    result = rp.prune_and_retrain(
        model,
        rp.FitData(train=data, validation=data),
        rp.FitRecipe(epochs=1),
        removal=rp.Removal(
            criterion=rp.criteria.output_norm(x), max_rounds=1, tolerance=0.99
        ),
        run=rp.RunOptions(verbose=False),
    )
    assert result.rounds[1].removed == ("unit0",)


@pytest.fixture(scope="module")
def nameless():
    """Units of a class whose configuration, which Keras makes up, tells no name."""

    @keras.saving.register_keras_serializable(package="tests")
    class Block(layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.dense, self.norm = layers.Dense(4), layers.BatchNormalization()

        def build(self, shape):
            self.dense.build(shape)
            self.norm.build(shape)

        def call(self, x):
            return x + self.norm(self.dense(x))

    rp.register_unit(Block)
    x = numbers = keras.Input((4,))
    for name in "abc":
        x = Block(name=name)(x)
    model = keras.Model(numbers, layers.Dense(3, name="logits")(x), name="mine")
    assert "name" not in model.get_layer("a").get_config()
    return model


def test_units_keep_names_that_no_configuration_tells(nameless, data):
    shorter = rp.remove_units(nameless, "a")
    assert [unit.name for unit in rp.find_units(shorter)] == ["b", "c"]
    table = rp.compare_scores(nameless, *data)
    assert {tuple(scores) for scores in table.scores.values()} == {("a", "b", "c")}


def test_a_net_that_files_rename_is_refused_before_any_work(nameless, data, tmp_path):
    nameless.compile("sgd", "mse")
    message = (
        "'mine' cannot be restored.*type Block get other names: a, b, c.*name=None"
    )
    with pytest.raises(ValueError, match=message):
        rp.prune_and_retrain(
            nameless,
            rp.FitData(train=data, validation=data),
            rp.FitRecipe(epochs=1),
            removal=rp.Removal(criterion=rp.criteria.random(0), monitor="loss"),
            run=rp.RunOptions(tmp_path / "never"),
        )
    assert not (tmp_path / "never").exists()


def test_what_is_frozen_within_a_layer_stays_so(nameless):
    block = nameless.get_layer("b")
    block.trainable = False
    copied = rp.remove_units(nameless, "a").get_layer("b")
    block.trainable = True
    assert not copied.trainable and not copied.norm.trainable
