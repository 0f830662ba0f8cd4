"""One check of arguments that are counts."""

import numbers


def check_counts(least: int = 1, **counts: object) -> None:
    """Raises a ValueError if a named argument is not an integer, or is below `least`.

    >>> check_counts(batch_size=32, runs=3)
    >>> check_counts(0, epochs=0)
    """
    for name, value in counts.items():
        if not (isinstance(value, numbers.Integral) and value >= least):
            raise ValueError(
                f"`{name}` must be an integer >= {least}. Received: {name}={value!r}."
            )
