"""Progress of long operations. In Python nothing is shown by default.

Library functions report with `say` and `tracked`; the command line shows the reports
with `shown`. This module imports the standard library only, so that a command can
report before it imports anything else.
"""

import contextlib
import contextvars
import os
import shutil
import sys
import time

_REPORTER = contextvars.ContextVar("reporter", default=None)
_INTERVAL = 5  # seconds between the lines of a long count outside a terminal
_FEW = 10  # up to this number of items, each one gets a line


class Reporter:
    """Writes progress to a stream.

    On a terminal the line of a count is rewritten in place. Elsewhere lines are printed
    one below the other, for a long count at most every few seconds.

    Args:
        stream: text stream to write to. Defaults to standard error, even while file
            descriptor 2 is redirected.
        lines: whether to print the lines of `say`, and counts outside a terminal.
    """

    def __init__(self, stream=None, lines=True):
        self.stream = _standard_error() if stream is None else stream
        self.live, self.lines = self.stream.isatty(), lines
        self._printed = 0.0

    def say(self, text):
        """Prints a line."""
        if self.lines:
            self._printed = time.monotonic()
            self._write(f"\r\x1b[K{text}\n" if self.live else f"{text}\n")

    def count(self, text, due):
        """Shows the state of a count.

        Args:
            text: str to show.
            due: whether to print a line outside a terminal in any case, and not only
                if the last one is some seconds old.
        """
        now = time.monotonic()
        if self.live:
            self._write(f"\r\x1b[K{fitted(text, self.stream)}")
        elif self.lines and (due or now - self._printed >= _INTERVAL):
            self._printed = now
            self._write(f"{text}\n")

    def clear(self):
        """Removes the line of a finished count from a terminal."""
        if self.live:
            self._write("\r\x1b[K")

    def _write(self, text):
        self.stream.write(text)
        self.stream.flush()


def _standard_error():
    """Standard error; if it is file descriptor 2, a duplicate of it."""
    stream = sys.stderr
    try:
        if stream.fileno() == 2:
            return os.fdopen(os.dup(2), "w", encoding=stream.encoding, errors="replace")
    except (OSError, ValueError, AttributeError):
        pass  # a stream without a file descriptor
    return stream


@contextlib.contextmanager
def shown(reporter):
    """Context in which progress is reported to a `Reporter`, or to none if None."""
    token = _REPORTER.set(reporter)
    try:
        yield
    finally:
        _REPORTER.reset(token)


def is_shown() -> bool:
    """Whether progress is reported."""
    return _REPORTER.get() is not None


def say(text: str) -> None:
    """Reports an operation that begins, such as `"Loading net.keras ..."`."""
    if reporter := _REPORTER.get():
        reporter.say(text)


def tracked(items, what):
    """Yields the items and reports their count and the time left.

    Args:
        items: iterable of finite length.
        what: text that describes the operation, or a function from an item to it.
    """
    items = list(items)
    count = Count(len(items))
    try:
        for done, item in enumerate(items):
            # If there are few items, each may take long.
            due = not done or len(items) <= _FEW
            count.show(done, what(item) if callable(what) else what, due)
            yield item
    finally:
        count.end()


class Count:
    """Reports which of a number of items begins, and the time left.

    Args:
        total: number of items; None if it is unknown.
    """

    def __init__(self, total):
        self.total = total
        self.started = None  # items that were done when counting began, and the time
        self.reporter = _REPORTER.get()

    def show(self, done, text, due=False):
        """Shows the state.

        Args:
            done: number of finished items.
            text: str that describes the operation.
            due: as in `Reporter.count`.
        """
        if self.reporter is None:
            return
        state = f"{done + 1}"
        if self.total is not None:
            state += f" of {self.total}"
        # The first item may take longer than the others, such as for compiling.
        if done and self.started is None:
            self.started = done, time.monotonic()
        first, begun = self.started or (done, 0)
        if self.total is not None and done > first:
            left = (time.monotonic() - begun) / (done - first) * (self.total - done)
            state += f", {clock(left)} left"
        self.reporter.count(f"{text} ({state}) ...", due)

    def end(self):
        """Removes the line from a terminal."""
        if self.reporter is not None:
            self.reporter.clear()


def fitted(text, stream):
    """Cuts a text to the width of a terminal: a longer line could not be rewritten."""
    return text[: columns(stream) - 1]


def columns(stream):
    """Number of columns of the terminal that a stream writes to."""
    try:
        found = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError, AttributeError):
        found = 0
    return found or shutil.get_terminal_size().columns


def clock(seconds):
    """Seconds as text, such as `2:05` or `1:00:00`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
