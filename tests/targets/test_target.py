"""Targets and the choice of units, without Keras."""

import dataclasses
import pathlib
import re

import pytest

from resprune_tf.pruning.plan import select_units
from resprune_tf.targets.target import Target, TargetMet

FULL = {"layers": 56, "units": 18, "macs": 84_000_000, "parameters": 590_000}
SMALL = {"layers": 11, "units": 3, "macs": 17_000_000, "parameters": 127_000}


def test_smallest_scores_go_first_and_ties_keep_their_order():
    scores = {"a": 0.5, "b": 0.1, "c": 0.5, "d": 0.0}
    assert select_units(scores, 1) == ("d",)
    assert select_units(scores, 4) == ("d", "b", "a", "c")


def test_all_go_when_fewer_are_left():
    assert select_units({"a": 2.0, "b": 1.0}, 3) == ("b", "a")


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


def test_a_target_from_a_pruned_model_on():
    target = Target(
        **{"macs": 0.5, "latency_ms": 4, "latency_ratio": 0.7, "runtime": "litert"},
        **{"file_ratio": 0.9, "file_format": "keras"},
    )
    measured = {"latency_ms": 5, "latency_ratio": 0.5, "file_ratio": 0.8}
    rest = target.from_here(measured)
    assert rest.limits == {"macs": 0.5, "latency_ratio": 0.8}
    assert rest.runtime == "litert" and rest.file_format is None
    rest = target.from_here({"latency_ms": 3, "latency_ratio": 0.6, "file_ratio": 1})
    assert rest == Target(macs=0.5, file_ratio=0.9, file_format="keras")


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({}, "at least one limit of layers, units, macs, parameters"),
        ({"layers": 0}, "positive numbers. Received: layers=0"),
        ({"layers": "32"}, "positive numbers. Received: layers='32'"),
        ({"macs": -0.5}, "macs=-0.5"),
        ({"file_bytes": 0.5}, "a fraction .* is `file_ratio`"),
        ({"latency_ratio": 1.5}, "below 1. Received: latency_ratio=1.5"),
        ({"layers": 0.5}, "at least 1; .* can be fractions. Received: layers=0.5"),
        ({"latency_ms": 1, "runtime": "trt"}, "one of tensorflow, litert.*'trt'"),
        ({"file_bytes": 9, "file_format": "zip"}, "one of saved_model, .*'zip'"),
        ({"latency_ms": 0.5}, '`latency_ms` needs `runtime`, such as .*="litert"'),
        ({"file_ratio": 0.5}, "`file_ratio` needs `file_format`"),
        ({"layers": 3, "runtime": "litert"}, "belongs to a limit of latency_ms or"),
        (
            {"layers": 3, "threads": 0},
            "`threads` must be an integer >= 1.*threads=0",
        ),
        ({"layers": 3, "batch_size": 1.5}, "integer >= 1. Received: batch_size=1.5"),
    ],
)
def test_senseless_targets(limits, message):
    with pytest.raises(ValueError, match=message):
        Target(**limits)


def test_a_latency_of_another_device():
    def on_phone(path):
        raise AssertionError("not called here")

    target = Target(latency_ms=4, runtime="litert_int8", latency_fn=on_phone)
    assert str(target) == "4 ms on litert_int8, measured by on_phone"
    assert target.conditions == {"runtime": "litert_int8", "latency_fn": "on_phone"}
    rest = target.from_here({"latency_ms": 5, "latency_ratio": 1})
    assert rest.latency_fn is on_phone and rest.limits == {"latency_ratio": 0.8}
    both = dataclasses.replace(target, macs=0.5)
    rest = both.from_here({"latency_ms": 3, "latency_ratio": 1})
    assert rest == Target(macs=0.5)


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"latency_fn": "phone.sh"}, TypeError, "a function of the path.*'phone.sh'"),
        ({"batch_size": 8}, ValueError, "Leave them out.* batch_size=8, threads=1"),
        ({"threads": 2}, ValueError, "`latency_fn=float` measures.* threads=2"),
        (
            {"latency_ms": None, "runtime": None, "layers": 3},
            ValueError,
            "`latency_fn` belongs to a limit of latency_ms or latency_ratio",
        ),
        ({"runtime": None}, ValueError, "`latency_ms` needs `runtime`"),
    ],
)
def test_senseless_functions_of_latency(fields, kind, message):
    given = {"latency_ms": 4, "runtime": "litert", "latency_fn": float, **fields}
    with pytest.raises(kind, match=message):
        Target(**given)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"layers": 10}, "10 layers cannot be reached.*leaves 11"),
        (
            {"macs": 0.1},
            "8,400,000 MACs cannot be reached.*leaves 17,000,000 MACs. "
            "Choose a larger target, such as macs=0.203.$",
        ),
        (
            {"parameters": 60},
            "`parameters=60` is a number; a fraction .* such as `parameters=0.6`",
        ),
        ({"layers": 56}, "requires no removal: the initial model has 56 layers"),
        ({"layers": 80}, "requires no removal"),
    ],
)
def test_targets_that_no_removal_meets(limits, message):
    with pytest.raises(ValueError, match=message):
        Target(**limits).resolve(FULL, SMALL)


