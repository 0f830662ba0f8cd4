"""Numbers in sentences. Pure Python."""


def counted(number, noun: str) -> str:
    """A number and its noun, in the plural unless there is one.

    >>> counted(1, "round"), counted(1234, "image")
    ('1 round', '1,234 images')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


# Share of the cores, used by other processes, from which on a latency is doubtful.
_BUSY = 0.2


def busy_note(*loads: float | None) -> str | None:
    """What to say beside a latency that was measured on a busy machine; else None.

    Whatever prints a latency prints this, too.

    Args:
        *loads: `Latency.load` of the latencies.
    """
    load = max((load for load in loads if load is not None), default=0.0)
    if load < _BUSY:
        return None
    return (
        f"The machine was busy: other processes used {load:.0%} of its processor cores "
        "while latency was measured. Ratios of models that were timed in turns are "
        "less affected than milliseconds. Measure again on an idle machine."
    )
