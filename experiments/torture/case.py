"""The outcome of one case of the campaign."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        kind: kind of the campaign, such as "damage".
        name: what was done.
        outcome: the outcome in words.
        right: whether it is the required outcome.
        kills: number of killed processes.
    """

    kind: str
    name: str
    outcome: str
    right: bool
    kills: int = 0


def same(kind, name, difference, kills=0):
    """The case of a command that must give the result of an undisturbed command."""
    outcome = difference or "same result as undisturbed"
    return Case(kind, name, outcome, difference is None, kills)


def refused(kind, name, ended, *mentions):
    """The case of a command that must fail with one error message.

    Args:
        mentions: texts that the message must contain.
    """
    fault = ended.fault()
    missing = [text for text in mentions if str(text) not in ended.output]
    if fault is None and missing:
        fault = f"does not mention {', '.join(map(str, missing))}: {ended.error}"
    return Case(kind, name, fault or f"refused: {ended.error}", fault is None)
