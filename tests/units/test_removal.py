"""Unit discovery and removal: exact, for any subset, in any order."""

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers

from resprune_tf import Architecture, UnitId, build_resnet, find_units, remove_units
from tests.conftest import images_of, outputs, randomise

pytestmark = pytest.mark.slow


def silenced(model, names, images):
    """Outputs of a model with ω = 0 on some units, which then get theirs back."""
    factors = [model.get_layer(f"{name}_importance").importance for name in names]
    values = [np.array(factor) for factor in factors]
    for factor in factors:
        factor.assign(0.0)
    made = outputs(model, images)
    for factor, value in zip(factors, values, strict=True):
        factor.assign(value)
    return made


# Two units in a row that may go, and a stage with a shortcut of its own behind them.
SHAPE = {
    "kept": ((1, 2, 3), (1, 2)),
    "widths": (4, 8),
    "num_classes": 5,
    "image_shape": (8, 8, 3),
}
TWO_AND_TWO = {**SHAPE, "kept": ((1, 2), (1, 2))}
KINDS = {
    "pre-bottleneck": dict(unit_kind="bottleneck"),
    "post-bottleneck": dict(unit_kind="bottleneck", activation="post"),
    "pre-basic": dict(unit_kind="basic"),
    "post-basic-zero-pad": dict(
        unit_kind="basic", activation="post", shortcut="zero_pad"
    ),
}


def resnet(architecture):
    model = build_resnet(architecture)
    randomise(model)
    return model


@pytest.fixture(scope="module", params=KINDS)
def net(request):
    return resnet(Architecture(**SHAPE, **KINDS[request.param]))


def removable(model):
    return [unit.name for unit in find_units(model) if unit.importance]


@pytest.fixture(scope="module")
def shorter_by_one(net):
    """For each removable unit the net without it, named in each of the three ways."""
    first, second, third = (unit for unit in find_units(net) if unit.importance)
    given = first.name, UnitId.parse(second.name), [third]
    names = first.name, second.name, third.name
    return {
        name: remove_units(net, unit) for name, unit in zip(names, given, strict=True)
    }


def test_removal_equals_silencing_for_random_subsets(net):
    images = images_of(net)
    names = removable(net)
    before = net.get_weights()

    @settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.permutations(names), st.integers(1, len(names)))
    def check(order, count):
        chosen = order[:count]
        shorter = remove_units(net, chosen)
        difference = outputs(shorter, images) - silenced(net, chosen, images)
        assert np.abs(difference).max() == 0
        assert set(removable(shorter)) == set(names) - set(chosen)

    check()
    for old, new in zip(before, net.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_order_and_grouping_do_not_matter(net, shorter_by_one):
    images = images_of(net)
    chosen = removable(net)[:3]
    at_once = outputs(remove_units(net, chosen), images)
    for first, *others in (chosen[::-1], chosen[1:] + chosen[:1]):
        shorter = shorter_by_one[first]
        for name in others:
            shorter = remove_units(shorter, name)
        np.testing.assert_array_equal(outputs(shorter, images), at_once)


def test_removal_equals_building_the_smaller_architecture():
    full = Architecture(**{**SHAPE, "kept": ((1, 2), (1, 2, 3))})
    model = resnet(full)
    gone = ["stage1_unit2", "stage2_unit3", "stage2_unit2"]
    built = build_resnet(full.without(gone))
    shorter = remove_units(model, gone)
    assert [la.name for la in shorter.layers] == [la.name for la in built.layers]
    for layer in built.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights())
    images = images_of(model)
    np.testing.assert_array_equal(outputs(shorter, images), outputs(built, images))


def test_survivors_keep_names_order_and_values(net, shorter_by_one):
    gone = removable(net)[1]
    unit = next(u for u in find_units(net) if u.name == gone)
    shorter = shorter_by_one[gone]
    expected = [la.name for la in net.layers if la.name not in unit.layers]
    assert [layer.name for layer in shorter.layers] == expected
    for layer in shorter.layers:
        old = net.get_layer(layer.name)
        assert layer is not old
        for a, b in zip(layer.weights, old.weights, strict=True):
            assert a is not b
            np.testing.assert_array_equal(a, b)


def test_removal_changes_the_outputs_of_an_active_unit(net, shorter_by_one):
    images = images_of(net)
    shorter = shorter_by_one[removable(net)[0]]
    assert np.abs(outputs(shorter, images) - outputs(net, images)).max() > 1e-3


def test_parameters_say_what_removal_saves(net, shorter_by_one):
    def trainable(model):
        return sum(int(np.prod(w.shape)) for w in model.trainable_weights)

    for unit in find_units(net):
        if unit.importance:
            saved = trainable(net) - trainable(shorter_by_one[unit.name])
            assert saved == unit.parameters + 1  # and its ω
            assert saved == sum(int(np.prod(w.shape)) for w in unit.weights) + 1
            kept = {w.path for w in shorter_by_one[unit.name].weights}
            assert not kept & {w.path for w in unit.weights}


