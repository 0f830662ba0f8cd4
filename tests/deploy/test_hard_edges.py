"""What goes wrong with pruning elsewhere, as users reported it, each tried here.

Numbers are of issues of keras-team/keras unless another project is named.
"""

import gc
import weakref

import keras
import numpy as np
import pytest
from keras import layers

import resprune_tf as rp
from tests.conftest import images_of, outputs, randomise

pytestmark = pytest.mark.slow


def alike(units=4):
    """A net of one stage, whose units differ in nothing but their weights."""
    x = inputs = keras.Input((6,), name="x")
    for index in range(units):
        branch = layers.Dense(6, activation="tanh", name=f"u{index}_dense")(x)
        x = layers.Add(name=f"u{index}_add")([x, branch])
    return keras.Model(inputs, x, name="alike")


def nested():
    inputs = keras.Input((6,), name="image")
    model = keras.Model(inputs, layers.Dense(2, name="head")(alike()(inputs)))
    randomise(model)
    return model


@pytest.mark.parametrize("make, unit", [(alike, "u1"), (nested, "alike/u1")])
def test_weights_of_the_whole_net_are_loaded_by_name(tmp_path, make, unit):
    """`load_weights` of Keras goes by position: here it fills in a neighbour's."""
    path = tmp_path / "whole.weights.h5"
    model = make()
    randomise(model, seed=5)
    model.save_weights(path)
    shorter = rp.remove_units(model, unit)
    right = outputs(shorter, images_of(model))
    shorter.load_weights(path)
    assert np.abs(outputs(shorter, images_of(model)) - right).max() > 0.01
    rp.load_weights(shorter, path)
    np.testing.assert_array_equal(outputs(shorter, images_of(model)), right)


def _overwritten(content):
    at = content.index(b"u0_dense") - 8
    return content[:at] + b"\xff" * 64 + content[at + 64 :]


