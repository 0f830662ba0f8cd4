"""Checks whether a tolerance suits a measure, by the name of the measure."""

from resprune_cli.options.registries import registry
from resprune_cli.options.usage import WrongUse


def check_tolerance(monitor, tolerance):
    """Raises WrongUse if a tolerance does not suit the measure it is applied to.

    Args:
        monitor: name of the measure.
        tolerance: number, `"auto"`, or None.
    """
    names = registry("runs.monitor_names")
    if tolerance == names.AUTO:
        if not names.is_accuracy(monitor):
            raise WrongUse(
                "--tolerance auto is the standard error of an accuracy. For "
                f"--monitor {monitor} give an amount in its units, such as 0.01."
            )
    elif names.is_accuracy(monitor) and (tolerance or 0) >= 1:
        raise WrongUse(
            "--tolerance of an accuracy is a fraction below 1: 0.01 is one percentage "
            f"point. Received: {tolerance:g}."
        )
