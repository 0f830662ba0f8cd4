"""Keeps TensorFlow's notes on its own build away."""

import contextlib
import os

from resprune_cli.start import quiet


@contextlib.contextmanager
def quiet_start():
    """Around the imports that start TensorFlow: standard error goes nowhere."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Some notes come from C++ before it reads its log level.
    with quiet():
        yield
