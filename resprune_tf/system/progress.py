"""What long work is doing, for whoever waits. In Python nothing is shown by default.

Library functions report by `say` and `tracked`; the command line shows it, by `shown`.
Pure Python, so that a command can report before anything else is imported.
"""

import contextlib
import contextvars
import os
import shutil
import sys
import time

_REPORTER = contextvars.ContextVar("reporter", default=None)
_EVERY = 5  # seconds between two lines of a long count, where there is no terminal
_FEW = 10  # items, each of which gets a line


class Reporter:
    """Lines on a stream: a count is rewritten in place on a terminal.

    Elsewhere every line is a plain one, and a long count has one every few seconds.

    Args:
        stream: by default standard error, even while file descriptor 2 is redirected.
        lines: whether `say` prints, and a count where there is no terminal.
    """

    def __init__(self, stream=None, lines=True):
        self.stream = _standard_error() if stream is None else stream
        self.live, self.lines = self.stream.isatty(), lines
        self._printed = 0.0

    def say(self, text):
        """Prints a line."""
        if self.lines:
            self._write(f"\r\x1b[K{text}\n" if self.live else f"{text}\n")

    def count(self, text, due):
        """Shows where a count stands: in a plain line if one is `due` by now."""
        now = time.monotonic()
        if self.live:
            self._write(f"\r\x1b[K{fitted(text, self.stream)}")
        elif self.lines and (due or now - self._printed >= _EVERY):
            self._printed = now
            self._write(f"{text}\n")

    def clear(self):
        """Takes a count away that is done."""
        if self.live:
            self._write("\r\x1b[K")

    def _write(self, text):
        self.stream.write(text)
        self.stream.flush()


def _standard_error():
    stream = sys.stderr
    try:
        if stream.fileno() == 2:
            return os.fdopen(os.dup(2), "w", encoding=stream.encoding, errors="replace")
    except (OSError, ValueError, AttributeError):
        pass  # a stream that is no file
    return stream


@contextlib.contextmanager
def shown(reporter):
    """Inside, work is reported to a `Reporter`."""
    token = _REPORTER.set(reporter)
    try:
        yield
    finally:
        _REPORTER.reset(token)


def is_shown() -> bool:
    """Whether somebody watches."""
    return _REPORTER.get() is not None


def say(text: str) -> None:
    """Reports what begins now, such as `"Loading net.keras ..."`."""
    if reporter := _REPORTER.get():
        reporter.say(text)


def tracked(items, what):
    """The items, one after the other, while their count and the time left are shown.

    Args:
        items: sequence.
        what: what is done, or a function that returns it for an item.
    """
    items, reporter = list(items), _REPORTER.get()
    if reporter is None:
        yield from items
        return
    begun = time.monotonic()
    try:
        for done, item in enumerate(items):
            text = what(item) if callable(what) else what
            left = (time.monotonic() - begun) / max(done, 1) * (len(items) - done)
            told = f", {clock(left)} left" if done else ""
            # One of few items may take long, and is announced when it begins.
            due = not done or len(items) <= _FEW
            reporter.count(f"{text} ({done + 1} of {len(items)}{told}) ...", due)
            yield item
    finally:
        reporter.clear()


def fitted(text, stream):
    """A text cut to the width of a terminal, beyond which it could not be rewritten."""
    return text[: columns(stream) - 1]


def columns(stream):
    """Columns of the terminal that a stream writes to."""
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
