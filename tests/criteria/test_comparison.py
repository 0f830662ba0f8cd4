"""All criteria side by side: what can be computed, and what is left out."""

import json
import math
import pathlib
import re
from unittest import mock

import keras
import numpy as np
import pytest
from keras import layers

import resprune_tf
from resprune_tf import criteria
from resprune_tf.criteria import sensitivity
from resprune_tf.criteria.comparison import compare_scores
from resprune_tf.nets.importance import ImportanceScale
from resprune_tf.units.finding import find_units
from tests.conftest import images_of, net_of, small_net
from tests.made.foreign_nets import flat, segmenter

pytestmark = pytest.mark.slow

LABELS = np.array([0, 1, 2, 3, 4, 0])


def nowhere(model):
    return dict.fromkeys("abc", math.nan)


@pytest.fixture
def net():
    return flat()


# Those that look at labels and are compared where none are named.
LABELLED = ["taylor", "leave_one_out"]


def test_the_criterion_of_the_documentation_scores_each_unit():
    page = pathlib.Path(__file__).parents[2] / "docs" / "scores.md"
    (example,) = re.findall(
        r"```python\n(def mean_magnitude.*?)```", page.read_text(), re.S
    )
    model = small_net()
    x = images_of(model, 6)
    names = {"rp": resprune_tf, "np": np, "model": model, "x": x, "y": LABELS % 3}
    exec(example, names)
    scores = names["table"].scores["mean_magnitude"]
    units = [unit for unit in find_units(model) if unit.removable]
    assert list(scores) == [unit.name for unit in units]
    values = np.concatenate([np.ravel(weight) for weight in units[0].weights])
    assert scores[units[0].name] == pytest.approx(np.abs(values).mean())


def test_every_criterion_is_there_unless_it_needs_labels():
    net = flat(importance=True)
    x = images_of(net, 6)
    table = compare_scores(net, x)
    omitted = {"largest", "l1_importance"}
    assert {*table.scores, *table.omitted} == {*criteria.NAMES} - omitted
    assert list(table.omitted) == LABELLED
    assert table.scores["importance"] == criteria.importance(net)
    assert table.scores["random"] == criteria.random(0)(net)
    assert table.scores["output_norm"] == sensitivity.output_norm(x)(net)
    unit = find_units(net)[0]
    assert table.units["a"] == {"parameters": unit.parameters, "macs": unit.macs}
    assert (table.model, table.images, list(table.units)) == ("flat", 6, list("abc"))


@pytest.mark.usefixtures("eagerly")
def test_what_cannot_be_computed_is_left_out(net):
    table = compare_scores(net, images_of(net, 1))
    assert list(table.scores) == ["random", "output_norm", "block_influence"]
    assert "no ImportanceScale" in table.omitted["importance"]
    assert "at least 2" in table.omitted["cka"]
    for name in LABELLED:
        assert table.omitted[name] == f"{name} needs labels, and none were given."


@pytest.mark.usefixtures("eagerly")
def test_probabilities_are_not_taken_for_logits():
    net = segmenter()
    table = compare_scores(net, images_of(net, 2), np.zeros((2, 4, 4), "int32"))
    for name in LABELLED:
        assert "ends in 'classes', which outputs probabilities" in table.omitted[name]
    assert table.loss is None


def test_what_is_asked_for_must_be_possible(net):
    x = images_of(net, 6)
    for names, labels, message in (
        (["size"], None, "no criterion 'size'"),
        (["taylor"], None, "taylor needs labels"),
        (["importance"], None, "no ImportanceScale"),
        (["random"], LABELS[:5], "5 labels for 6 images"),
        (
            [lambda model: {"a": 1.0}],
            None,
            "the units a, b, c. Scores are missing for b, c",
        ),
        ([lambda model: {"d": 1.0}], None, "has no unit 'd', which has a score"),
        ([nowhere], None, "score of 'a' must be a finite number. Received: nan"),
        ([nowhere, nowhere], None, "Two criteria have the name 'nowhere'"),
        (["taylor"], LABELS + 1, "from 0 to 4"),
        ([], None, "`criteria` must not be empty"),
    ):
        with pytest.raises(ValueError, match=message):
            compare_scores(net, x, labels, criteria=names)
    with pytest.raises(TypeError, match="a list, such as .'random'.. Received: 'rand"):
        compare_scores(net, x, criteria="random")
    with pytest.raises(ValueError, match="loss identifier"):
        compare_scores(net, x, LABELS, "sizes")
    with pytest.raises(ValueError, match="no removable unit"):
        plain = net_of((4, 4, 3), layers.Conv2D(3, 3))
        compare_scores(plain, images_of(plain))


