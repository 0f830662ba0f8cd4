"""Targets are met by the cheapest set there is, or it is said what can be."""

import itertools
import json

import keras
import pytest
from keras import layers

import resprune_tf.targets.solving as targets
from resprune_tf import Target, find_units, remove_units
from resprune_tf.targets.measures import measure
from resprune_tf.targets.solving import achievable, solve_target
from tests.made.latency import fake_latencies

SCORES = {"first": 3.0, "second": 1.0, "third": 2.5}


def net():
    """Three units that may go, of 2, 1 and 3 dense layers, between two that stay."""
    image = keras.Input((4,))
    x = _projection(image, 6, "entrance")
    for name, widths in (("first", (9, 6)), ("second", (6,)), ("third", (2, 3, 6))):
        y = x
        for width in widths:
            y = layers.Dense(width)(y)
        x = layers.Add(name=f"{name}_add")([x, y])
    return keras.Model(image, _projection(x, 5, "exit"), name="mine")


def _projection(x, size, name):
    branch = layers.Dense(size, "relu")(layers.Dense(size)(x))
    shortcut = layers.Dense(size, name=f"{name}_projection")(x)
    return layers.Add(name=f"{name}_add")([shortcut, branch])


def _units(model):
    return len(find_units(model))


@pytest.fixture(scope="module")
def sizes_of_all():
    """Measures of a small net without each set of its units."""
    whole = net()
    subsets = [
        chosen for count in range(4) for chosen in itertools.combinations(SCORES, count)
    ]
    return {c: measure(remove_units(whole, c) if c else whole) for c in subsets}


@pytest.mark.parametrize(
    "limits",
    [
        {"macs": 0.8},
        {"parameters": 0.7},
        {"layers": 7},
        {"units": 4},
        {"layers": 8, "parameters": 0.6},
    ],
)
def test_no_set_of_a_smaller_score_meets_the_target(sizes_of_all, limits):
    solution = solve_target(net(), Target(**limits), SCORES)
    fits = [c for c, size in sizes_of_all.items() if solution.target.reached(size)]
    assert solution.score == min(sum(SCORES[name] for name in c) for c in fits)
    assert set(solution.units) in map(set, fits)
    assert solution.measures == sizes_of_all[tuple(sorted(solution.units))]
    assert solution.smallest == sizes_of_all[tuple(SCORES)]
    assert solution.attempts == 1


def test_a_miss_is_measured_and_made_up_for(monkeypatch):
    """What single units save promises too much of two."""
    fake_latencies(
        monkeypatch, lambda model: {5: 10, 4: 8, 3: 7.9, 2: 4}[_units(model)]
    )
    target = Target(latency_ms=7, runtime="litert")
    solution = solve_target(net(), target, SCORES)
    assert solution.attempts == 2 and len(solution.units) == 3
    assert solution.measures["latency_ms"] == pytest.approx(4)
    assert list(solution.timed) == list(SCORES)
    assert "measured directly and meets the target (attempt 2)" in str(solution)


def test_it_is_given_up_with_what_was_tried(monkeypatch):
    """Timed anew, the net is never as fast as it once was."""
    monkeypatch.setattr(targets, "_ATTEMPTS", 2)
    times = iter([4, 8, 8, 8])  # without all, and without one of each kind

    def milliseconds(model):
        return 10 if _units(model) == 5 else next(times, 9)

    fake_latencies(monkeypatch, milliseconds)
    target = Target(latency_ms=5, runtime="litert")
    with pytest.raises(
        ValueError, match="No set of units meets .* when measured"
    ) as error:
        solve_target(net(), target, SCORES)
    assert "leaves 4 ms on litert at batch size 1" in str(error.value)
    assert str(error.value).count("9 ms") == 2