DAMAGE = {
    "emptied": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "text": lambda content: b"version https://git-lfs.github.com/spec/v1",
    "no groups": lambda content: content.replace(b"TREE", b"EERT"),
    "names": _overwritten,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_weights_files_are_named_and_change_nothing(tmp_path, damage):
    model, path = alike(), tmp_path / "damaged.weights.h5"
    randomise(model)
    before = model.get_weights()
    model.save_weights(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="damaged.weights.h5' (is damaged|has no)"):
        rp.load_weights(model, path)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_weights_files_of_other_nets_change_nothing(tmp_path):
    shorter = rp.remove_units(alike(), "u1")
    randomise(shorter)
    before = shorter.get_weights()
    path = tmp_path / "short.weights.h5"
    shorter.save_weights(path)
    longer = alike()
    with pytest.raises(
        ValueError, match="no weights for these layers of 'alike': u1_dense"
    ):
        rp.load_weights(longer, path)
    with pytest.raises(ValueError, match=r"ends in `.weights.h5`. Received: '.*keras'"):
        shorter.save(tmp_path / "a.keras")
        rp.load_weights(shorter, tmp_path / "a.keras")
    wider = keras.Input((5,))
    other = keras.Model(wider, layers.Dense(5, name="u0_dense")(wider))
    with pytest.raises(ValueError, match="does not fit the layer 'u0_dense'"):
        rp.load_weights(other, path)
    with pytest.raises(FileNotFoundError, match="no file 'gone.weights.h5'"):
        rp.load_weights(shorter, "gone.weights.h5")
    for old, new in zip(before, shorter.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_shared_addition_loses_the_named_call_alone():
    """`clone_model(call_function=)` knows shared layers by name and drops all calls."""
    x = inputs = keras.Input((6,))
    add = layers.Add(name="sum_add")
    for index in range(3):
        x = add([x, layers.Dense(6, activation="tanh", name=f"dense{index}")(x)])
    model = keras.Model(inputs, x)
    randomise(model)
    shorter = rp.remove_units(model, "sum#1")
    names = [layer.name for layer in shorter.layers if layer.weights]
    assert names == ["dense0", "dense2"]
    silenced = rp.add_importance(model, "sum#1", value=0.0)
    images = images_of(model)
    np.testing.assert_array_equal(outputs(shorter, images), outputs(silenced, images))


def test_names_of_inputs_stay_even_where_keras_made_them_up():
    """`clone_model` renames `input_layer` to `keras_tensor_N`."""
    first, second = keras.Input((6,)), keras.Input((6,), sparse=True)
    x = layers.Add(name="u_add")([first, layers.Dense(6)(first)])
    model = keras.Model([first, second], x + layers.Dense(6)(second))
    shorter = rp.remove_units(model, "u")
    for name in ("input_layer", "input_layer_1"):
        assert isinstance(model.get_layer(name), keras.layers.InputLayer)
        assert isinstance(shorter.get_layer(name), keras.layers.InputLayer)
    assert [tensor.sparse for tensor in shorter.inputs] == [False, True]


def test_the_shorter_model_shares_nothing_and_frees_the_longer_one():
    """#21120, #20172: clones that share layers, or keep the old ones alive."""
    model = nested()
    shorter = rp.remove_units(model, "alike/u1")
    shared = {id(v) for v in model.variables} & {id(v) for v in shorter.variables}
    assert not shared
    gone = weakref.ref(model.get_layer("alike").get_layer("u1_dense"))
    del model
    gc.collect()
    assert gone() is None


def test_a_unit_of_another_model_is_known_by_its_name():
    """A rebuild keyed by objects would silently ignore it."""
    one, other = alike(), alike()
    unit = rp.find_units(one)[1]
    assert len(rp.find_units(rp.remove_units(other, unit))) == 3
    with pytest.raises(ValueError, match="has no unit 'u1'"):
        rp.remove_units(rp.remove_units(other, unit), unit)


def test_normalization_statistics_reach_the_outputs():
    """#20147: `set_weights` on Normalization has no effect on what it computes."""
    x = inputs = keras.Input((6,))
    norm = layers.Normalization(name="norm")
    norm.adapt(np.random.default_rng(0).normal(5, 3, (64, 6)))
    bag = keras.Sequential([keras.Input((6,)), norm], name="prepare")
    x = layers.Add(name="u_add")([bag(inputs), layers.Dense(6)(inputs)])
    x = layers.Add(name="v_add")([x, layers.Dense(6)(x)])
    model = keras.Model(inputs, x)
    images = images_of(model)
    shorter = rp.remove_units(model, "v")
    silenced = rp.add_importance(model, "v", value=0.0)
    np.testing.assert_array_equal(outputs(shorter, images), outputs(silenced, images))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_precision_survives_removal_and_opening(policy):
    """A functional model takes the global policy, and compile() drops loss scaling."""
    keras.config.set_dtype_policy(policy)
    try:
        model = alike()
    finally:
        keras.config.set_dtype_policy("float32")
    randomise(model)
    for made in (
        rp.remove_units(model, "u1"),
        rp.add_importance(model),
        rp.drop_branches(_with_projection(policy), "p"),
    ):
        assert made.dtype_policy.name == policy
        made.compile("sgd", "mse")
        scaled = isinstance(made.optimizer, keras.optimizers.LossScaleOptimizer)
        assert scaled == (policy == "mixed_float16")
    images = images_of(model)
    silenced = rp.add_importance(model, "u1", value=0.0)
    np.testing.assert_array_equal(
        outputs(rp.remove_units(model, "u1"), images), outputs(silenced, images)
    )


def _with_projection(policy):
    inputs = keras.Input((6,))
    branch = layers.Dense(4, dtype=policy)(layers.ReLU(dtype=policy)(inputs))
    add = layers.Add(name="p_add", dtype=policy)
    model = keras.Model(inputs, add([layers.Dense(4, dtype=policy)(inputs), branch]))
    model.dtype_policy = policy
    return model


def resnet(**fields):
    model = rp.build_resnet(rp.Architecture(image_shape=(8, 8, 3), **fields))
    randomise(model)
    return model


def test_a_projection_unit_can_lose_its_branch_alone():
    model = resnet(kept=((1,), (1, 2)), widths=(4, 8))
    images = images_of(model)
    with pytest.raises(ValueError, match="cannot be removed: its shortcut passes"):
        rp.remove_units(model, "stage2_unit1")
    shorter = rp.drop_branches(model, "stage2_unit1")
    silenced = rp.add_importance(model, "stage2_unit1", value=0.0)
    np.testing.assert_array_equal(outputs(shorter, images), outputs(silenced, images))
    assert rp.cost(shorter).macs < rp.cost(model).macs
    with pytest.raises(ValueError, match="identity shortcut. Use `remove_units`"):
        rp.drop_branches(model, "stage2_unit2")


def test_a_lively_offset_of_the_branch_goes_too():
    """microsoft/nni #2130: sped-up differs from masked where BatchNorm has a beta."""
    model = resnet(kept=((1, 2),), widths=(4,), activation="post")
    name = "stage1_unit2"
    beta = model.get_layer(f"{name}_bn3").beta
    beta.assign(np.full(beta.shape, 3.0))
    images = images_of(model)
    silenced = rp.fold(model)  # of everything but the unit in question: the same
    assert np.isfinite(outputs(silenced, images)).all()
    model.get_layer(f"{name}_importance").importance.assign(0.0)
    np.testing.assert_array_equal(
        outputs(rp.remove_units(model, name), images), outputs(model, images)
    )


def test_plain_models_in_and_out():
    """tensorflow/model-optimization #1119: wrappers that Keras 3 does not take."""
    shorter = rp.remove_units(nested(), "alike/u0")
    assert isinstance(shorter, keras.Model)
    kinds = {
        type(layer).__module__.split(".")[0] for layer in shorter._flatten_layers()
    }
    assert kinds == {"keras"}


def test_a_whole_zoo_model_as_one_layer():
    """Raukk/tf-keras-surgeon #12: a nested ResNet50 cannot be operated on."""
    backbone = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None
    )
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Rescaling(1 / 127.5, offset=-1),
            backbone,
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.2),
            layers.Dense(3),
        ]
    )
    randomise(model)
    units = rp.find_units(model)
    assert len(units) == 10 and all(unit.removable for unit in units)
    names = [unit.name for unit in units[::3]]
    shorter = rp.remove_units(model, names)
    silenced = rp.add_importance(model, names, value=0.0)
    images = images_of(model)
    np.testing.assert_array_equal(outputs(shorter, images), outputs(silenced, images))
    saved = sum(units[index].macs for index in range(0, 10, 3))
    assert rp.cost(model).macs - rp.cost(shorter).macs == saved


def test_no_backup_of_one_net_is_restored_in_another(tmp_path):
    """BackupAndRestore keeps weights by position: a longer net's fit a shorter one."""
    recipe = rp.FitRecipe(
        epochs=1, callbacks=lambda: [keras.callbacks.BackupAndRestore(tmp_path)]
    )
    model = rp.add_importance(alike())
    model.compile("sgd", "mse")
    x = images_of(model)
    data = rp.FitData(train=(x, x), validation=(x, x))
    with pytest.raises(ValueError, match="BackupAndRestore.*Leave it out"):
        rp.prune_and_retrain(model, data, recipe, removal=rp.Removal(monitor="loss"))
