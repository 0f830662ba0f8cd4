"""The outcome of one case of the campaign."""

import dataclasses

SAME = "same result as undisturbed"


@dataclasses.dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        name: what was done.
        outcome: the outcome in words.
        right: whether it is the required outcome.
        kills: number of killed processes.
    """

    name: str
    outcome: str
    right: bool
    kills: int = 0


def same(name, difference, kills=0):
    """The case of a command that must give the result of an undisturbed command.

    Args:
        name: name of the case.
        difference: result of `subject.difference`.
        kills: number of killed processes.
    """
    return Case(name, difference or SAME, difference is None, kills)


def refused(name, ended, mention):
    """The case of a command that must fail with one error message.

    Args:
        name: name of the case.
        ended: the `process.Ended` of the command.
        mention: text that the output must contain.
    """
    fault = ended.fault()
    if fault is None and mention not in ended.output:
        fault = f"does not mention {mention}: {ended.error}"
    return Case(name, fault or f"refused: {ended.error}", fault is None)
