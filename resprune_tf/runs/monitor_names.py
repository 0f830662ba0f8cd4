"""Properties of a monitored metric that follow from its name. Imports nothing.

The command line loads this module before it imports the library.
"""

AUTO = "auto"  # the tolerance of one standard error of an accuracy


def is_accuracy(monitor):
    """Whether a metric is a fraction of correct examples, judged by its name."""
    return monitor is not None and monitor.endswith(("accuracy", "acc"))
