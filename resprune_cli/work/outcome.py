"""What came of a pruning."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a pruning.

    Attributes:
        model: the shorter model, or None if there is none to hand over.
        removed: names of the units it lost.
        before, after: dicts from a measure's name, such as `"test accuracy"`, to its
            value for the model given and for the shorter one.
        failure: why this is not what was asked for; None if it is.
        notes: dict of what else a summary should keep, as JSON values.
    """

    model: Any
    removed: tuple[str, ...]
    before: dict[str, float]
    after: dict[str, float]
    failure: str | None = None
    notes: dict = dataclasses.field(default_factory=dict)
