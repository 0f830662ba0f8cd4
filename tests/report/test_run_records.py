"""What follows from the records of a run."""

import pytest

from resprune_tf.report.run_records import short, wilson


@pytest.mark.parametrize(
    ("correct", "low", "high"),
    [(0, 0.0, 0.0370), (90, 0.8256, 0.9448), (100, 0.963, 1)],
)
def test_wilson_interval(correct, low, high):
    assert wilson(correct / 100, 100) == pytest.approx((low, high), abs=1e-4)


def test_counts_have_a_magnitude():
    numbers = (999, 1500, 84_068_864, 4_089_184_256)
    assert [short(n) for n in numbers] == ["999", "1.50 k", "84.07 M", "4.09 G"]
