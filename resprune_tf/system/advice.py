"""Advice in messages: arguments for Python users, options for the command line.

The code that raises an error states both. Commands run inside `for_commands`, so that
every message, raised, wrapped or printed, names options.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

_FOR_COMMANDS = contextvars.ContextVar("for_commands", default=False)


def advice(code: str, command: str = "") -> str:
    """The part of a message that states what to do.

    Args:
        code: the advice for Python users, with punctuation.
        command: the advice for the command line; empty if there is no option.
    """
    return command if _FOR_COMMANDS.get() else code


@contextlib.contextmanager
def for_commands() -> Iterator[None]:
    """Context in which `advice` returns the text for the command line."""
    token = _FOR_COMMANDS.set(True)
    try:
        yield
    finally:
        _FOR_COMMANDS.reset(token)
