"""Imports Keras without its messages, and stops work on signals."""

import contextlib
import gc
import os
import signal
import sys

OUT_OF_TIME = 3
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """Work was stopped by a signal, or the time is used up.

    Attributes:
        code: exit code.
    """

    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


def prepare_environment():
    """Sets variables that TensorFlow reads when it is imported, unless they are set.

    TensorFlow uses oneDNN by itself only on processors with instructions for neural
    networks (AVX-512 VNNI and later), but it speeds up the gradients of convolutions
    on those with AVX2, too.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def start():
    """Imports Keras and `resprune_tf`, and suppresses messages below errors."""
    prepare_environment()
    silence = contextlib.nullcontext() if "keras" in sys.modules else quiet()
    with importing(), silence:
        import keras
        from absl import logging

        import resprune_tf as rp

        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            # The first search for a GPU prints a message if there is none.
            tf.config.list_logical_devices("GPU")
    ignore_retracing()
    logging.set_verbosity(logging.ERROR)
    rp.keep_memory()


def ignore_retracing():
    """Silences TensorFlow's warning of repeated tracing: each round has a new model."""
    if tf := sys.modules.get("tensorflow"):
        tf.get_logger().setLevel("ERROR")


@contextlib.contextmanager
def importing():
    """Context for the imports of TensorFlow and Keras; takes them out of collection.

    They create about a million objects that stay. Garbage collection would look through
    them several times during the imports and again when Python exits, for seconds. If
    Keras is already imported, nothing changes: garbage must not be taken out.
    """
    if "keras" in sys.modules:
        yield
        return
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


@contextlib.contextmanager
def quiet():
    """Context that discards standard error, also what C++ code writes to it."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class StopNow(BaseException):
    """Ends work that does not check for signals, so that it can clean up."""


class StopRequest:
    """Remembers a signal until the work checks for it; a second one ends the process.

    As a context manager it installs signal handlers, and restores the previous ones.

    Args:
        patience: seconds until a StopNow ends work that does not check for signals,
            such as compiling, measuring or exporting; None to wait for the check.

    Attributes:
        signal: the first signal received, or None.
    """

    def __init__(self, patience=None):
        self.signal, self.patience = None, patience

    def __enter__(self):
        self._previous = {number: signal.getsignal(number) for number in _SIGNALS}
        self.listen()
        return self

    def __exit__(self, *exception):
        self._cancel_timer()
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def listen(self):
        """Installs the signal handlers, also if other code has replaced them."""
        for number in _SIGNALS:
            signal.signal(number, self._receive)

    def _receive(self, number, frame):
        self.signal = signal.Signals(number)
        signal.signal(number, signal.SIG_DFL)
        if self.patience and hasattr(signal, "setitimer"):  # not on Windows
            self._waited = False
            signal.signal(signal.SIGALRM, self._end)
            signal.setitimer(signal.ITIMER_REAL, self.patience / 2, self.patience / 2)

    def _end(self, number, frame):
        # The first alarm may come at the end of a long step, just before a check.
        if not self._waited:
            self._waited = True
            return
        # Python ignores exceptions raised while it destroys an object, so try again.
        signal.setitimer(signal.ITIMER_REAL, 5 * self.patience, 5 * self.patience)
        raise StopNow(f"{self.signal.name} received")

    def reason(self):
        """Reason to stop, or None. After a reason, no StopNow is raised."""
        if self.signal is None:
            return None
        self._cancel_timer()
        return f"{self.signal.name} received"

    def _cancel_timer(self):
        if self.signal and self.patience and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)

    @property
    def code(self):
        """Exit code of stopped work: 128 + the signal, or that of the time limit."""
        return 128 + self.signal if self.signal else OUT_OF_TIME
