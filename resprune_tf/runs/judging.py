"""Whether a net holds what it is watched by: one metric, in its right direction."""

import math

from resprune_tf.runs.monitor_names import AUTO, is_accuracy  # noqa: F401
from resprune_tf.system.advice import advice
from resprune_tf.system.wording import counted

MODES = ("min", "max")


def auto_tolerance(accuracy: float, examples: int) -> float:
    """The tolerance `"auto"`: one standard error of an accuracy.

    `sqrt(p (1 - p) / n)` for an accuracy p on n examples, and at least one example:
    `1 / n`. A smaller decrease says little, as other examples would change the
    accuracy by as much.

    Args:
        accuracy: of the initial model, a fraction.
        examples: number of examples that it was measured on.

    >>> round(auto_tolerance(0.9, 160), 4)
    0.0237
    """
    variance = max(0.0, accuracy * (1 - accuracy))
    return max(1 / examples, math.sqrt(variance / examples))


def resolved(tolerance, initial, examples):
    """A tolerance as a number: `"auto"` is that of the initial model, on `examples`."""
    return auto_tolerance(initial, examples) if tolerance == AUTO else tolerance


def points(share):
    """A difference of accuracies in words, such as `0.62 percentage points`."""
    return f"{100 * share:.3g} percentage points"


def within_tolerance(initial, value, tolerance, mode="max"):
    """Whether a value is no more than `tolerance` worse than the initial one.

    Args:
        initial, value: of the metric.
        tolerance: in the metric's units.
        mode: which way the metric is better, `"min"` or `"max"`; None for accuracy.
    """
    sign = -1 if mode == "min" else 1
    return sign * (initial - value) <= tolerance + rounding(initial)


def rounding(value):
    """What the rounding of a measured value may amount to.

    Keras measures in float32, and a model that lost exactly the tolerance, such as one
    example, must not fail because of it.
    """
    return 1e-9 + 1e-6 * abs(value) if math.isfinite(value) else 0.0


def direction(model, monitor, mode=None):
    """Which way a logged value of a compiled model is better.

    Losses are better when smaller. Keras's own metrics know their direction, as do
    the callbacks of Keras that watch one.

    Args:
        model: a compiled `keras.Model` that has trained on a batch, or measured one:
            Keras makes the metrics then.
        monitor: name of the value, as it is logged; `val_` before it does not matter.
        mode: `"min"` or `"max"` if the caller knows; returned as it is.

    Returns:
        `"min"` or `"max"`.

    Raises:
        ValueError: for another `mode`, or if the direction is not known.
    """
    check_mode(mode)
    if mode is not None:
        return mode
    name = monitor.removeprefix("val_")
    if name == "loss" or name.endswith("_loss"):
        return "min"
    metrics = [
        metric
        for group in model.metrics
        for metric in getattr(group, "metrics", [group])
    ]
    # With several outputs, or weights, a prefix is logged before the metric's name.
    found = [metric for metric in metrics if metric.name == name] or [
        metric for metric in metrics if name.endswith(f"_{metric.name}")
    ]
    ways = {getattr(metric, "_direction", None) for metric in found}
    if ways == {"up"}:
        return "max"
    if ways == {"down"}:
        return "min"
    raise ValueError(
        f"Whether a larger or a smaller '{monitor}' is better is not known: its metric "
        "does not say. "
        + advice(
            'Give `mode="max"` or `mode="min"`.',
            "Watch another measure by --monitor, such as loss.",
        )
    )


def check_mode(mode):
    """Raises a ValueError unless a mode is `"min"`, `"max"` or None."""
    if mode is not None and mode not in MODES:
        raise ValueError(f'`mode` must be "min" or "max". Received: {mode!r}.')


def format_value(monitor, value):
    """A measure as text: accuracies in %."""
    return f"{value:.2%}" if monitor.endswith("accuracy") else f"{value:.5g}"


def mcnemar(newly_wrong: int, newly_right: int) -> float:
    """The two-sided p-value of McNemar's exact test of two paired classifiers.

    Only the examples count that one of the two models classifies correctly. If the
    models are equally good, each of these is as likely to be newly wrong as to be newly
    right, so that their numbers follow a binomial distribution of probability 1/2.

    Args:
        newly_wrong: examples that the first model alone classifies correctly.
        newly_right: examples that the second model alone classifies correctly.

    Returns:
        float in (0, 1]; 1 if the models are right on the same examples.

    Reference: McNemar, Note on the sampling error of the difference between correlated
    proportions or percentages, Psychometrika 12 (1947).
    """
    count, fewer = newly_wrong + newly_right, min(newly_wrong, newly_right)
    tail = sum(math.comb(count, number) for number in range(fewer + 1))
    return min(1.0, 2 * tail / 2**count)  # the middle is in both tails


def compare_correct(first: str, second: str) -> dict:
    """How two models differ on the examples that both have classified.

    Args:
        first, second: which examples each classifies correctly, as in `Round.correct`.

    Returns:
        dict of `"newly_wrong"` and `"newly_right"`, numbers of examples that only the
        first or only the second model classifies correctly, and `"p"`, of `mcnemar`.
    """
    a, b = int(first or "0", 16), int(second or "0", 16)
    wrong, right = (a & ~b).bit_count(), (b & ~a).bit_count()
    return {"newly_wrong": wrong, "newly_right": right, "p": mcnemar(wrong, right)}


def format_paired(paired: dict, examples: int) -> str:
    """What `compare_correct` found, on so many examples, as text."""
    return (
        f"{counted(paired['newly_wrong'], 'example')} newly wrong, "
        f"{paired['newly_right']:,} newly right of {examples:,}: "
        f"{format_p(paired['p'])} (McNemar's exact test)"
    )


def format_p(p: float) -> str:
    """A p-value as text, such as `"p = 0.13"`."""
    # A half, as in 0.125, is rounded up.
    return "p < 0.001" if p < 0.001 else f"p = {p * (1 + 1e-9):.2g}"
