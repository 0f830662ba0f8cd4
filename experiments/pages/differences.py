"""Statistics over seeds: mean and spread, paired differences, verdicts.

Accuracies and their differences are fractions.
"""

import functools
import math
import statistics
import typing

from scipy import stats

from experiments.pages.library import compare_correct, mcnemar

MARGIN = 0.002  # 0.2 percentage points: a smaller decrease counts as no loss
HOLDS, FAILS, OPEN = "holds", "does not hold", "open"
# With one seed: the interval is unknown, or a test of single models was passed or
# failed.
OPEN_ONCE, ONCE, CONTRARY = "open (n = 1)", "observed once", "contradicted once"
# For printed numbers that no model can have; not counted as a failed claim.
IMPOSSIBLE = "not reproducible"
# For printed numbers that our models have because they were chosen to have them.
CONSISTENT = "consistent"
# Standard deviation of the difference of two retrainings between seeds, for 10,000 test
# images: from the public results of Renda et al., arXiv:2003.02389; see docs/paper.md.
SEED_SD = 0.0025
# How far the differences of further seeds may be from those on record: from 0.001
# percentage points to all images.
_SIZES = [10 ** (-exponent / 50) for exponent in range(251)]
_STEPS = [0, *_SIZES, *(-size for size in _SIZES)]


class Summary(typing.NamedTuple):
    """Mean, sample standard deviation (None of one value) and number of values."""

    mean: float
    sd: float | None
    n: int


class Paired(typing.NamedTuple):
    """Differences of pairs, with the 95 % t interval of their mean.

    `sd`, `low` and `high` are None if there is only one pair.
    """

    mean: float
    sd: float | None
    n: int
    low: float | None
    high: float | None


class Verdict(typing.NamedTuple):
    """One of the states above, and the reason."""

    state: str
    reason: str


def image_by_image(first, second, selected=False):
    """Compares the models of two rounds image by image, by McNemar's exact test.

    Args:
        first, second: records of rounds.
        selected: whether held-out images may have selected one of the models. They
            are then left out.

    Yields:
        Texts `(images, newly wrong, newly right, p)`, for the test images and for the
        images of both splits; nothing if a record does not list which images its model
        classifies correctly.
    """
    found = {}
    for split in ("test", "validation"):
        correct = [record.get("correct", {}).get(split) for record in (first, second)]
        if all(correct):
            found[split] = compare_correct(*correct)
    groups = [["test"]] if "test" in found else []
    if len(found) == 2 and not selected:
        groups.append([*found])
    for splits in groups:
        wrong, right = (
            sum(found[split][key] for split in splits)
            for key in ("newly_wrong", "newly_right")
        )
        words = " and ".join(splits).replace("validation", "held-out")
        yield words, str(wrong), str(right), f"{mcnemar(wrong, right):.2g}"


def summarize(values):
    """The `Summary` of some numbers; None if there are none."""
    values = list(values)
    if not values:
        return None
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Summary(statistics.fmean(values), sd, len(values))


def pair(first, second):
    """The `Paired` differences `first - second`; None if nothing can be paired.

    Args:
        first, second: numbers by seed. Seeds that one of them lacks are left out.
    """
    common = sorted(first.keys() & second.keys())
    return mean_interval(first[seed] - second[seed] for seed in common)


def mean_interval(values):
    """The `Paired` of some numbers, such as differences; None if there are none."""
    summary = summarize(values)
    if summary is None or summary.sd is None:
        return summary and Paired(*summary, None, None)
    return _interval(summary)


def _interval(summary):
    half = _quantile(summary.n - 1) * summary.sd / math.sqrt(summary.n)
    return Paired(*summary, summary.mean - half, summary.mean + half)


@functools.cache
def _quantile(freedom):
    return float(stats.t.ppf(0.975, freedom))


def above(paired, bound):
    """Whether the mean difference lies above a bound.

    It holds if the whole interval lies above, and does not hold if the whole interval
    lies below.
    """
    return _judge(paired, bound, math.inf)


def power(seeds, distance=MARGIN, sd=SEED_SD):
    """Probability that an interval lies on the side of a bound where the truth lies.

    By default: that a claim of no loss holds if there is no loss.

    Args:
        seeds: number of pairs, at least 2.
        distance: distance of the true difference from the bound.
        sd: standard deviation of the differences between seeds.
    """
    shift = distance * math.sqrt(seeds) / sd
    return float(stats.nct.sf(stats.t.ppf(0.975, seeds - 1), seeds - 1, shift))


def excluded(judge, paired, seeds):
    """The verdicts that a rule can no longer reach, whatever the remaining seeds give.

    Results that are all equal spread least, so they reach a verdict if any do. An
    interval of three seeds, for example, cannot lie above a bound if the first
    difference lies below it.

    Args:
        judge: function from `Paired` to a `Verdict`.
        paired: `Paired` of the seeds on record.
        seeds: number of planned seeds.

    Returns:
        list of `HOLDS` and `FAILS`, or one of them, or none.
    """
    left = seeds - paired.n
    reached = {judge(paired).state} if not left else set()
    squares = (paired.sd or 0) ** 2 * (paired.n - 1)
    for step in _STEPS if left else ():
        value = paired.mean + step
        mean = (paired.n * paired.mean + left * value) / seeds
        distance = step**2 * paired.n * left / seeds
        sd = math.sqrt((squares + distance) / (seeds - 1))
        reached.add(judge(_interval(Summary(mean, sd, seeds))).state)
    return [state for state in (HOLDS, FAILS) if state not in reached]


def judged(judge, paired, *doubts):
    """The verdict of a rule, or `OPEN` if there is a doubt about the records.

    Args:
        judge: function from `Paired` to a `Verdict`.
        paired: `Paired`, or None.
        *doubts: reasons to leave the verdict open; "" for none.
    """
    doubt = next(filter(None, doubts), None)
    return Verdict(OPEN, doubt) if doubt else judge(paired)


def of_seeds(state, seeds):
    """The verdict of a test of single models; one seed decides nothing."""
    if seeds == 1:
        return {HOLDS: ONCE, FAILS: CONTRARY}.get(state, OPEN_ONCE)
    return state


def no_drop(paired):
    """Whether accuracy was maintained, except for a loss within `MARGIN`."""
    return above(paired, -MARGIN)


def equal(paired):
    """Whether the mean difference is 0, within `MARGIN` in either direction."""
    return _judge(paired, -MARGIN, MARGIN)


def _judge(paired, low, high):
    """The `Verdict` on whether the mean difference lies between two bounds."""
    if paired is None:
        return Verdict(OPEN, "not run")
    if paired.low is None:
        return Verdict(OPEN_ONCE, "one seed has no spread")
    if low < paired.low and paired.high < high:
        return Verdict(HOLDS, "the interval lies within the bounds")
    if paired.high < low or high < paired.low:
        return Verdict(FAILS, "the interval lies outside the bounds")
    return Verdict(OPEN, f"too wide an interval of {paired.n} seeds")
