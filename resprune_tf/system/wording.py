"""Wording of counts, of errors and of a warning. Imports nothing."""

# Share of the cores that other processes use, from which on a latency is doubtful.
_BUSY = 0.2


def counted(number, noun: str) -> str:
    """A number and its noun, in the plural unless the number is 1.

    >>> counted(1, "round"), counted(1234, "image")
    ('1 round', '1,234 images')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def in_words(error: Exception) -> str:
    """The message of an error as a sentence, with its kind if that says more."""
    if isinstance(error, (TypeError, ValueError)):
        return str(error)
    return f"{type(error).__name__}: {error}."


def first_line(error: Exception) -> str:
    """The first line of an error's message; the name of its type if that is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def busy_note(*loads: float | None) -> str | None:
    """Returns a warning if latencies were measured on a busy machine, else None.

    Everything that prints a latency must print this warning too.

    Args:
        *loads: `Latency.load` of the latencies, fractions of the processor cores; None
            if unknown.
    """
    load = max((load for load in loads if load is not None), default=0.0)
    if load < _BUSY:
        return None
    return (
        f"The machine was busy: other processes used {load:.0%} of its processor cores "
        "while latency was measured. Ratios of models that were timed in turns are "
        "less affected than milliseconds. Measure again on an idle machine."
    )
