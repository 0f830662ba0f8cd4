"""What one case of the campaign found."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        kind: of the campaign, such as "damage".
        name: what was done.
        outcome: what came of it, in words.
        right: whether that is what must come of it.
        kills: processes that were killed.
    """

    kind: str
    name: str
    outcome: str
    right: bool
    kills: int = 0


def same(kind, name, difference, kills=0):
    """The case of a command that must lead to what the unbroken one led to."""
    outcome = difference or "same result as undisturbed"
    return Case(kind, name, outcome, difference is None, kills)


def refused(kind, name, ended, *mentions):
    """The case of a command that must fail with one sentence.

    Args:
        mentions: what the sentence must hold.
    """
    fault = ended.fault()
    missing = [text for text in mentions if str(text) not in ended.output]
    if fault is None and missing:
        fault = f"does not mention {', '.join(map(str, missing))}: {ended.error}"
    return Case(kind, name, fault or f"refused: {ended.error}", fault is None)
