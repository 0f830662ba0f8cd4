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
# Seconds between the lines of a long count outside a terminal, and seconds until the
# count of a part is shown.
_INTERVAL = 5
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
        self.printed = 0  # number of lines
        self.current = ""  # text of the count that a terminal shows
        self._last = 0.0

    def say(self, text):
        """Prints a line."""
        if self.lines:
            self._note_line()
            self.current = ""
            self._write(f"\r\x1b[K{text}\n" if self.live else f"{text}\n")

    def count(self, text, due):
        """Shows the state of a count.

        Args:
            text: str to show.
            due: whether to print a line outside a terminal in any case, and not only
                if the last one is some seconds old.
        """
        if self.live:
            self.current = text
            self._write(f"\r\x1b[K{fitted(text, self.stream)}")
        elif self.lines and (due or time.monotonic() - self._last >= _INTERVAL):
            self._note_line()
            self._write(f"{text}\n")

    def clear(self, text=""):
        """Removes the line of a finished count from a terminal.

        Args:
            text: the line of an operation that the finished one was part of. It is
                shown again.
        """
        if self.live:
            self.count(text, due=False)

    def _note_line(self):
        self.printed += 1
        self._last = time.monotonic()

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


def tracked(items, what, even=True):
    """Yields the items and reports their count and the time left.

    Args:
        items: iterable of finite length.
        what: text that describes the operation, or a function from an item to it.
        even: whether all items take about the same time. Otherwise no time left is
            shown.
    """
    items = list(items)
    few = len(items) <= _FEW  # then each may take long
    yield from _counted(items, what, Count(len(items), even), few, first=True)


def tracked_part(items, what, total=None, even=True):
    """Yields the items of a loop that is a part of an operation, and reports them.

    Nothing is shown in the first seconds, so a short loop reports nothing, however
    often it runs.

    Args:
        items: iterable; it is not stored.
        what: as for `tracked`. It must be clear on its own, as the line of the whole
            operation is not shown together with it.
        total: number of items, if `items` has no length; None if it is unknown.
        even: as for `tracked`.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    yield from _counted(items, what, Count(total, even, delay=_INTERVAL))


def _counted(items, what, count, each=False, first=False):
    try:
        for done, item in enumerate(items):
            text = what(item) if callable(what) else what
            count.show(done, text, due=each or (first and not done))
            yield item
    finally:
        count.end()


class Count:
    """Reports which of a number of items begins, and the time left.

    Args:
        total: number of items; None if it is unknown.
        even: whether all items take about the same time. Otherwise no time left is
            shown.
        delay: seconds in which nothing is shown.
    """

    def __init__(self, total, even=True, delay=0):
        self.total, self.even = total, even
        self.started = None  # items that were done when counting began, and the time
        self.reporter = _REPORTER.get()
        self._from = time.monotonic() + delay
        self._shown = False
        if self.reporter is not None:
            self._whole = self.reporter.current  # this may be a part of it
            self._printed = self.reporter.printed

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
        if self.even and self.total is not None and done > first:
            left = (time.monotonic() - begun) / (done - first) * (self.total - done)
            state += f", {clock(left)} left"
        if time.monotonic() < self._from:
            return
        # If a part of the last item was reported, its line does not name this item.
        due = due or self.reporter.printed > self._printed
        self.reporter.count(f"{text} ({state}) ...", due)
        self._shown, self._printed = True, self.reporter.printed

    def end(self):
        """Removes the line from a terminal, or restores that of the whole operation."""
        if self._shown:
            self.reporter.clear(self._whole)


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