def test_shorter_net_saves_loads_and_trains(tmp_path):
    shorter = remove_units(resnet(Architecture(**TWO_AND_TWO)), ["stage2_unit2"])
    images = images_of(shorter)
    shorter.save(tmp_path / "shorter.keras")
    again = keras.saving.load_model(tmp_path / "shorter.keras")
    np.testing.assert_array_equal(outputs(again, images), outputs(shorter, images))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    again.compile("sgd", loss, run_eagerly=True)
    again.fit(images, np.zeros(len(images)), verbose=0)


def test_refusals_name_what_can_be_removed():
    model = resnet(Architecture(**TWO_AND_TWO))
    offer = "Removable units of 'resnet14': stage1_unit2, stage2_unit2"
    with pytest.raises(ValueError, match=f"cannot be removed: its shortcut.*{offer}"):
        remove_units(model, ["stage1_unit2", "stage2_unit1"])
    with pytest.raises(ValueError, match=f"has no unit 'stage9_unit1'.*{offer}"):
        remove_units(model, ["stage9_unit1"])
    with pytest.raises(TypeError, match=f"one or several.* Received: 3. {offer}"):
        remove_units(model, 3)
    with pytest.raises(ValueError, match=f"No unit was named.*{offer}"):
        remove_units(model, [])
    smallest = remove_units(model, removable(model))
    with pytest.raises(ValueError, match="Removable units of 'resnet14': none"):
        remove_units(smallest, ["stage1_unit2"])


def test_only_functional_models():
    with pytest.raises(TypeError, match="functional.*Sequential"):
        find_units(keras.Sequential([layers.Dense(2)]))
    with pytest.raises(TypeError, match="keras.Model.*Received: int"):
        remove_units(3, ["a"])


def test_units_of_a_hand_made_model():
    """Adds written three ways, a shared layer, several inputs and outputs."""
    a, b = keras.Input((4, 4, 3), name="a"), keras.Input((4, 4, 3), name="b")
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    x = layers.Add(name="first_add")([a, shared(a)])
    y = x + shared(x)
    z = keras.ops.add(layers.Conv2D(3, 1, name="branch")(y), y)
    both = layers.Add(name="unrelated")([z, b])
    model = keras.Model({"a": a, "b": b}, {"y": y, "out": both})
    randomise(model)
    units = find_units(model)
    assert [unit.kind for unit in units] == ["identity"] * 3
    assert units[0].name == "first" and units[0].layers == ("first_add",)
    assert units[2].layers[0] == "branch" and units[2].parameters == 12

    rng = np.random.default_rng(0)
    inputs = {k: rng.normal(size=(2, 4, 4, 3)).astype("float32") for k in "ab"}
    whole = model(inputs)
    without = remove_units(model, [units[2]])(inputs)
    np.testing.assert_array_equal(without["y"], whole["y"])
    np.testing.assert_array_equal(without["out"], np.asarray(whole["y"]) + inputs["b"])
    nothing = remove_units(model, units)(inputs)
    np.testing.assert_array_equal(nothing["y"], inputs["a"])


def test_a_shared_merge_layer_has_one_unit_per_call():
    x = inputs = keras.Input((3,))
    merge = layers.Add(name="shared_add")
    for index in range(3):
        x = merge([x, layers.Dense(3, name=f"dense{index}")(x)])
    model = keras.Model(inputs, x)
    assert [u.name for u in find_units(model)] == ["shared", "shared#1", "shared#2"]
    shorter = remove_units(model, ["shared#1"])
    assert [la.name for la in shorter.layers if la.weights] == ["dense0", "dense2"]


def test_frozen_layers_policies_and_seed_states_survive():
    inputs = keras.Input((4,))
    x = layers.Dense(4, name="frozen", trainable=False)(inputs)
    x = layers.Add(name="unit_add")([x, layers.Dense(4, dtype="mixed_bfloat16")(x)])
    x = layers.Dropout(0.5, seed=3, name="dropout")(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    model(np.ones((1, 4)), training=True)  # advances the seed generator
    shorter = remove_units(model, ["unit"])
    assert shorter.get_layer("frozen").trainable is False
    state = model.get_layer("dropout").seed_generator.state
    np.testing.assert_array_equal(
        shorter.get_layer("dropout").seed_generator.state, state
    )


def test_normalization_layer_keeps_its_statistics():
    inputs = keras.Input((3,))
    norm = layers.Normalization(name="norm")
    norm.adapt(np.random.default_rng(0).normal(5, 3, size=(64, 3)))
    x = norm(inputs)
    model = keras.Model(inputs, layers.Add(name="u_add")([x, layers.Dense(3)(x)]))
    ones = np.ones((2, 3), "float32")
    np.testing.assert_array_equal(remove_units(model, "u")(ones), norm(ones))


def test_float16_policy_keeps_its_loss_scaling():
    inputs = keras.Input((3,))
    x = layers.Dense(3)(inputs)
    model = keras.Model(inputs, layers.Add(name="u_add")([x, layers.Dense(3)(x)]))
    model.dtype_policy = "mixed_float16"
    shorter = remove_units(model, "u")
    shorter.compile("sgd", "mse")
    assert isinstance(shorter.optimizer, keras.optimizers.LossScaleOptimizer)
