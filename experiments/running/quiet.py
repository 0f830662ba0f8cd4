"""Suppresses the messages that TensorFlow prints when it starts."""

import contextlib

from resprune_cli.start import (
    ignore_retracing,
    importing,
    prepare_environment,
    quiet,
)


@contextlib.contextmanager
def quiet_start():
    """Context for imports that start TensorFlow: discards standard error.

    Afterwards, TensorFlow does not warn of repeated tracing.
    """
    prepare_environment()
    # C++ prints some messages before it reads its log level.
    with importing(), quiet():
        yield
    ignore_retracing()
