"""Targets are met by the cheapest set there is, or it is said what can be."""

import itertools
import json

import keras
import pytest
from keras import layers

import resprune_tf.targets as targets
from resprune_tf import Target, find_units, remove_units
from resprune_tf.sizes import measure
from resprune_tf.targets import achievable, solve_target
from tests.conftest import small_net
from tests.made_latency import fake_latencies

SCORES = {"stage1_unit2": 3.0, "stage2_unit2": 1.0, "stage3_unit2": 2.5}


@pytest.fixture(scope="module")
def sizes_of_all():
    """Measures of a small net without each set of its units."""
    net = small_net(20)
    subsets = [
        chosen for count in range(4) for chosen in itertools.combinations(SCORES, count)
    ]
    return {c: measure(remove_units(net, c) if c else net) for c in subsets}


@pytest.mark.parametrize(
    "limits",
    [
        {"macs": 0.8},
        {"parameters": 0.7},
        {"layers": 14},
        {"units": 5},
        {"layers": 17, "parameters": 0.6},
    ],
)
def test_no_set_of_a_smaller_score_meets_the_target(sizes_of_all, limits):
    solution = solve_target(small_net(20), Target(**limits), SCORES)
    fits = [c for c, size in sizes_of_all.items() if solution.target.reached(size)]
    assert solution.score == min(sum(SCORES[name] for name in c) for c in fits)
    assert set(solution.units) in map(set, fits)
    assert solution.measures == sizes_of_all[tuple(sorted(solution.units))]
    assert solution.smallest == sizes_of_all[tuple(SCORES)]
    assert solution.attempts == 1


def test_a_miss_is_measured_and_made_up_for(monkeypatch):
    """What single units save promises too much of two."""
    fake_latencies(
        monkeypatch, lambda model: {6: 10, 5: 8, 4: 7.9, 3: 4}[_units(model)]
    )
    target = Target(latency_ms=7, runtime="litert")
    solution = solve_target(small_net(20), target, SCORES)
    assert solution.attempts == 2 and len(solution.units) == 3
    assert solution.measures["latency_ms"] == pytest.approx(4)
    assert list(solution.timed) == list(SCORES)
    assert "the whole solution was measured in attempt 2" in str(solution)


def test_it_is_given_up_with_what_was_tried(monkeypatch):
    """Timed anew, the net is never as fast as it once was."""
    monkeypatch.setattr(targets, "_ATTEMPTS", 2)
    times = iter([4, 8, 8, 8])  # without all, and without one of each kind

    def milliseconds(model):
        return 10 if _units(model) == 6 else next(times, 9)

    fake_latencies(monkeypatch, milliseconds)
    target = Target(latency_ms=5, runtime="litert")
    with pytest.raises(ValueError, match="No set of units was measured") as error:
        solve_target(small_net(20), target, SCORES)
    assert "leaves 4 ms on litert at batch size 1" in str(error.value)
    assert str(error.value).count("9 ms") == 2


def _units(model):
    return len(find_units(model))


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
    with pytest.raises(ValueError, match="cannot be reached: .* leaves 17 lay") as e:
        target = Target(layers=11, macs=0.95)
        solve_target(
            small_net(20),
            target,
            {"stage1_unit2": 1.0, "stage2_unit2": 2.0},
            protected=["stage2_unit2"],
        )
    told = str(e.value)
    assert "stage2_unit2: it is protected." in told
    assert "stage3_unit2: it has no score." in told
    assert "stage1_unit1: its shortcut passes through" in told
    with pytest.raises(ValueError, match="asks for no removal.* has 20 layers"):
        solve_target(small_net(20), Target(layers=20), SCORES)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"stage9_unit1": 1.0}, "no unit 'stage9_unit1', which has a score"),
        ({"stage1_unit2": float("nan")}, "score of 'stage1_unit2' is no number"),
        ({"stage1_unit1": 1.0}, "No unit of .* may go.\n  stage1_unit1: its shortcut"),
    ],
)
def test_wrong_scores(scores, message):
    with pytest.raises(ValueError, match=message):
        solve_target(small_net(20), Target(layers=14), scores)


def test_a_solution_is_a_table_and_a_record():
    solution = solve_target(small_net(20), Target(layers=14, macs=0.9), SCORES)
    lines = [line.split() for line in str(solution).splitlines()]
    assert lines[1][:2] == ["unit", "score"]
    assert [line[0] for line in lines[2:5]] == [*solution.units, "together"]
    assert lines[4][1:3] == ["3.5", "6"]
    assert ["layers", "20", "14", "14", "11"] in lines
    assert ["units", "6", "4", "-", "3"] in lines
    record = solution.to_dict()
    assert json.loads(json.dumps(record)) == record
    assert record["target"] == solution.target.limits
    assert record["units"] == ["stage2_unit2", "stage3_unit2"]


def test_what_is_achievable(monkeypatch):
    fake_latencies(monkeypatch, _units)
    target = Target(latency_ms=0.001, runtime="onnxruntime")
    found = achievable(small_net(20), target, protected=["stage1_unit2"])
    assert found.units == ("stage2_unit2", "stage3_unit2")
    assert found.in_the_way["stage1_unit2"] == "it is protected"
    lines = [line.split() for line in str(found).splitlines()]
    assert ["layers", "20", "14"] in lines
    assert ["latency_ms", "6", "4"] in lines
    assert "2 of 6 residual units may go" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["initial"]["units"] == 6
    assert "latency_ms" not in achievable(small_net(20)).initial
