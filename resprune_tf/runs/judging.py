"""Judges models by one monitored metric: direction, tolerance and wording."""

import math

from resprune_tf.runs.monitor_names import AUTO, is_accuracy
from resprune_tf.system.advice import advice
from resprune_tf.system.wording import counted

MODES = ("min", "max")


def auto_tolerance(accuracy: float, examples: int) -> float:
    """Returns the tolerance `"auto"`: one standard error of an accuracy.

    That is `sqrt(p (1 - p) / n)` for an accuracy p on n examples, but at least one
    example, `1 / n`. A smaller decrease is not significant: a different sample of
    examples would change the accuracy by as much.

    Args:
        accuracy: accuracy of the initial model, a fraction.
        examples: number of examples on which it was measured.

    >>> round(auto_tolerance(0.9, 160), 4)
    0.0237
    """
    variance = max(0.0, accuracy * (1 - accuracy))
    return max(1 / examples, math.sqrt(variance / examples))


def resolved(tolerance, initial, examples):
    """Returns a tolerance as a number.

    Args:
        tolerance: a number, or `"auto"` for `auto_tolerance`.
        initial: monitored value of the initial model.
        examples: number of examples on which it was measured.
    """
    return auto_tolerance(initial, examples) if tolerance == AUTO else tolerance


def is_suspicious(monitor: str, value: float) -> bool:
    """Whether a model was probably trained on the examples that it is measured on."""
    return is_accuracy(monitor) and value >= 0.995


def points(share):
    """A difference of two accuracies as text, such as `0.62 percentage points`."""
    number = f"{100 * share:.3g}"
    return f"{number} percentage point{'' if number == '1' else 's'}"


def within_tolerance(initial, value, tolerance, mode="max"):
    """Whether a value is at most `tolerance` worse than the initial one.

    Args:
        initial, value: values of the metric.
        tolerance: accepted deterioration, in the units of the metric.
        mode: better direction of the metric, `"min"` or `"max"`; None means `"max"`.
    """
    sign = -1 if mode == "min" else 1
    return sign * (initial - value) <= tolerance + _float32_slack(initial)


def _float32_slack(value):
    # Keras measures in float32. A model that is worse by exactly the tolerance, such as
    # one example, must not be rejected because of rounding.
    return 1e-9 + 1e-6 * abs(value) if math.isfinite(value) else 0.0


def direction(model, monitor, mode=None):
    """Returns the better direction of a logged value of a compiled model.

    Losses are better when smaller. The metrics of Keras state their direction.

    Args:
        model: a compiled `keras.Model` that was trained or evaluated on at least one
            batch, because Keras creates the metrics then.
        monitor: name of the value in the logs, with or without `val_`.
        mode: `"min"` or `"max"`, which is returned unchanged, or None.

    Returns:
        `"min"` or `"max"`.

    Raises:
        ValueError: if `mode` is another value, or if the direction is unknown.
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
    # With several outputs, or with weighted metrics, the logged name has a prefix.
    found = [metric for metric in metrics if metric.name == name] or [
        metric for metric in metrics if name.endswith(f"_{metric.name}")
    ]
    ways = {getattr(metric, "_direction", None) for metric in found}
    if ways == {"up"}:
        return "max"
    if ways == {"down"}:
        return "min"
    raise ValueError(
        f"It is unknown whether a larger or a smaller '{monitor}' is better, because "
        "its metric does not state a direction. "
        + advice(
            'Pass `mode="max"` or `mode="min"`.',
            "Choose another measure with --monitor, such as loss.",
        )
    )


def check_mode(mode):
    """Raises a ValueError unless a mode is `"min"`, `"max"` or None."""
    if mode is not None and mode not in MODES:
        raise ValueError(f'`mode` must be "min" or "max". Received: {mode!r}.')


def format_value(monitor, value):
    """A measured value as text; accuracies are in %."""
    return f"{value:.2%}" if is_accuracy(monitor) else f"{value:.5g}"


def format_paired(paired: dict, examples: int) -> str:
    """The result of `paired.compare_correct` as text.

    Args:
        paired: what `compare_correct` returned.
        examples: number of examples that both models classified.
    """
    return (
        f"{counted(paired['newly_wrong'], 'example')} newly wrong, "
        f"{paired['newly_right']:,} newly right of {examples:,}: "
        f"{format_p(paired['p'])} (McNemar's exact test)"
    )


def format_p(p: float) -> str:
    """A p-value as text, such as `"p = 0.13"`."""
    # The factor rounds halves up, as in 0.125.
    return "p < 0.001" if p < 0.001 else f"p = {p * (1 + 1e-9):.2g}"
