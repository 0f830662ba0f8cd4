"""Nested and shared models: units inside are scored as those of a flat net are."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from resprune_tf.criteria import sensitivity
from resprune_tf.criteria.comparison import compare_scores
from resprune_tf.units.finding import find_units
from resprune_tf.units.removal import remove_units
from tests.conftest import images_of, outputs, randomise
from tests.made.foreign_nets import flat, nested, segmenter, shared, squared, two_inputs

pytestmark = pytest.mark.slow

PAIRS = {"a": "backbone/stage/a", "b": "backbone/stage/b", "c": "a"}


@pytest.fixture(scope="module")
def labels():
    return np.random.default_rng(3).integers(0, 5, 10)


def flattened(net):
    """The same net without nesting, whose weights come in the same order."""
    twin = flat()
    stage = net.get_layer("backbone").get_layer("stage")
    sources = {
        "stem": net.get_layer("backbone").get_layer("stem"),
        "c_bn": net.get_layer("a_bn"),
        "c_conv": net.get_layer("a_conv"),
        "logits": net.get_layer("logits"),
        **{
            f"{u}_{part}": stage.get_layer(f"{u}_{part}")
            for u in "ab"
            for part in ("bn", "conv")
        },
    }
    for name, layer in sources.items():
        for new, old in zip(twin.get_layer(name).weights, layer.weights, strict=True):
            new.assign(ops.convert_to_numpy(old))
    return twin


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("recalibrate", [False, True])
def test_nested_units_score_as_flat_ones(labels, recalibrate):
    net = nested(trainable=False)
    twin = flattened(net)
    x = images_of(net, 10)
    np.testing.assert_allclose(outputs(net, x), outputs(twin, x), rtol=1e-5)
    names = ["output_norm", "leave_one_out"]
    if not recalibrate:
        names += ["block_influence", "cka", "taylor"]
    options = {"criteria": names, "recalibrate": recalibrate}
    found = compare_scores(net, x, labels, **options).scores
    expected = compare_scores(twin, x, labels, **options).scores
    for name, scores in expected.items():
        assert list(found[name]) == list(PAIRS.values())
        renamed = {PAIRS[unit]: score for unit, score in scores.items()}
        assert found[name] == pytest.approx(renamed, rel=2e-3, abs=1e-5), name


@pytest.mark.usefixtures("eagerly")
def test_a_unit_of_a_shared_model_is_removed_from_every_call(labels):
    net = shared()
    x = images_of(net, 10)
    rows = np.eye(5, dtype="float32")[labels]
    names = ["output_norm", "cka", "leave_one_out"]
    table = compare_scores(net, x, rows, "mse", names, batch_size=5)
    losses = [
        np.mean((rows - outputs(model, x)) ** 2)
        for model in (remove_units(net, "stage/a"), net)
    ]
    scores = {name: score["stage/a"] for name, score in table.scores.items()}
    assert scores["leave_one_out"] == pytest.approx(losses[0] - losses[1], rel=1e-4)
    assert 0 < scores["cka"] < 1


@pytest.mark.usefixtures("eagerly")
def test_a_shared_unit_has_the_mean_norms_of_its_calls():
    net = shared()
    x = images_of(net, 10)
    stage = net.get_layer("stage")
    first = outputs(net.get_layer("stem"), x)
    calls = [first, np.maximum(outputs(stage, first), 0)]
    norms = [
        [np.linalg.norm(v.reshape(10, -1), axis=1) for v in (outputs(stage, x) - x, x)]
        for x in calls
    ]
    found = sensitivity.unit_norms(net, x, batch_size=5)["stage/a"]
    for place, value in enumerate((found.scaled, found.shortcut)):
        expected = np.mean([call[place] for call in norms])
        assert value == pytest.approx(expected, rel=1e-4)
    assert found.branch == found.scaled and found.importance is None


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("loss", ["mse", squared])
def test_regression_on_several_inputs(loss):
    net = two_inputs()
    rng = np.random.default_rng(0)
    x = {"image": rng.normal(size=(9, 4, 4, 3)), "tokens": rng.integers(0, 50, (9, 7))}
    y = rng.normal(size=9)
    scores = sensitivity.leave_one_out(x, y, 3, loss=loss)(net)

    def error(model):
        given = {name: ops.convert_to_tensor(value) for name, value in x.items()}
        return np.mean((outputs(model, given)[:, 0] - y) ** 2)

    for name, score in scores.items():
        expected = error(remove_units(net, name)) - error(net)
        assert score == pytest.approx(expected, abs=1e-5)
    squares = sensitivity.taylor(x, y, 3, loss=loss)(net)
    assert squares["second"] == pytest.approx(second_slope(net, x, y), rel=1e-3)


def second_slope(net, x, y):
    """Mean square derivative of an example's error by a gate on the last unit."""
    given = {name: ops.convert_to_tensor(value) for name, value in x.items()}
    value = outputs(net, given)[:, 0]
    branch = value - outputs(remove_units(net, "second"), given)[:, 0]
    return np.mean((2 * (value - y) * branch) ** 2)


@pytest.mark.usefixtures("eagerly")
def test_segmentation():
    net = segmenter()
    x = images_of(net, 6)
    y = np.random.default_rng(0).integers(0, 4, (6, 4, 4))
    loss = "sparse_categorical_crossentropy"
    scores = sensitivity.leave_one_out(x, y, 3, loss=loss)(net)

    def error(model):
        chosen = np.take_along_axis(outputs(model, x), y[..., None], -1)
        return -np.log(chosen.astype("float64")).mean()

    assert [unit.name for unit in find_units(net)] == list(scores)
    for name, score in scores.items():
        expected = error(remove_units(net, name)) - error(net)
        assert score == pytest.approx(expected, abs=1e-5)


@pytest.mark.usefixtures("eagerly")
def test_a_subtraction_is_scored_by_what_it_takes_away():
    image = keras.Input((4, 4, 3))
    branch = layers.Conv2D(3, 1, use_bias=False, name="conv")(image)
    net = keras.Model(image, layers.Subtract(name="unit")([image, branch]))
    net.get_layer("conv").kernel.assign(0.5 * np.eye(3)[None, None])
    x = images_of(net, 4)
    norms = sensitivity.unit_norms(net, x)["unit"]
    assert (norms.ratio, norms.scaled) == pytest.approx((0.5, norms.shortcut / 2))


def test_a_sequential_model_is_scored_as_its_graph(labels):
    backbone = nested().get_layer("backbone")
    head = [layers.GlobalAveragePooling2D(), layers.Dense(5)]
    net = keras.Sequential([keras.Input((4, 4, 3)), backbone, *head])
    randomise(net)
    image = keras.Input((4, 4, 3))
    twin = keras.Model(image, head[1](head[0](backbone(image))))
    x = images_of(net, 10)
    names = ["block_influence", "taylor"]
    found, expected = (
        compare_scores(each, x, labels, criteria=names, batch_size=5).scores
        for each in (net, twin)
    )
    assert list(found["taylor"]) == ["backbone/stage/a", "backbone/stage/b"]
    for name in names:
        assert found[name] == pytest.approx(expected[name], rel=1e-5)
