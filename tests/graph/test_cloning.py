"""Rebuilt models hold new layers like the old ones, or say which they cannot make."""

import keras
import numpy as np
import pytest
from keras import layers

import resprune_tf as rp
from resprune_tf import graph


def with_unit(layer, width=4):
    """A model of one unit and a layer behind it."""
    inputs = keras.Input((width,))
    x = layers.Add(name="unit_add")([inputs, layers.Dense(width, name="f")(inputs)])
    return keras.Model(inputs, layer(x))


def run(model, width=4):
    x = np.random.default_rng(0).normal(size=(3, width)).astype("float32")
    return np.asarray(model(x))


def test_a_lambda_keeps_what_its_function_closes_over():
    factor = np.float32(3.0)
    model = with_unit(layers.Lambda(lambda x: x * factor, name="triple"))
    shorter = rp.remove_units(model, "unit")
    ones = np.ones((1, 4), "float32")
    np.testing.assert_array_equal(shorter(ones), 3 * ones)


class WrongConfig(layers.Layer):
    """Its configuration has a key that its constructor does not take."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="k")

    def call(self, inputs):
        return inputs @ self.kernel

    def get_config(self):
        return {**super().get_config(), "units": self.units, "size": 2}


class Table:
    shift = 1.0


class NoConfig(layers.Layer):
    """A layer made from an object that no configuration can hold."""

    def __init__(self, table, **kwargs):
        super().__init__(**kwargs)
        self.table = table

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(), name="scale", initializer="ones")

    def call(self, inputs):
        return inputs * self.scale + self.table.shift


def test_noted_arguments_stand_in_for_a_wrong_configuration():
    model = with_unit(WrongConfig(2, name="odd", trainable=False))
    shorter = rp.remove_units(model, "unit")
    odd = shorter.get_layer("odd")
    assert odd is not model.get_layer("odd") and not odd.trainable
    np.testing.assert_array_equal(odd.kernel, model.get_layer("odd").kernel)


def test_a_layer_without_configuration_is_refused_by_name_or_cloned_by_the_user():
    model = with_unit(NoConfig(Table(), name="tabled"))
    with pytest.raises(rp.CloneError, match="'tabled' of type NoConfig cannot.*clone="):
        rp.remove_units(model, "unit")

    def clone(layer):
        if isinstance(layer, NoConfig):
            return NoConfig(layer.table, name=layer.name)

    shorter = rp.remove_units(model, "unit", clone=clone)
    model.get_layer("tabled").scale.assign(5.0)
    assert float(shorter.get_layer("tabled").scale) == 1.0
    assert rp.add_importance(model, clone=clone).get_layer("tabled").scale == 5.0
    with pytest.raises(rp.CloneError, match="must return a new layer named 'tabled'"):
        rp.remove_units(model, "unit", clone=lambda layer: layer)


class Forgetful(layers.Layer):
    """Its configuration does not tell its width."""

    def __init__(self, width=1, **kwargs):
        super().__init__(**kwargs)
        self.width = width

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(self.width,), name="scale")

    def call(self, inputs):
        return inputs * self.scale

    def get_config(self):
        return {"name": self.name}


def test_a_layer_that_comes_back_smaller_is_refused():
    model = with_unit(Forgetful(4, name="narrow"))
    with pytest.raises(rp.CloneError, match="'narrow' cannot be rebuilt"):
        rp.remove_units(model, "unit")


def test_low_rank_adapters_stay():
    model = with_unit(layers.Dense(4, name="tuned"))
    model.get_layer("tuned").enable_lora(2)
    model.get_layer("tuned").lora_kernel_b.assign(np.ones((2, 4)))
    shorter = rp.remove_units(model, "unit")
    silenced = rp.add_importance(model, value=0.0)
    np.testing.assert_array_equal(run(shorter), run(silenced))


def test_quantized_layers_stay_exact():
    model = with_unit(layers.Dense(4, name="small"))
    model.get_layer("small").quantize("int8")
    shorter = rp.remove_units(model, "unit")
    assert shorter.get_layer("small").kernel.dtype == "int8"
    silenced = rp.add_importance(model, value=0.0)
    np.testing.assert_array_equal(run(shorter), run(silenced))


def test_regularizers_constraints_flags_and_policies_stay():
    layer = layers.Dense(
        4,
        name="kept",
        kernel_regularizer=keras.regularizers.L2(0.5),
        kernel_constraint=keras.constraints.MaxNorm(2.0),
        dtype="mixed_bfloat16",
    )
    model = with_unit(layer)
    layer.bias.trainable = False
    kept = rp.remove_units(model, "unit").get_layer("kept")
    assert kept.kernel_regularizer.l2 == 0.5
    assert kept.kernel_constraint.max_value == 2.0
    assert kept.dtype_policy.name == "mixed_bfloat16"
    assert [v.trainable for v in kept.variables] == [True, False]


def test_regularizers_and_constraints_of_variables_stay():
    model = with_unit(
        layers.Dense(4, kernel_regularizer="l1", bias_constraint="unit_norm")
    )
    for weight in model.trainable_weights:
        weight.regularizer = keras.regularizers.L2(0.1)
        weight.constraint = keras.constraints.NonNeg()
    made = graph.rebuild(model)
    assert len(made.losses) == len(model.losses) == len(model.trainable_weights)
    for weight in made.trainable_weights:
        assert isinstance(weight.regularizer, keras.regularizers.L2)
        assert isinstance(weight.constraint, keras.constraints.NonNeg)


@keras.saving.register_keras_serializable("tests.cloning")
class Mask(keras.constraints.Constraint):
    """Keeps the zeros of a pruned kernel; its configuration contains an array."""

    def __init__(self, mask):
        if isinstance(mask, dict):  # as Keras passes arrays of a configuration
            mask = keras.saving.deserialize_keras_object(mask)
        self.mask = np.asarray(mask)

    def __call__(self, w):
        return w * self.mask

    def get_config(self):
        return {"mask": self.mask}


def test_a_constraint_with_an_array_stays():
    model = with_unit(layers.Dense(4, kernel_constraint=Mask(np.eye(4))))
    made = graph.rebuild(model)
    (found,) = (w.constraint for w in made.trainable_weights if w.constraint)
    np.testing.assert_array_equal(found.mask, np.eye(4))


def test_a_frozen_model_stays_frozen_and_its_layers_keep_their_own_flags():
    inner = with_unit(layers.Dense(4, name="head"))
    inputs = keras.Input((4,))
    outer = keras.Model(inputs, layers.Dense(2, name="out")(inner(inputs)))
    inner.trainable = False
    inner.get_layer("head").trainable = True  # seen again once `inner` thaws
    shorter = rp.remove_units(outer, f"{inner.name}/unit")
    names = ["head/kernel", "head/bias", "out/kernel", "out/bias"]
    assert [v.path for v in outer.trainable_variables] == names
    assert [v.path for v in shorter.trainable_variables] == names
    copied = shorter.get_layer(inner.name)
    assert not copied.trainable and copied.get_layer("head").trainable
    assert rp.cost(outer).parameters == 3 * 20 - 10  # frozen ones count


def test_sparse_and_optional_inputs_stay():
    inputs = keras.Input((4,), sparse=True, name="rare")
    x = layers.Dense(3)(inputs)
    model = keras.Model(
        {"rare": inputs}, layers.Add(name="u_add")([x, layers.Dense(3)(x)])
    )
    shorter = rp.remove_units(model, "u")
    assert shorter.inputs[0].sparse and shorter.inputs[0].name == "rare"