def test_one_is_told_in_the_singular():
    assert str(Target(layers=1, units=2)) == "1 layer, 2 units"


def test_a_target_that_is_met_is_known_by_its_error():
    """Whatever was measured of the smallest model, as latencies vary."""
    with pytest.raises(TargetMet):
        Target(layers=56).resolve(FULL, SMALL)
    target = Target(latency_ms=2, runtime="tflite")
    assert target.runtime == "litert"
    with pytest.raises(TargetMet):
        target.resolve({**FULL, "latency_ms": 1.9}, {**SMALL, "latency_ms": 2.1})
    busy = {"machine_load": 0.5}
    initial = {**FULL, "latency_ms": 1.9, **busy}
    with pytest.raises(TargetMet, match="no removal.*50% of its processor cores"):
        target.resolve(initial, {**SMALL, "latency_ms": 1.1, **busy})


def test_a_file_and_a_latency_have_two_spellings():
    """Half a millisecond is a time; half the time is a ratio."""
    target = Target(
        latency_ms=0.5,
        latency_ratio=0.6,
        file_ratio=0.7,
        layers=32,
        runtime="litert",
        file_format="onnx",
        batch_size=8,
    )
    initial = {**FULL, "latency_ms": 2.0, "latency_ratio": 1.0, "file_ratio": 1.0}
    smallest = {**SMALL, "latency_ms": 0.4, "latency_ratio": 0.2, "file_ratio": 0.2}
    assert target.resolve(initial, smallest) == target
    assert not target.reached({**smallest, "latency_ms": 0.6})
    assert target.reached({**smallest, "latency_ms": 0.5, "latency_ratio": 0.6})
    assert str(target) == (
        "32 layers, 70.0% of the initial file as 'onnx', 0.5 ms on litert at batch "
        "size 8, 60.0% of the initial latency on litert at batch size 8"
    )
    assert target.conditions == {
        "file_format": "onnx",
        "runtime": "litert",
        "batch_size": 8,
        "threads": 1,
    }
    assert Target(layers=32).conditions == {}


def test_what_cannot_be_reached_says_for_every_limit_what_can():
    target = Target(layers=10, macs=0.5)
    with pytest.raises(ValueError) as error:
        target.resolve(FULL, SMALL, {"stage1_unit1": "it is protected"})
    assert str(error.value) == (
        "The target of 10 layers, 42,000,000 MACs cannot be reached: removing all "
        "removable units leaves 11 layers, 17,000,000 MACs. Choose a larger target. "
        "Units that cannot be removed: stage1_unit1 (it is protected)."
    )


def test_every_spelling_of_the_page_is_a_target():
    page = pathlib.Path(__file__).parents[2] / "docs" / "targets.md"
    table = page.read_text().partition("| limit |")[2].partition("\n\n")[0]
    spellings = re.findall("`([^`]+)`", table)
    named = {name for text in spellings for name in eval(f"Target({text})").limits}
    assert named == {field.name for field in dataclasses.fields(Target)} - {
        *("file_format", "runtime", "batch_size", "threads", "latency_fn")
    }
