"""Advice in messages: what Python does by an argument, a command does by an option.

Whoever raises an error states both. A command reads every message inside
`for_commands`, whether the message is raised, wrapped into another one or printed.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

_FOR_COMMANDS = contextvars.ContextVar("for_commands", default=False)


def advice(code: str, command: str = "") -> str:
    """What to do about a message, in the reader's terms.

    Args:
        code: the advice in terms of Python, with the punctuation around it.
        command: the same in terms of the command line; empty where it has no option.
    """
    return command if _FOR_COMMANDS.get() else code


@contextlib.contextmanager
def for_commands() -> Iterator[None]:
    """Inside, `advice` speaks to users of the command line."""
    token = _FOR_COMMANDS.set(True)
    try:
        yield
    finally:
        _FOR_COMMANDS.reset(token)
