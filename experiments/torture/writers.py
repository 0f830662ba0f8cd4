"""Starts each command twice: one must be refused, or both must be right."""

import concurrent.futures
import time

from experiments.torture import process
from experiments.torture.case import Case, same
from experiments.torture.subject import difference

_APART = (0.0, 1.0, 4.0)  # seconds


def cases(subject, rng, folder):
    """Starts each command twice at almost the same time.

    Yields:
        `Case`.
    """
    for name, (command, expected) in subject.commands.items():
        for apart in _APART:
            place = folder / f"{name}-{apart}"
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                first = pool.submit(process.run, command(place))
                time.sleep(apart)
                second = pool.submit(process.run, command(place))
            both = first.result(), second.result()
            yield _judged(f"{name}, {apart:g} s apart", both, place, expected)


def _judged(name, both, place, expected):
    wrong = [fault for each in both if each.code and (fault := each.fault())]
    if wrong or all(each.code for each in both):
        errors = wrong or [each.error for each in both]
        return Case(name, "; ".join(errors), False)
    return same(name, difference(place, expected))
