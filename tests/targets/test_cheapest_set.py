"""The choice of a set against every set there is."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resprune_tf.targets.solving import cheapest_set

UNITS = "abcdef"
WHOLE = st.integers(0, 9)


def allowed(chosen, savings, needs, exclusive):
    """Whether a set saves enough, without two that exclude each other."""
    return all(
        sum(savings[m][u] for u in chosen) >= needs[m] for m in needs
    ) and not any(set(pair) <= set(chosen) for pair in exclusive)


def smallest_sum(scores, *limits):
    """The smallest summed score of all sets that are allowed, or None."""
    sums = [
        sum(scores[unit] for unit in chosen)
        for count in range(len(scores) + 1)
        for chosen in itertools.combinations(scores, count)
        if allowed(chosen, *limits)
    ]
    return min(sums, default=None)


@st.composite
def problems(draw):
    units = UNITS[: draw(st.integers(1, len(UNITS)))]
    scores = {unit: draw(st.integers(-3, 9)) for unit in units}
    measures = ("macs", "layers")[: draw(st.integers(1, 2))]
    savings = {m: {unit: draw(WHOLE) for unit in units} for m in measures}
    needs = {m: draw(st.integers(1, 25)) for m in measures}
    pairs = list(itertools.combinations(units, 2))
    exclusive = draw(st.lists(st.sampled_from(pairs), max_size=2)) if pairs else []
    return scores, savings, needs, exclusive


@settings(max_examples=150, deadline=None)
@given(problems())
def test_no_set_is_cheaper(problem):
    scores, *limits = problem
    best = smallest_sum(*problem)
    chosen = cheapest_set(*problem)
    if best is None:
        assert chosen is None
        return
    assert sum(scores[unit] for unit in chosen) == best
    assert allowed(chosen, *limits)
    assert [scores[unit] for unit in chosen] == sorted(scores[u] for u in chosen)


def test_what_costs_nothing_stays_if_it_is_not_needed():
    scores = dict.fromkeys("abc", 0.0)
    savings = {"macs": {"a": 5, "b": 5, "c": 10}}
    assert len(cheapest_set(scores, savings, {"macs": 5})) == 1
    assert "b" in cheapest_set({"a": 1.0, "b": -1.0}, savings, {"macs": 5})


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e12])
def test_sizes_of_numbers_do_not_matter(size):
    scores = {"a": 3 * size, "b": 2 * size, "c": 2 * size}
    savings = {"macs": {"a": 10 / size, "b": 5 / size, "c": 4 / size}}
    assert cheapest_set(scores, savings, {"macs": 9 / size}) == ("a",)
    assert cheapest_set(scores, savings, {"macs": 14.5 / size}) == ("b", "a")
    assert cheapest_set(scores, savings, {"macs": 20 / size}) is None
