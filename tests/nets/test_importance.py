"""ImportanceScale: values, gradients, policies, serialisation."""

import keras
import numpy as np
import pytest

from resprune_tf import ImportanceScale, importances
from tests.conftest import small_net


def scaled(value=0.5, **kwargs):
    inputs = keras.Input((3,), name="x")
    layer = ImportanceScale(
        keras.initializers.Constant(value), name="a_importance", **kwargs
    )
    return keras.Model(inputs, layer(inputs)), layer


def test_multiplies_by_one_scalar():
    model, layer = scaled(-0.25)
    x = np.array([[1.0, -2.0, 4.0]], "float32")
    np.testing.assert_array_equal(model(x), [[-0.25, 0.5, -1.0]])
    assert layer.importance.shape == ()
    assert len(layer.trainable_weights) == 1


def test_default_is_uniform_between_minus_one_and_one():
    values = []
    for _ in range(200):
        layer = ImportanceScale()
        layer.build((None, 3))
        values.append(float(layer.importance))
    assert -1 <= min(values) < -0.9 and 0.9 < max(values) <= 1
    assert abs(np.mean(values)) < 0.15 and abs(np.std(values) - 3**-0.5) < 0.06


def test_l1_penalty_is_in_the_loss():
    model, _ = scaled(-0.5, l1=0.1)
    assert float(sum(model.losses)) == pytest.approx(0.05)
    assert scaled()[0].losses == []


def test_negative_l1_is_refused():
    with pytest.raises(ValueError, match=r"l1=-1 \(layer 'w'\)"):
        ImportanceScale(l1=-1, name="w")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_the_variable_in_float32(policy):
    model, layer = scaled(0.5, dtype=policy)
    assert layer.importance.dtype == "float32"
    assert layer.compute_dtype == policy.removeprefix("mixed_")
    out = keras.ops.cast(model(np.ones((2, 3), "float32")), "float32")
    np.testing.assert_array_equal(out, np.full((2, 3), 0.5))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_trains_to_the_right_value(jit_compile):
    model, layer = scaled(0.9)
    model.compile(keras.optimizers.SGD(0.3), "mse", jit_compile=jit_compile)
    x = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
    for _ in range(40):
        model.train_on_batch(x, -0.3 * x)
    assert float(layer.importance) == pytest.approx(-0.3, abs=1e-4)


def test_saves_and_loads(tmp_path):
    model, _ = scaled(0.7, l1=0.01)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    layer = again.get_layer("a_importance")
    assert layer.l1 == 0.01
    assert isinstance(layer.initializer, keras.initializers.Constant)
    assert importances(again) == {"a": pytest.approx(0.7)}


def test_importances_are_named_by_unit_and_found_in_nested_models():
    net = small_net(14, unit_kind="basic")
    values = importances(net)
    assert list(values) == ["stage1_unit2", "stage2_unit2", "stage3_unit2"]
    inputs = keras.Input(net.input_shape[1:])
    around = importances(keras.Model(inputs, net(inputs)))
    assert around == {f"resnet14/{name}": value for name, value in values.items()}
