"""All criteria by name. To add one, add a line to `CRITERIA`; commands use it.

This module imports neither Keras nor NumPy, so that a command can list criteria fast.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Criterion:
    """Where the function of a criterion is, and which arguments it takes.

    Attributes:
        module: module of `resprune_tf.criteria` with a function of this name.
        takes: what the function is called with:

            - `"model"`: `f(model)`; it is the criterion itself. The others return it.
            - `"seed"`: `f(seed)`.
            - `"examples"`: `f(images, batch_size=..., recalibrate=...)`. The images
              have any dtype that the model takes, such as uint8 pixels.
            - `"labels"`: `f(images, labels, batch_size=..., recalibrate=...,
              loss=...)`.
        options: names of further arguments of `make` that it takes.
        compared: whether `compare_scores` includes it by default. Criteria that are
            the opposite of another one, or that train, are not included.
    """

    module: str
    takes: str
    options: tuple[str, ...] = ()
    compared: bool = True

    @property
    def on_examples(self) -> bool:
        """Whether the criterion uses examples."""
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
# Advice of the command line if a criterion cannot score a model.
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
    """Creates a criterion by its name, from images of your own.

    Args:
        name: one of `criteria.NAMES`.
        images: arrays `(images, ...)`, for criteria in `criteria.ON_EXAMPLES`.
        labels, loss: for criteria in `criteria.LABELLED`; see `taylor`.
        batch_size: int, images per step.
        recalibrate: if True, BatchNormalization statistics are re-estimated from
            `images` before scoring.
        seed: int, for `random` and `l1_importance`.
        learning_rate: for criteria that train; None for their own.

    Returns:
        A criterion: a function from a model to `{unit name: score}`.

    Raises:
        ValueError: if `name` is unknown, or an argument is not valid for the criterion.

    >>> criterion = make("cka", images)
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
