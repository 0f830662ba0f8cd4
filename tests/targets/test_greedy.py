"""Greedy search: scores are taken again after each removal."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from resprune_tf import Target, criteria, find_units, greedy_search, remove_units
from resprune_tf.targets.measures import measure
from resprune_tf.training.recalibration import recalibrate
from tests.conftest import outputs


def standing_in():
    """Units `twin1` and `twin2` each do all; `third` does a little of its own.

    The output is `(min(twin1 + twin2, 1), third)`, whatever the input.
    """
    x = image = keras.Input((2,))
    for name, bias in (("twin1", [1, 0]), ("twin2", [1, 0]), ("third", [0, 0.1])):
        branch = layers.Dense(2, kernel_initializer="zeros", name=f"{name}_dense")
        y = branch(x)
        branch.set_weights([np.zeros((2, 2)), np.array(bias)])
        x = layers.Add(name=f"{name}_add")([x, y])
    return keras.Model(image, layers.ReLU(1.0)(x), name="mine")


@pytest.fixture
def examples():
    return np.zeros((4, 2), "float32"), np.tile([1.0, 0.1], (4, 1))


def test_units_that_stand_in_for_each_other(examples):
    model = standing_in()
    criterion = criteria.leave_one_out(*examples, loss="mse")
    single = criterion(model)
    assert sorted(single, key=single.get)[:2] == ["twin1", "twin2"]  # loses half of all
    seen = []
    found = greedy_search(model, criterion, count=2, on_step=seen.append)
    assert found.units == ("twin1", "third") and tuple(seen) == found.steps
    assert [list(step.scores) for step in found.steps] == [
        ["twin1", "twin2", "third"],
        ["twin2", "third"],
    ]
    assert found.scores == pytest.approx({"twin1": 0, "third": 0.005})
    images = examples[0]
    expected = remove_units(model, found.units)
    np.testing.assert_array_equal(
        outputs(found.model, images), outputs(expected, images)
    )
    assert found.measures == measure(expected) and found.initial == measure(model)
    assert json.loads(json.dumps(found.to_dict()))["units"] == ["twin1", "third"]
    assert "'mine' without 2 units, removed one by one." in str(found)
    assert len(find_units(model)) == 3  # only read


def test_two_units_for_each_scoring_are_those_of_single_scores(examples):
    criterion = criteria.leave_one_out(*examples, loss="mse")
    found = greedy_search(standing_in(), criterion, count=2, units_per_scoring=2)
    assert found.units == ("twin1", "twin2")
    assert found.steps[0].scores == found.steps[1].scores


def widths(*sizes):
    """Units of two dense layers `unit0`, `unit1`, ...: of so many values between."""
    x = image = keras.Input((4,))
    for index, size in enumerate(sizes):
        y = layers.Dense(4)(layers.Dense(size, "relu")(x))
        x = layers.Add(name=f"unit{index}_add")([x, y])
    return keras.Model(image, layers.Dense(2)(x), name="mine")


def fixed(**scores):
    """A criterion of scores that do not change."""
    return lambda model: {
        unit.name: scores[unit.name]
        for unit in find_units(model)
        if unit.name in scores
    }


def test_a_target_is_met_in_all_of_its_measures():
    model = widths(2, 2, 2)
    found = greedy_search(
        model,
        fixed(unit0=2, unit1=1, unit2=3),
        target=Target(layers=5, parameters=0.5),
    )
    assert found.units == ("unit1", "unit0") and found.restored == ()
    assert found.target.reached(found.measures)
    assert not found.target.reached(found.steps[0].measures)
    assert f"meets {found.target}" in str(found)


def test_what_the_target_does_not_need_is_put_back():
    model = widths(2, 40, 2)
    search = dict(target=Target(parameters=0.3))
    found = greedy_search(model, fixed(unit0=1, unit1=3, unit2=2), **search)
    assert found.units == ("unit1",) and found.restored == ("unit0", "unit2")
    assert [step.unit for step in found.steps] == ["unit0", "unit2", "unit1"]
    assert found.measures == measure(remove_units(model, "unit1"))
    assert [unit.name for unit in find_units(found.model)] == ["unit0", "unit2"]
    # The model is better without a unit of negative score.
    found = greedy_search(model, fixed(unit0=-1, unit1=3, unit2=2), **search)
    assert found.units == ("unit0", "unit1") and found.restored == ("unit2",)


def test_protected_units_and_those_without_a_score_stay():
    scores = fixed(unit0=1, unit1=2, unit2=3)
    found = greedy_search(widths(2, 2, 2), scores, count=1, protected=["unit0"])
    assert found.units == ("unit1",)
    with pytest.raises(
        ValueError, match="removal of 1 unit .* scores none of the others"
    ):
        greedy_search(widths(2, 2, 2), fixed(unit1=1), count=2)


def test_statistics_are_estimated_again_before_each_scoring():
    x = image = keras.Input((4,))
    for name in ("one", "two", "three"):
        y = layers.BatchNormalization()(layers.Dense(4)(x))
        x = layers.Add(name=f"{name}_add")([x, y])
    model = keras.Model(image, x)
    images = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
    seen = []

    def criterion(model):
        seen.append(outputs(model, images))
        return {unit.name: len(unit.name) for unit in find_units(model)}

    found = greedy_search(model, criterion, count=2, images=images, batch_size=32)
    first = recalibrate(remove_units(model, "one"), images)
    second = recalibrate(remove_units(first, "two"), images)
    for result, expected in zip(
        [*seen, outputs(found.model, images)], (model, first, second), strict=True
    ):
        np.testing.assert_array_equal(result, outputs(expected, images))


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({}, ValueError, "either `count`"),
        ({"count": 1, "target": Target(units=1)}, ValueError, "either `count`"),
        ({"count": 0}, ValueError, "`count` must be an integer >= 1"),
        ({"count": 4}, ValueError, "from 1 to 3, the units of 'mine'"),
        ({"count": 1, "units_per_scoring": 0}, ValueError, "`units_per_scoring`"),
        (
            {"count": 1, "protected": ["x"]},
            ValueError,
            "`protected` names units.*not have: x",
        ),
        (
            {"count": 1, "protected": ["*"]},
            ValueError,
            "No unit of 'mine' can be removed",
        ),
        ({"target": Target(layers=9)}, ValueError, "requires no removal"),
        (
            {"target": Target(units=1), "protected": ["unit1", "unit2"]},
            ValueError,
            "cannot be reached.*unit1 .it is protected",
        ),
        ({"count": 1, "criterion": {"unit0": 1}}, TypeError, "function from a model"),
        ({"target": {"units": 1}}, TypeError, "must be a Target.* Received: {'units'"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_scored(
    options, error, message
):
    def criterion(model):
        raise AssertionError("scored")

    with pytest.raises(error, match=message):
        greedy_search(widths(2, 2, 2), **{"criterion": criterion, **options})
