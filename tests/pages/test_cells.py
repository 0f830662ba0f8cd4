"""The text of cells: accuracies and differences in %."""

import pytest

from experiments.pages.cells import each, joined, percent, points, signed
from experiments.pages.differences import pair, summarize


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "+0.10"), (-0.01, "-0.01"), (-0.003, "+0.00"), (90.497 - 90.5, "+0.00")],
)
def test_a_difference_that_rounds_to_zero_has_no_minus(value, text):
    assert signed(value) == text


def test_spread_and_number_of_seeds():
    assert percent(None) == points(None) == "-"
    assert percent(summarize([0.9])) == "90.00 (n = 1)"
    assert percent(summarize([0.90, 0.92])) == "91.00 ± 1.41 (n = 2)"
    assert points(pair({0: 0.9}, {0: 0.91, 1: 0.5})) == "-1.00 (n = 1)"
    # The mean is 1.5, the standard error 0.5, and the 97.5 % quantile of t is 12.706.
    found = points(pair({0: 0.91, 1: 0.92}, {0: 0.90, 1: 0.90}))
    assert found == "+1.50 [-4.85, +7.85] (n = 2)"


def test_values_over_seeds():
    assert each([32, 32]) == "32"
    assert each([35, 32, 32]) == "32 (2), 35 (1)"
    assert joined(["a"]) == "a" and joined("abc", "or") == "a, b or c"
