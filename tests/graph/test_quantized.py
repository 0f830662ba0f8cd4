"""Quantized models: their parameters and MACs are counted, and copies are exact."""

import functools

import keras
import numpy as np
import pytest
from keras import layers

import resprune_tf as rp
from resprune_tf.deploy.formats import in_float32
from resprune_tf.graph.transfer import copy_values
from resprune_tf.training.fast_copy import fast_copy

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*quantiz")]


def dense_net(dtype=None):
    inputs = keras.Input((5,))
    x = layers.Dense(7, name="stem", dtype=dtype)(inputs)
    for index in range(2):
        branch = layers.Dense(7, name=f"u{index}_d", dtype=dtype)(x)
        x = layers.Add(name=f"u{index}_add", dtype=dtype)([x, branch])
    return keras.Model(inputs, layers.Dense(3, name="head", dtype=dtype)(x))


def attention_net():
    tokens = keras.Input((5,), dtype="int32")
    x = layers.Embedding(11, 6, name="embedding")(tokens)
    x = layers.Add(name="u0_add")([x, layers.Dense(6, name="d")(x)])
    x = layers.Add(name="u1_add")([x, layers.MultiHeadAttention(2, 3, name="a")(x, x)])
    return keras.Model(tokens, layers.EinsumDense("abc,cd->abd", (None, 7))(x))


def run(model):
    if model.inputs[0].dtype == "int32":
        return np.asarray(model(np.array([[0, 3, 1, 4, 10]])))
    x = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    return np.asarray(model(x), "float32")


def counts(model):
    """What a model costs, and what each of its units does."""
    return rp.cost(model), [(u.parameters, u.macs) for u in rp.find_units(model)]


@functools.cache
def plain_counts(make):
    """Those of a net that is not quantized."""
    return counts(make())


MODES = ["int8", "int4", "float8"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("make", [dense_net, attention_net])
def test_quantization_changes_no_counts_and_no_copy(make, mode):
    model = make()
    model.quantize(mode)
    assert counts(model) == plain_counts(make)
    expected = run(model)
    rebuilds = (rp.add_importance, rp.fold, fast_copy)
    for rebuild in rebuilds if make is dense_net else rebuilds[:1]:
        made = rebuild(model)
        assert rp.cost(made) == plain_counts(make)[0]
        np.testing.assert_array_equal(run(made), expected)


def test_removing_a_unit_saves_what_it_states():
    model = dense_net()
    model.quantize("int4")
    shorter = rp.remove_units(model, "u1")
    saved = rp.cost(model).parameters - rp.cost(shorter).parameters
    assert saved == rp.find_units(model)[1].parameters == 7 * 7 + 7
    silenced = rp.add_importance(model, "u1", value=0.0)
    np.testing.assert_array_equal(run(shorter), run(silenced))


def test_an_optimizers_state_follows_float8_weights_to_their_copies():
    model = dense_net()
    # Steps of float8 layers can only be compiled, and have hundreds of operations.
    model.get_layer("head").quantize("float8")
    model.compile("adam", "mse")
    model.fit(np.ones((4, 5)), np.ones((4, 3)), verbose=0)
    shorter = rp.remove_units(model, "u1", optimizer_state=True)
    momenta = [
        {v.path: v for v in each.optimizer.variables}["adam/head_kernel_momentum"]
        for each in (model, shorter)
    ]
    assert np.any(np.asarray(momenta[0]))
    np.testing.assert_array_equal(*momenta)


def test_calibrated_gptq_layers_stay_calibrated():
    inputs = keras.Input((8,))
    x = layers.Add(name="u_add")([inputs, layers.Dense(8, name="d")(inputs)])
    small = layers.Dense(5, name="small", dtype="gptq/4/-1_from_float32")
    model = keras.Model(inputs, small(x))
    rng = np.random.default_rng(0)
    small.is_gptq_calibrated = True
    small.quantized_kernel.assign(rng.integers(0, 255, small.quantized_kernel.shape))
    small.kernel_scale.assign(np.full(small.kernel_scale.shape, 0.1))
    made = rp.add_importance(model)
    x = rng.normal(size=(2, 8)).astype("float32")
    np.testing.assert_array_equal(made(x), model(x))
    assert rp.cost(made).parameters == (8 * 8 + 8) + (8 * 5 + 5)


@pytest.mark.parametrize("mode, name", [("gptq", "GPTQConfig"), ("awq", "AWQConfig")])
def test_layers_that_are_not_calibrated_are_counted_but_not_copied(mode, name):
    make_config = getattr(keras.quantizers, name, None)
    if make_config is None:
        pytest.skip(f"this Keras has no {name}")
    model = dense_net()
    config = make_config(dataset=None, tokenizer=None, weight_bits=4, group_size=-1)
    for layer in ("u0_d", "head"):
        model.get_layer(layer).quantize(mode, config=config)
    assert counts(model) == plain_counts(dense_net)
    for rebuild in (rp.add_importance, rp.fold, lambda m: rp.remove_units(m, "u1")):
        with pytest.raises(ValueError, match=f"quantized by {mode} but not calib"):
            rebuild(model)


def test_adapters_are_counted_with_the_kernel_they_adapt():
    model = dense_net()
    plain = rp.cost(model)
    model.get_layer("u0_d").enable_lora(2)
    assert rp.cost(model).parameters == plain.parameters + 2 * (7 * 2)
    assert rp.cost(model).macs == plain.macs
    copy_values(model, fast_copy(model))


def test_a_quantized_model_of_half_precision_stays_quantized_in_float32():
    model = dense_net("mixed_bfloat16")
    model.quantize("int8")
    made = in_float32(model)
    assert made.get_layer("stem").dtype_policy.name == "int8_from_float32"
    np.testing.assert_allclose(run(made), run(model), rtol=0.1, atol=0.1)
