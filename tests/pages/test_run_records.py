"""What follows from the records of a run."""

import pytest

from experiments.pages.run_records import group_units, wilson


@pytest.mark.parametrize(
    ("correct", "low", "high"),
    [(0, 0.0, 0.0370), (90, 0.8256, 0.9448), (100, 0.963, 1)],
)
def test_wilson_interval(correct, low, high):
    assert wilson(correct / 100, 100) == pytest.approx((low, high), abs=1e-4)


def test_units_group_by_stage():
    groups = group_units(["stage1_unit2", "conv2_block3", "stage1_unit4", "add"])
    assert groups == {
        "Stage 1": [("stage1_unit2", "2"), ("stage1_unit4", "4")],
        "conv2": [("conv2_block3", "3")],
        "Units": [("add", "add")],
    }
