"""All criteria side by side: what can be computed, and what is left out."""

import keras
import numpy as np
import pytest
from keras import layers

from resprune_tf import criteria, sensitivity
from resprune_tf.comparison import compare_scores
from resprune_tf.units import find_units
from tests.conftest import images_of, net_of
from tests.foreign_nets import flat, segmenter

LABELS = np.array([0, 1, 2, 3, 4, 0])


@pytest.fixture
def net():
    return flat()


def test_every_criterion_is_there_unless_it_needs_labels():
    net = flat(importance=True)
    x = images_of(net, 6)
    table = compare_scores(net, x)
    assert {*table.scores, *table.left_out} == {*criteria.NAMES} - {"largest"}
    assert list(table.left_out) == list(criteria.LABELLED)
    assert table.scores["importance"] == criteria.importance(net)
    assert table.scores["random"] == criteria.random(0)(net)
    assert table.scores["output_norm"] == sensitivity.output_norm(x)(net)
    unit = find_units(net)[0]
    assert table.units["a"] == {"parameters": unit.parameters, "macs": unit.macs}
    assert (table.model, table.images, list(table.units)) == ("flat", 6, list("abc"))


def test_what_cannot_be_computed_is_left_out(net):
    table = compare_scores(net, images_of(net, 1))
    assert list(table.scores) == ["random", "output_norm", "block_influence"]
    assert "no ImportanceScale" in table.left_out["importance"]
    assert "at least 2" in table.left_out["cka"]
    assert {table.left_out[name] for name in criteria.LABELLED} == {"It needs labels."}


def test_probabilities_are_not_taken_for_logits():
    net = segmenter()
    table = compare_scores(net, images_of(net, 2), np.zeros((2, 4, 4), "int32"))
    assert all("ends in a softmax" in table.left_out[n] for n in criteria.LABELLED)


def test_what_is_asked_for_must_be_possible(net):
    x = images_of(net, 6)
    for names, labels, message in (
        (["size"], None, "no criterion 'size'"),
        (["taylor"], None, "needs labels"),
        (["importance"], None, "no ImportanceScale"),
        (["random"], LABELS[:5], "5 labels for 6 images"),
        ([lambda model: {"a": 1.0}], None, "must score the units a, b, c"),
        ([], None, "No criterion"),
    ):
        with pytest.raises(ValueError, match=message):
            compare_scores(net, x, labels, criteria=names)
    with pytest.raises(ValueError, match="loss identifier"):
        compare_scores(net, x, LABELS, "sizes")
    with pytest.raises(ValueError, match="no removable unit"):
        plain = net_of((4, 4, 3), layers.Conv2D(3, 3))
        compare_scores(plain, images_of(plain))


def test_own_criteria_have_a_column(net):
    def size(model):
        return {unit.name: unit.parameters for unit in find_units(model)}

    table = compare_scores(net, images_of(net), criteria=["random", size])
    assert table.scores["size"] == {"a": 342, "b": 342, "c": 342}


def test_recalibration_is_that_of_each_criterion(net):
    x = images_of(net, 6)
    table = compare_scores(
        net, x, LABELS, None, ["output_norm", "leave_one_out"], 3, recalibrate=True
    )
    for name, scores in table.scores.items():
        given = [x, LABELS] if name in criteria.LABELLED else [x]
        alone = criteria.ON_IMAGES[name](*given, 3, recalibrate=True)
        assert scores == pytest.approx(alone(net), rel=1e-4, abs=1e-6)


def test_units_of_a_merge_that_is_called_twice():
    """They are named `sum` and `sum#1`."""
    add, x = layers.Add(name="sum"), keras.Input((6,))
    y = add([x, layers.Dense(6)(x)])
    y = add([y, layers.Dense(6)(y)])
    model = keras.Model(x, layers.Dense(3)(y))
    rows = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
    table = compare_scores(model, rows, np.arange(8) % 3)
    assert set(table.left_out) == {"importance"}
    assert all(list(scores) == ["sum", "sum#1"] for scores in table.scores.values())
