"""What the name of a monitored measure says about it. Imports nothing.

The command line reads this before it imports the library.
"""

AUTO = "auto"  # the tolerance of one standard error of an accuracy


def is_accuracy(monitor):
    """Whether a measure is a fraction of correct examples, by its name."""
    return monitor is not None and monitor.endswith(("accuracy", "acc"))