def nested_net():
    """`outer` holds `inner`; `last` follows; all on vectors of 4."""
    image = keras.Input((4,))
    inner = layers.Add(name="inner_add")([image, layers.Dense(4)(image)])
    outer = layers.Add(name="outer_add")([image, layers.Dense(4)(inner)])
    last = layers.Add(name="last_add")([outer, layers.Dense(4)(outer)])
    return keras.Model(image, last, name="nested")


def test_what_lies_in_another_unit_goes_with_it():
    net, scores = nested_net(), {"inner": 0.1, "outer": 1.0, "last": 2.0}
    assert solve_target(net, Target(macs=32), scores).units == ("inner",)
    assert solve_target(net, Target(macs=16), scores).units == ("outer",)
    solution = solve_target(net, Target(units=1), scores)
    assert solution.units == ("outer",) and solution.score == 1.0
    kept = solve_target(net, Target(units=2), scores, protected=["inner"])
    assert kept.units == ("last",)


def test_what_cannot_be_met_says_what_can_and_what_is_in_the_way():
    with pytest.raises(ValueError, match="cannot be reached: .* leaves 8 lay") as e:
        target = Target(layers=7, macs=0.95)
        solve_target(
            net(),
            target,
            {"first": 1.0, "second": 2.0},
            protected=["second"],
        )
    told = str(e.value)
    assert "second (it is protected)" in told
    assert "third (it has no score)" in told
    assert "entrance (its shortcut passes through" in told
    with pytest.raises(ValueError, match="requires no removal.* has 10 layers"):
        solve_target(net(), Target(layers=10), SCORES)
    with pytest.raises(TypeError, match="pass `criterion.model."):
        solve_target(net(), Target(layers=5), lambda model: {})
    with pytest.raises(TypeError, match="must be a Target, such as .* Received: None"):
        solve_target(net(), None, SCORES)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"fourth": 1.0}, "no unit 'fourth', which has a score"),
        ({"first": float("nan")}, "score of 'first' must be a finite number"),
        ({"exit": 1.0}, "No unit of .* can be removed.\n  entrance: its shortcut"),
    ],
)
def test_wrong_scores(scores, message):
    for solve in (solve_target, achievable):
        with pytest.raises(ValueError, match=message):
            solve(net(), Target(layers=7), scores=scores)


def test_a_solution_is_a_table_and_a_record():
    solution = solve_target(net(), Target(layers=6, macs=0.9), SCORES)
    lines = [line.split() for line in str(solution).splitlines()]
    assert lines[1][:2] == ["unit", "score"]
    assert [line[0] for line in lines[2:5]] == [*solution.units, "together"]
    assert lines[4][1:3] == ["3.5", "4"]
    assert ["layers", "10", "6", "6", "4"] in lines
    assert ["units", "5", "3", "-", "2"] in lines
    record = solution.to_dict()
    assert json.loads(json.dumps(record)) == record
    assert record["equal_scores"] is False and "equal" not in str(solution)
    assert record["target"] == solution.target.limits
    assert record["units"] == ["second", "third"]


def test_scores_that_are_equal_rank_nothing():
    solution = solve_target(net(), Target(layers=6), dict.fromkeys(SCORES, 1))
    note = "All scores are equal, so they do not rank the units."
    assert note in str(solution).splitlines()
    alone = solve_target(net(), Target(layers=9), {"first": 1.0})
    assert not alone.equal_scores


def test_what_is_achievable(monkeypatch):
    fake_latencies(monkeypatch, _units)
    target = Target(latency_ms=0.001, runtime="onnxruntime")
    found = achievable(net(), target, protected=["first"])
    assert found.units == ("second", "third")
    assert found.not_removable["first"] == "it is protected"
    lines = [line.split() for line in str(found).splitlines()]
    assert ["layers", "10", "6"] in lines
    assert ["latency_ms", "5", "3"] in lines
    assert "2 of 5 residual units can be removed" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["initial"]["units"] == 5
    assert "latency_ms" not in achievable(net()).initial
    assert achievable(net(), scores={"first": 1.0}).units == ("first",)
