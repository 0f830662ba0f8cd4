"""All criteria by name. To add one, add a line here: flags and commands read it.

Pure Python, so that a command can list them before anything else is imported.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Criterion:
    """How scores are obtained under a name.

    Attributes:
        module: of `resprune_tf.criteria`, that has a function of this name.
        takes: what the function is called with: `"model"` if it is the criterion
            itself; `"seed"`, `"examples"` or `"labels"` (examples and their labels, and
            a `loss`) if it returns the criterion.
        options: names of further arguments that it takes, of those of `make`.
        compared: whether it is among those that are compared where none are named: not
            the opposite of another one, nor one that trains.
    """

    module: str
    takes: str
    options: tuple[str, ...] = ()
    compared: bool = True

    @property
    def on_examples(self) -> bool:
        """Whether it looks at examples."""
        return self.takes in ("examples", "labels")


CRITERIA = {
    "importance": Criterion("by_name", takes="model"),
    "random": Criterion("by_name", takes="seed"),
    "largest": Criterion("by_name", takes="model", compared=False),
    "output_norm": Criterion("sensitivity", takes="examples"),
    "block_influence": Criterion("similarity", takes="examples"),
    "cka": Criterion("similarity", takes="examples"),
    "taylor": Criterion("sensitivity", takes="labels"),
    "leave_one_out": Criterion("sensitivity", takes="labels"),
    "l1_importance": Criterion(
        "sparsity",
        takes="labels",
        options=("seed", "learning_rate"),
        compared=False,
    ),
}
# What to do, on the command line, where a criterion cannot score a model.
ANOTHER = " Choose another criterion, such as block_influence."
NAMES = tuple(CRITERIA)
COMPARED = tuple(name for name, each in CRITERIA.items() if each.compared)
ON_EXAMPLES = tuple(name for name, each in CRITERIA.items() if each.on_examples)
LABELLED = tuple(name for name, each in CRITERIA.items() if each.takes == "labels")


def make(
    name: str,
    images: Any = None,
    labels: Any = None,
    loss: Any = None,
    batch_size: int = 128,
    recalibrate: bool = False,
    seed: int = 0,
    learning_rate: float | None = None,
) -> Callable:
    """The criterion of a name, a function from a model to `{unit name: score}`.

    Args:
        name: one of `NAMES`.
        images: examples, for those that look at them.
        labels, loss: for those that look at labels, too.
        batch_size: examples a step.
        recalibrate: whether BatchNormalization statistics are estimated anew first.
        seed: int, for those that have one.
        learning_rate: for those that train; None for their own.

    Raises:
        ValueError: for an unknown name, or arguments that a criterion refuses.
    """
    check_name(name)
    kind = CRITERIA[name]
    module = importlib.import_module(f"resprune_tf.criteria.{kind.module}")
    function = getattr(module, name)
    if kind.takes == "model":
        return function
    if kind.takes == "seed":
        return function(seed)
    given, options = [images], {"batch_size": batch_size, "recalibrate": recalibrate}
    if kind.takes == "labels":
        given.append(labels)
        options["loss"] = loss
    further = {"seed": seed, "learning_rate": learning_rate}
    for option in kind.options:
        if further[option] is not None:
            options[option] = further[option]
    return function(*given, **options)


def check_name(name):
    """Raises a ValueError unless there is a criterion of this name."""
    if name not in CRITERIA:
        raise ValueError(
            f"There is no criterion {name!r}. The criteria: {', '.join(NAMES)}."
        )
