"""What a net is watched by: its direction, and whether it held."""

import keras
import numpy as np
import pytest

from resprune_tf.runs.judging import (
    auto_tolerance,
    direction,
    format_paired,
    format_value,
    is_accuracy,
    within_tolerance,
)
from resprune_tf.runs.paired import compare_correct, mcnemar
from tests.made.fits import QUIET, numbers


@pytest.mark.parametrize(
    ("initial", "value", "tolerance", "mode", "expected"),
    [
        (0.9, 0.9, 0.0, "max", True),
        (0.9, 0.89, 0.0, "max", False),
        (0.9, 0.89, 0.01, "max", True),
        (2.0, 2.5, 0.0, "min", False),
        (2.0, 2.5, 0.5, "min", True),
        (2.0, 1.0, 0.0, "min", True),
        (2.0, float("nan"), 9.0, "min", False),
        (0.9, 0.8, 0.0, None, False),
    ],
)
def test_held(initial, value, tolerance, mode, expected):
    assert within_tolerance(initial, value, tolerance, mode) == expected


@pytest.mark.parametrize(
    ("accuracy", "examples", "expected"),
    [
        (0.9, 160, (0.9 * 0.1 / 160) ** 0.5),
        (0.5, 10_000, 0.005),
        (1.0, 160, 1 / 160),  # at least one example
        (0.0, 50, 0.02),
    ],
)
def test_one_standard_error(accuracy, examples, expected):
    assert auto_tolerance(accuracy, examples) == pytest.approx(expected)


def test_accuracies_are_known_by_name():
    assert is_accuracy("val_accuracy") and is_accuracy("acc")
    assert not is_accuracy("loss") and not is_accuracy(None)
    assert [format_value(name, 0.5) for name in ("acc", "loss")] == ["50.00%", "0.5"]


@keras.saving.register_keras_serializable(package="tests")
def gap(y, p):
    return keras.ops.abs(y - p)[:, 0]


@pytest.fixture(scope="module")
def model():
    """Two outputs, many metrics, measured on a batch."""
    x, y = numbers(8)
    entrance = keras.Input((6,))
    outputs = {
        name: keras.layers.Dense(1, name=name)(entrance) for name in ("near", "far")
    }
    model = keras.Model(entrance, outputs)
    model.compile(
        "sgd",
        {"near": "mse", "far": "mse"},
        metrics={
            "near": ["mae", keras.metrics.R2Score(), gap],
            "far": [keras.metrics.MeanMetricWrapper(gap, name="mean")],
        },
        **QUIET,
    )
    logs = model.test_on_batch(x, {"near": y, "far": y}, return_dict=True)
    return model, logs


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [
        ("loss", "min"),
        ("far_loss", "min"),
        ("near_mae", "min"),
        ("val_near_mae", "min"),
        ("near_r2_score", "max"),
    ],
)
def test_direction_follows_the_metric(model, monitor, mode):
    model, logs = model
    assert monitor.removeprefix("val_") in logs
    assert direction(model, monitor) == mode
    assert direction(model, monitor, "max") == "max"


@pytest.mark.parametrize("monitor", ["near_gap", "far_mean", "made_by_a_callback"])
def test_an_unknown_direction_is_asked_for(model, monitor):
    with pytest.raises(ValueError, match=f"unknown .*'{monitor}' is better.*mode="):
        direction(model[0], monitor)
    assert direction(model[0], monitor, "min") == "min"


def test_values_are_told():
    assert format_value("accuracy", 0.9312) == "93.12%"
    assert format_value("mae", 0.123456) == "0.12346"


@pytest.mark.parametrize(
    ("wrong", "right", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),  # 2 * 1/2
        (4, 0, 0.125),  # 2 * 1/16
        (0, 6, 0.03125),  # 2 * 1/64
        (8, 2, 0.109375),  # 2 * (1 + 10 + 45) / 1024
        (3, 3, 1.0),  # 2 * (1 + 6 + 15 + 20) / 64 is above 1
        (3, 4, 1.0),  # 2 * (1 + 7 + 21 + 35) / 128
    ],
)
def test_mcnemar(wrong, right, p):
    assert mcnemar(wrong, right) == mcnemar(right, wrong) == p


def test_mcnemar_of_many_examples():
    """Far from overflow, and the tail of a normal distribution: z = 10."""
    assert 0 < mcnemar(5500, 4500) < 1e-20
    assert mcnemar(5050, 4950) == pytest.approx(0.3222, abs=1e-3)


def test_paired_classifiers_are_compared_example_by_example():
    """Examples 0 and 4 are newly wrong, 7 is newly right; the rest is padding."""
    paired = compare_correct("b880", "31" + "80")  # 10111000 1..., 00110001 1...
    assert paired == {"newly_wrong": 2, "newly_right": 1, "p": 1.0}
    assert compare_correct("", "") == {"newly_wrong": 0, "newly_right": 0, "p": 1.0}
    assert format_paired(compare_correct("f0", "00"), 1360) == (
        "4 examples newly wrong, 0 newly right of 1,360: p = 0.13 (McNemar's exact "
        "test)"
    )


def test_a_model_that_lost_exactly_the_tolerance_passes():
    """One example of 360, whose accuracies Keras measures in float32."""
    initial, value = float(np.float32(359 / 360)), float(np.float32(358 / 360))
    tolerance = auto_tolerance(initial, 360)
    assert within_tolerance(initial, value, tolerance)
    assert not within_tolerance(initial, float(np.float32(357 / 360)), tolerance)
