"""Norms of what units add: exact, and measured for a run on its own held-out images."""

import functools
import json
import shutil

import keras
import numpy as np
import pytest
from keras import ops

from experiments import unit_norms
from experiments.pages.library import RunRecords
from resprune_tf import ImportanceScale, Removal, RunOptions, prune_and_retrain
from resprune_tf.criteria.sensitivity import UnitNorms
from resprune_tf.criteria.sensitivity import unit_norms as norms_of
from resprune_tf.data.loading import load_dataset
from resprune_tf.training.recipe import Recipe
from resprune_tf.units.finding import scored_units
from tests.conftest import images_of, net_of
from tests.made.foreign_nets import flat

pytestmark = pytest.mark.slow

FLAGS = "--dataset=digits\n--train_examples=64\n--validation_examples=40\n"


def mean_norm(tensor, model, images):
    """Mean Euclidean norm of a tensor of a model, in float64."""
    values = keras.Model(model.input, tensor)(images, training=False)
    flat = ops.convert_to_numpy(values).astype("float64").reshape(len(images), -1)
    return np.linalg.norm(flat, axis=1).mean()


def test_norms_of_a_net():
    net = flat(importance=True)
    x = images_of(net, 7)
    norms = norms_of(net, x, batch_size=3)
    units = scored_units(net)
    assert list(norms) == [unit.name for unit in units]
    for unit in units:
        found = norms[unit.name]
        scale = net.get_layer(unit.importance)
        assert found.importance == float(scale.importance)
        for value, tensor in (
            (found.scaled, scale.output),
            (found.branch, scale.input),
            (found.shortcut, unit.shortcut),
        ):
            assert value == pytest.approx(mean_norm(tensor, net, x), rel=1e-5)
        assert found.scaled == pytest.approx(abs(found.importance) * found.branch)


def test_a_silent_unit_still_has_a_branch():
    net = flat(importance=True)
    x = images_of(net, 4)
    before = norms_of(net, x)["b"]
    net.get_layer("b_importance").importance.assign(0.0)
    after = norms_of(net, x)["b"]
    assert (after.importance, after.scaled, after.ratio) == (0.0, 0.0, 0.0)
    assert after.branch == pytest.approx(before.branch)


def test_a_unit_without_importance():
    double = keras.layers.Dense(3, use_bias=False)
    net = net_of((2, 2, 3), lambda x: keras.layers.Add(name="unit")([x, double(x)]))
    double.kernel.assign(2 * np.eye(3))
    x = np.ones((5, 2, 2, 3), "float32")
    (found,) = norms_of(net, x).values()
    root = 12**0.5
    expected = UnitNorms(None, 2 * root, 2 * root, root, 2.0)
    assert vars(found) == pytest.approx(vars(expected))


def test_bad_input():
    net = flat()
    with pytest.raises(ValueError, match="images"):
        norms_of(net, images_of(net, 0))
    with pytest.raises(TypeError, match="functional"):
        norms_of(keras.Sequential([keras.layers.Dense(2)]), images_of(net))
    assert norms_of(net_of((3,), keras.layers.Dense(2)), np.ones((2, 3))) == {}


def scaled_unit(name, layer, x):
    branch = ImportanceScale(name=f"{name}_importance")(layer(x))
    return keras.layers.Add(name=name)([x, branch])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of a small run on the digits."""
    folder = tmp_path_factory.mktemp("run")
    digits = {"train_examples": 64, "validation_examples": 40, "seed": 3}
    dataset = load_dataset("digits", **digits)
    dense = functools.partial(keras.layers.Dense, 10)
    net = net_of(
        dataset.image_shape,
        keras.layers.Flatten(),
        dense(),
        *(functools.partial(scaled_unit, name, dense()) for name in "ab"),
    )
    prune_and_retrain(
        net,
        dataset,
        Recipe(epochs=1, batch_size=32),
        removal=Removal(max_rounds=0),
        run=RunOptions(folder, flags=f"{FLAGS}--seed=3\n", verbose=False),
    )
    return folder


def test_the_norms_of_a_run_are_of_its_own_net_and_images(run):
    path = unit_norms.measure(run)
    record = json.loads(path.read_text())
    assert {key: record[key] for key in ("round", "split", "images")} == {
        "round": 0,
        "split": "validation",
        "images": 40,
    }
    importances = RunRecords.read(run).importances
    found = {unit: norms["importance"] for unit, norms in record["units"].items()}
    assert found == pytest.approx(importances)
    assert all(norms["scaled"] > 0 for norms in record["units"].values())


def test_other_data_or_no_model_are_refused(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "flags.txt").write_text(f"{FLAGS}--seed=4\n")
    with pytest.raises(ValueError, match="not the data of the run"):
        unit_norms.measure(folder)
    shutil.rmtree(folder / "models")
    with pytest.raises(ValueError, match="has no initial model"):
        unit_norms.measure(folder)
    with pytest.raises(SystemExit, match="error: .*contains no records of a run"):
        unit_norms.main([str(tmp_path / "nowhere")])
