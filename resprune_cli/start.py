"""Starting Keras quietly, and stopping when asked."""

import contextlib
import os
import signal
import sys

OUT_OF_TIME = 3
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """Work was stopped by a signal, or the time is up.

    Attributes:
        code: exit code.
    """

    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


def start():
    """Imports Keras and this package, without what they say of themselves."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with contextlib.nullcontext() if "keras" in sys.modules else quiet():
        import keras
        from absl import logging

        import resprune_tf as rp

        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            tf.get_logger().setLevel("ERROR")  # that each round is traced anew
            # Where there is no GPU, the first look for one says so.
            tf.config.list_logical_devices("GPU")
    logging.set_verbosity(logging.ERROR)
    rp.keep_memory()


@contextlib.contextmanager
def quiet():
    """Sends standard error nowhere: TensorFlow's notes from C++ know no level."""
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
    """Work that asks for no signal is to end here, and to clean up."""


class StopRequest:
    """Remembers a signal until the training next asks; a second one ends at once.

    As a context manager it listens at once and puts the former handlers back.

    Args:
        patience: seconds after which work that has not asked, since it compiles,
            measures or exports, is ended by a StopNow; None to wait until it asks.

    Attributes:
        signal: the first signal received, or None.
    """

    def __init__(self, patience=None):
        self.signal, self.patience = None, patience

    def __enter__(self):
        self._former = {number: signal.getsignal(number) for number in _SIGNALS}
        self.listen()
        return self

    def __exit__(self, *exception):
        self._rest()
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def listen(self):
        """Takes the signals, also where somebody else has taken them since."""
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
        # The first time may be at the end of a long step, which is about to ask.
        if not self._waited:
            self._waited = True
            return
        # Python drops what is raised while it destroys an object: so later once more.
        signal.setitimer(signal.ITIMER_REAL, 5 * self.patience, 5 * self.patience)
        raise StopNow(f"{self.signal.name} received")

    def reason(self):
        """Why to stop, or None; who asks is given the time to stop."""
        if self.signal is None:
            return None
        self._rest()
        return f"{self.signal.name} received"

    def _rest(self):
        if self.signal and self.patience and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)

    @property
    def code(self):
        """Exit code of work that was stopped: by a signal, else by the time."""
        return 128 + self.signal if self.signal else OUT_OF_TIME
