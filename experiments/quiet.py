"""Keeps TensorFlow's notes on its own build away."""

import contextlib
import os
import sys


@contextlib.contextmanager
def quiet_start():
    """Around the imports that start TensorFlow: standard error goes nowhere."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        # Some notes come from C++ before it reads its log level.
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
