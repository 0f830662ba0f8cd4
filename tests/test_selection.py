"""Targets and the choice of units, without Keras."""

import pytest

from resprune_tf.selection import Target, select_units

FULL = {"layers": 56, "units": 18, "macs": 84_000_000, "parameters": 590_000}
SMALL = {"layers": 11, "units": 3, "macs": 17_000_000, "parameters": 127_000}


def test_smallest_scores_go_first_and_ties_keep_their_order():
    scores = {"a": 0.5, "b": 0.1, "c": 0.5, "d": 0.0}
    assert select_units(scores, 1) == ("d",)
    assert select_units(scores, 4) == ("d", "b", "a", "c")


def test_all_go_when_fewer_are_left():
    assert select_units({"a": 2.0, "b": 1.0}, 3) == ("b", "a")


@pytest.mark.parametrize(("scores", "count"), [({"a": 1.0}, 0), ({}, 1)])
def test_impossible_counts(scores, count):
    message = f"select {count} of {len(scores)} scored units"
    with pytest.raises(ValueError, match=message):
        select_units(scores, count)


@pytest.mark.parametrize(
    ("target", "size", "reached"),
    [
        (Target(layers=32), {**FULL, "layers": 32}, True),
        (Target(layers=32), {**FULL, "layers": 35}, False),
        (Target(units=10), {**FULL, "units": 10}, True),
        (Target(macs=50_000_000), {**FULL, "macs": 48_000_000}, True),
        (Target(parameters=400_000), {**FULL, "parameters": 409_114}, False),
        (Target(layers=32, units=9), {**FULL, "layers": 32, "units": 10}, False),
    ],
)
def test_reached(target, size, reached):
    assert target.resolve(FULL, SMALL).reached(size) is reached


def test_fractions_are_of_the_initial_net():
    target = Target(macs=0.5, parameters=0.8).resolve(FULL, SMALL)
    assert target.limits == {"macs": 42_000_000, "parameters": 472_000}


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({}, "at least one limit of layers, units, macs, parameters"),
        ({"layers": 0}, "positive. Received: layers=0"),
        ({"macs": -0.5}, "macs=-0.5"),
    ],
)
def test_senseless_targets(limits, message):
    with pytest.raises(ValueError, match=message):
        Target(**limits)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"layers": 10}, "10 layers cannot be reached.*leaves 11"),
        ({"macs": 0.1}, "8,400,000 macs cannot be reached.*leaves 17,000,000"),
        ({"layers": 56}, "asks for no removal: the initial net has 56 layers"),
        ({"layers": 80}, "asks for no removal"),
    ],
)
def test_targets_that_no_removal_meets(limits, message):
    with pytest.raises(ValueError, match=message):
        Target(**limits).resolve(FULL, SMALL)
