"""What files of models do not record, but a run keeps."""

import keras
import numpy as np
import pytest

import resprune_tf as rp
from resprune_tf.system.whole_files import read_lines
from tests.made.fits import own, regression_data, shorten

pytestmark = pytest.mark.slow


def numbered(penalty, before):
    """Two units of equal layers, named by Keras; a penalty on one of their variables.

    Args:
        penalty: sets a regularizer on the kernel of the first unit.
        before: number of layers that are built before, which shifts the names.
    """
    keras.utils.clear_session(free_memory=False)
    for _ in range(before):
        keras.layers.Dense(3)
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((6,))
    kernels = []
    for _ in range(2):
        layer = keras.layers.Dense(6, "relu")
        x = keras.layers.Add()([x, layer(x)])
        kernels.append(layer.kernel)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    if penalty:
        kernels[0].regularizer = keras.regularizers.L2(0.1)
        kernels[0].constraint = keras.constraints.NonNeg()
    return own(model)


@pytest.mark.parametrize("before", [0, 1])
def test_penalties_that_were_set_on_variables_last_through_a_run(tmp_path, before):
    """Files of models do not contain them; names may differ when a run continues."""
    settings = {"max_rounds": 1, "tolerance": 100, "run_dir": tmp_path}
    settings["criterion"] = _second_first

    def penalized(model):
        found = [w.regularizer is not None for w in model.trainable_weights]
        assert [w.constraint is not None for w in model.trainable_weights] == found
        return found

    shorten(numbered(True, 0), regression_data(), **settings)
    result = shorten(numbered(True, before), regression_data(), **settings)
    assert len(result.rounds[1].removed) == 1
    assert penalized(result.model) == [True, False, False, False]
    assert np.min(result.model.trainable_weights[0]) >= 0


def _second_first(model):
    """Scores by position: the last unit is removed first."""
    return {unit.name: -number for number, unit in enumerate(rp.find_units(model))}


def test_a_run_does_not_go_on_with_other_penalties(tmp_path):
    settings = {"max_rounds": 0, "run_dir": tmp_path}
    shorten(numbered(False, 0), regression_data(), **settings)
    with pytest.raises(ValueError, match="model"):
        shorten(numbered(True, 0), regression_data(), **settings)


@keras.saving.register_keras_serializable(package="tests")
class NormedBlock(keras.layers.Layer):
    """A normalized layer, whose inner layers no configuration of the block records."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(6)
        self.norm = keras.layers.BatchNormalization(momentum=0.1)

    def build(self, shape):
        self.dense.build(shape)
        self.norm.build(shape)

    def call(self, x, training=False):
        return self.norm(self.dense(x), training=training)


def blocks(dropout=None):
    """Two units of a block each."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((6,))
    for number in (1, 2):
        branch = NormedBlock(name=f"block{number}")(x)
        if dropout:
            branch = keras.layers.Dropout(dropout)(branch)
        x = keras.layers.Add(name=f"add{number}")([x, branch])
    return keras.Model(inputs, keras.layers.Dense(1, name="head")(x))


def test_what_is_frozen_inside_a_layer_stays_frozen():
    model = blocks()
    model.get_layer("block1").trainable = False
    model.get_layer("block2").dense.trainable = False
    model.get_layer("head").bias.trainable = False
    own(model)
    settings = {"max_rounds": 1, "tolerance": 100, "criterion": _second_first}
    result = shorten(model, regression_data(), **settings)
    before, after = (m.get_layer("block1") for m in (model, result.model))
    for old, new in zip(before.weights, after.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    assert not after.norm.trainable and not after.dense.trainable
    head = result.model.get_layer("head")
    assert [v.trainable for v in head.weights] == [True, False]
    assert not np.array_equal(head.kernel, model.get_layer("head").kernel)
    np.testing.assert_array_equal(head.bias, model.get_layer("head").bias)


@keras.saving.register_keras_serializable(package="tests")
class HalfFrozen(NormedBlock):
    """A block that begins with a frozen layer."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense.trainable = False


def test_what_is_unfrozen_inside_a_layer_is_trained():
    x = inputs = keras.Input((6,))
    block = HalfFrozen(name="block")
    x = keras.layers.Add(name="add")([x, block(x)])
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    block.dense.trainable = True
    before = np.array(block.dense.kernel)
    result = shorten(own(model), regression_data(), max_rounds=0)
    after = result.model.get_layer("block").dense
    assert after.trainable and not np.array_equal(before, after.kernel)


def test_a_run_does_not_go_on_with_other_flags(tmp_path):
    """The model in the run directory has lost them."""
    settings = {"max_rounds": 0, "run_dir": tmp_path}
    model = blocks()
    model.get_layer("block1").dense.trainable = False
    shorten(own(model), regression_data(), **settings)
    loaded = keras.saving.load_model(tmp_path / "models" / "initial.keras")
    with pytest.raises(ValueError, match="model"):
        shorten(own(loaded), regression_data(), **settings)
    loaded.get_layer("block1").dense.trainable = False
    shorten(own(loaded), regression_data(), **settings)


def test_layers_that_are_attached_to_a_model_are_no_part_of_it():
    model = numbered(True, 0)
    model.extra = keras.layers.Dense(2)
    model.extra.build((None, 4))
    result = shorten(own(model), regression_data(), max_rounds=0)
    assert result.model.trainable_weights[0].regularizer is not None


def test_lora_layers_are_trained():
    """Files contain the merged kernel; Keras loads both factors as 0."""
    model = numbered(False, 0)
    dense = model.layers[1]
    dense.enable_lora(2)
    settings = {"max_rounds": 1, "tolerance": 100, "criterion": _second_first}
    result = shorten(own(model), regression_data(), **settings)
    trained = result.model.get_layer(dense.name)
    assert trained.lora_enabled
    assert not np.array_equal(trained._kernel, dense._kernel)


def test_dropout_without_a_seed_repeats_itself(tmp_path):
    """Keras draws a new seed whenever it loads such a layer."""
    found = []
    for name in "ab":
        settings = {"max_rounds": 1, "tolerance": 100, "criterion": _second_first}
        settings["run_dir"] = tmp_path / name
        shorten(own(blocks(dropout=0.5)), regression_data(), **settings)
        lines = read_lines(tmp_path / name / "history.jsonl")
        found.append([line["loss"] for line in lines])
    assert found[0] == found[1]
