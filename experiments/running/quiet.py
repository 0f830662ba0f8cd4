"""Suppresses the messages that TensorFlow prints when it starts."""

import contextlib
import os

from resprune_cli.start import quiet


@contextlib.contextmanager
def quiet_start():
    """Context for imports that start TensorFlow: discards standard error."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # C++ prints some messages before it reads its log level.
    with quiet():
        yield