def test_own_criteria_come_first_and_are_named_if_they_fail(net):
    called = []

    def mine(model):
        called.append("mine")
        return dict.fromkeys((unit.name for unit in find_units(model)), 1.0)

    def failing(model):
        called.append("failing")
        raise KeyError("a")

    table = compare_scores(net, images_of(net), criteria=["random", mine])
    assert list(table.scores) == ["random", "mine"]  # the columns are as asked for
    with (
        mock.patch("resprune_tf.criteria.comparison.make", lambda *_: pytest.fail),
        pytest.raises(KeyError) as error,
    ):
        compare_scores(net, images_of(net), criteria=["random", mine, failing])
    assert error.value.__notes__ == ["The error is that of the criterion 'failing'."]
    assert called == ["mine", "mine", "failing"]


def test_units_that_stay_may_have_a_score():
    net = small_net()
    units = find_units(net)
    assert not all(unit.removable for unit in units)

    def mine(model):
        return {unit.name: 1.0 for unit in units}

    table = compare_scores(net, images_of(net), criteria=[mine])
    assert list(table.scores["mine"]) == [u.name for u in units if u.removable]


class Size:
    """A criterion that is no function, of numbers that are not Python's."""

    def __call__(self, model):
        units = reversed(find_units(model))
        return {unit.name: np.float32(unit.parameters) for unit in units}


@pytest.mark.usefixtures("eagerly")
def test_own_criteria_have_a_column(net):
    table = compare_scores(net, images_of(net), criteria=["random", Size()])
    assert list(table.scores["Size"].items()) == [("a", 342), ("b", 342), ("c", 342)]
    assert "All scores of Size are equal" in str(table)
    assert json.loads(table.to_json())["scores"]["Size"]["a"] == 342


@pytest.mark.usefixtures("eagerly")
def test_the_loss_is_the_one_that_the_model_is_compiled_with(net):
    x, y = images_of(net, 6), np.eye(5, dtype="float32")[LABELS]
    names = ["taylor", "leave_one_out"]
    assert compare_scores(net, x, y, criteria=names).loss == "cross entropy of logits"
    expected = compare_scores(net, x, y, "mse", names)
    net.compile(loss="mse")
    found = compare_scores(net, x, y, criteria=names)
    assert found == expected and found.loss == "mse"
    net.compile(loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    assert compare_scores(net, x, y, criteria=names).loss == "cross entropy of logits"
    assert compare_scores(net, x, y, criteria=["random"]).loss is None


@pytest.mark.usefixtures("eagerly")
def test_one_that_fails_does_not_take_the_others_with_it(net):
    x = 1e6 * images_of(net, 6)
    with pytest.raises(ValueError, match="l1_importance diverged") as failed:
        compare_scores(net, x, LABELS, criteria=["random", "l1_importance"])
    advice = "`criteria.l1_importance(images, labels, learning_rate=0.01)`"
    assert advice in str(failed.value)
    compared = mock.patch("resprune_tf.criteria.comparison.COMPARED", criteria.NAMES)
    with compared:
        table = compare_scores(net, x, LABELS)
    assert advice in table.omitted["l1_importance"]
    assert {"taylor", "cka", "output_norm"} <= table.scores.keys()


@pytest.mark.usefixtures("eagerly")
def test_images_that_do_not_fit_are_no_reason_to_leave_everything_out(net):
    with pytest.raises(ValueError, match="incompatible"):
        compare_scores(net, np.zeros((6, 5, 5, 3)), LABELS)


@pytest.mark.usefixtures("eagerly")
def test_units_that_have_no_score_are_told():
    """Some have an ω and others not; one is no identity."""
    image = keras.Input((6,))
    x = layers.Add(name="plain_add")([image, layers.Dense(6)(image)])
    for name in ("first", "second"):
        branch = ImportanceScale(name=f"{name}_importance")(layers.Dense(6)(x))
        x = layers.Add(name=f"{name}_add")([x, branch])
    x = layers.Add(name="exit_add")([layers.Dense(3)(x), layers.Dense(3)(x)])
    rows = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
    table = compare_scores(keras.Model(image, x), rows, criteria=["output_norm"])
    assert list(table.units) == ["first", "second"]
    assert table.unscored == {
        "plain": "no ω, which others have",
        "exit": "not removable",
    }


@pytest.mark.usefixtures("eagerly")
def test_recalibration_is_that_of_each_criterion(net):
    x = images_of(net, 6)
    table = compare_scores(
        net, x, LABELS, None, ["output_norm", "leave_one_out"], 3, recalibrate=True
    )
    for name, scores in table.scores.items():
        given = [x, LABELS] if name in criteria.LABELLED else [x]
        alone = getattr(criteria, name)(*given, 3, recalibrate=True)
        assert scores == pytest.approx(alone(net), rel=1e-4, abs=1e-6)


def test_units_of_a_merge_that_is_called_twice():
    """They are named `sum` and `sum#1`."""
    add, x = layers.Add(name="sum"), keras.Input((6,))
    y = add([x, layers.Dense(6)(x)])
    y = add([y, layers.Dense(6)(y)])
    model = keras.Model(x, layers.Dense(3)(y))
    rows = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
    table = compare_scores(model, rows, np.arange(8) % 3)
    assert set(table.omitted) == {"importance"}
    assert all(list(scores) == ["sum", "sum#1"] for scores in table.scores.values())
