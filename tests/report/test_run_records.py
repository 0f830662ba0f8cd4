"""What follows from the records of a run."""

import math

import numpy as np
import pytest

from resprune_tf.report.run_records import RunRecords, short, wilson
from resprune_tf.runs.judging import is_accuracy, within_tolerance


@pytest.mark.parametrize(
    ("correct", "low", "high"),
    [(0, 0.0, 0.0370), (90, 0.8256, 0.9448), (100, 0.963, 1)],
)
def test_wilson_interval(correct, low, high):
    assert wilson(correct / 100, 100) == pytest.approx((low, high), abs=1e-4)


def test_counts_have_a_magnitude():
    numbers = (999, 1500, 84_068_864, 4_089_184_256)
    assert [short(n) for n in numbers] == ["999", "1.50 k", "84.07 M", "4.09 G"]


@pytest.mark.parametrize("name", ["accuracy", "acc", "top_5_accuracy", "loss", "mae"])
def test_accuracies_are_known_by_name_as_in_the_run(name):
    assert RunRecords([], {"monitor": name}).in_percent == is_accuracy(name)


@pytest.mark.parametrize(("mode", "worse"), [("max", -1), ("min", 1)])
@pytest.mark.parametrize("tolerance", [0.0, 1 / 360])
@pytest.mark.parametrize("initial", [359 / 360, 1.0, 40.0])
def test_a_record_is_judged_as_in_the_run(mode, worse, tolerance, initial):
    """Reports do not import `runs.judging`, but must agree with it."""
    initial = float(np.float32(initial))
    for steps in (-1, 0, 1e-10, 5e-10, 2e-9, 1e-8, 1e-6, 1e-5, 1, math.nan):
        value = float(np.float32(initial + worse * (tolerance + steps)))
        for each in (value, initial + worse * (tolerance + steps)):
            rounds = [
                {"round": number, "validation_metric": metric}
                for number, metric in enumerate((initial, each))
            ]
            final = {"monitor": "metric", "mode": mode, "tolerance": tolerance}
            expected = within_tolerance(initial, each, tolerance, mode)
            run = RunRecords(rounds, final)
            assert run.within_tolerance(rounds[1]) == expected, steps
