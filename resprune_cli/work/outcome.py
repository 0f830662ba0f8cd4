"""The result of a pruning command, with or without retraining."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a pruning command, with or without retraining.

    Attributes:
        model: the pruned model, or None if no model is to be written.
        removed: names of the removed units.
        before, after: dicts from the name of a measure, such as `"test accuracy"`, to
            its value for the given model and for the pruned model.
        failure: message that says why the request was not met; None if it was met.
        notes: dict of further JSON values for the summary.
    """

    model: Any
    removed: tuple[str, ...]
    before: dict[str, float]
    after: dict[str, float]
    failure: str | None = None
    notes: dict = dataclasses.field(default_factory=dict)
