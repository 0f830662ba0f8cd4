"""Models and criteria are told apart, and recognized when they are made again."""

import functools

import keras
import numpy as np
import pytest

from resprune_tf import FitData, criteria
from resprune_tf.pruning.identity import criterion_settings, model_identity
from resprune_tf.runs.records import same_settings
from resprune_tf.system.checksum import weights_agree


def net(seed=0, activation="relu"):
    """A model whose layers Keras names."""
    keras.utils.set_random_seed(seed)
    x = image = keras.Input((4,))
    branch = keras.layers.Dense(4, activation=activation)(x)
    x = keras.layers.Dropout(0.1)(keras.layers.Add()([x, branch]))
    # This layer is first named as an activation, and then `softmax_1`.
    return keras.Model(image, keras.layers.Softmax()(keras.layers.Dense(2)(x)))


def same_model(model, known):
    return same_settings({"model": model_identity(model)}, {"model": known})


def test_a_model_made_again_from_its_seed_is_the_same(tmp_path):
    first, again = net(), net()
    assert first.layers[1].name != again.layers[1].name
    assert same_model(again, model_identity(first))
    first.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    assert same_model(loaded, model_identity(first))


@pytest.mark.parametrize("other", [{"seed": 1}, {"activation": "gelu"}])
def test_another_model_is_not(other):
    assert not same_model(net(**other), model_identity(net()))


def test_one_weight_is_seen_and_rounding_is_not():
    model = net()
    known = model_identity(model)
    kernel = model.layers[1].kernel
    value = keras.ops.convert_to_numpy(kernel)
    kernel.assign(np.nextafter(value, 2, dtype="float32"))
    assert same_model(model, known)
    value = value.copy()
    value[3, 1] += 1e-3
    kernel.assign(value)
    assert not same_model(model, known)


def test_swapped_weights_are_other_weights():
    assert not weights_agree([1.0, 0.5, 0.5, 0.1], [1.0, 0.5, 0.5, -0.1])


def scaled(factor):
    def scores(model):
        return {"unit": factor}

    return scores


class Scorer:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, model):
        return {"unit": self.factor}

    def scores(self, model):
        return {"unit": self.factor}


def weighted(model, factor):
    return {"unit": factor}


@pytest.mark.parametrize(
    "make",
    [
        scaled,
        Scorer,
        lambda factor: Scorer(factor).scores,
        lambda factor: functools.partial(weighted, factor=factor),
        lambda factor: lambda model: {"unit": factor},
        lambda factor: lambda model, factor=factor: {"unit": factor},
        lambda factor: criteria.output_norm(np.full((2, 4), factor)),
    ],
)
def test_criteria_without_a_name_are_told_apart_by_what_they_use(make):
    assert criterion_settings(make(1.0)) == criterion_settings(make(1.0))
    assert criterion_settings(make(1.0)) != criterion_settings(make(2.0))
    assert "0x" not in str(criterion_settings(make(1.0)))


def test_code_tells_lambdas_apart():
    one, two = (lambda model: {"unit": 1.0}), (lambda model: {"unit": 2.0})
    assert criterion_settings(one) != criterion_settings(two)


def test_a_name_of_its_own_is_enough():
    named = scaled(1.0)
    named.__name__ = "constant"
    assert criterion_settings(named) == {"criterion": "constant"}
    assert criterion_settings(criteria.importance) == {"criterion": "importance"}
    assert criterion_settings(criteria.random(3)) == {"criterion": "random(seed 3)"}


def test_using_a_criterion_changes_nothing():
    images = np.zeros((2, 4), "float32")
    criterion = criteria.output_norm(images, batch_size=2)
    before = criterion_settings(criterion)
    criterion(net())
    assert criterion_settings(criterion) == before


def test_images_of_a_pipeline_are_not_compared():
    """One that shuffles begins with others every time; the data are identified."""
    tf = pytest.importorskip("tensorflow")
    arrays = np.arange(256, dtype="float32").reshape(64, 4), np.zeros(64)

    def settings(train):
        data = FitData(train, arrays)
        return criterion_settings(criteria.named("block_influence", data, examples=8))

    pairs = tf.data.Dataset.from_tensor_slices(arrays)
    name = {"criterion": "block_influence(8 images, seed 0)"}
    assert settings(pairs.shuffle(64).batch(8)) == name
    assert "criterion_code" in settings(arrays)
