"""How a net is trained by `fit` on one's own terms."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import ClassVar

import keras

# What `FitData`, the recipe itself or the run says.
_DECIDED = {
    "self": "",
    "x": "FitData",
    "y": "FitData",
    "sample_weight": "FitData",
    "batch_size": "FitData(batch_size=...)",
    "validation_data": "FitData(validation=...)",
    "validation_split": "FitData(validation=...)",
    "validation_batch_size": "FitData(batch_size=...)",
    "epochs": "FitRecipe(epochs=...)",
    "initial_epoch": "the run",
    "callbacks": "FitRecipe(callbacks=...)",
    "verbose": "prune_and_retrain(verbose=...)",
}


@dataclasses.dataclass(frozen=True)
class FitRecipe:
    """How a net is trained by `fit`, beside `FitData`.

    Loss, metrics and optimizer are those that the model was compiled with, a fresh
    optimizer at the initial learning rate in every round.

    Args:
        epochs: most epochs of a training; a callback such as `EarlyStopping` may end
            it before.
        compile_fn: function that compiles a model, for compile settings that Keras
            cannot repeat: a lambda as loss, `exclude_from_weight_decay`. It makes a
            new optimizer each time.
        callbacks: function without arguments that returns a list of fresh Keras
            callbacks. It is called for every training, because callbacks keep state:
            a `ModelCheckpoint` would compare the shorter net with the best epoch of
            the longer one.
        fit_options: further arguments of `fit`, such as
            `{"class_weight": {0: 1.0, 1: 5.0}}`. By `validation_steps` rounds are
            judged, too: by the first so many batches of the validation data.

    Raises:
        ValueError: if `epochs` < 1, or an option is none of `fit` or not free.
        TypeError: if a function is expected and something else is given.

    >>> recipe = FitRecipe(epochs=30, callbacks=lambda: [
    ...     keras.callbacks.ReduceLROnPlateau(patience=3)])
    """

    epochs: int
    compile_fn: Callable | None = None
    callbacks: Callable | None = None
    fit_options: Mapping = dataclasses.field(default_factory=dict)
    parts: ClassVar[int] = 1  # an epoch is never divided, as `Recipe`'s may be

    def __post_init__(self):
        if self.epochs < 1:
            raise ValueError(f"`epochs` must be >= 1. Received: {self.epochs!r}.")
        for name in ("compile_fn", "callbacks"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise TypeError(
                    f"`{name}` must be a function, such as "
                    f"{_EXAMPLES[name]}, as every training needs "
                    f"its own. Received: {type(value).__name__}."
                )
        options = inspect.signature(keras.Model.fit).parameters
        for name in self.fit_options:
            if name in _DECIDED:
                raise ValueError(
                    f"`fit_options` cannot set `{name}`: {_DECIDED[name]} says it."
                )
            if name not in options:
                free = ", ".join(sorted({*options}.difference(_DECIDED)))
                raise ValueError(f"`fit` has no option {name!r}. Free ones: {free}.")

    def replace(self, **changes):
        """The same recipe but for `changes`."""
        return dataclasses.replace(self, **changes)

    @property
    def validation_steps(self):
        """Batches of the validation data that are measured; None for all."""
        return self.fit_options.get("validation_steps")

    def make_callbacks(self):
        """Fresh callbacks for one training."""
        return list(self.callbacks()) if self.callbacks else []

    def check_callbacks(self):
        """Raises a ValueError as the function `check_callbacks` does."""
        check_callbacks(self.make_callbacks)

    def settings(self):
        """What must agree for a run to be continued, as JSON values."""
        options = {name: repr(value) for name, value in self.fit_options.items()}
        return {"epochs": self.epochs, "fit_options": options}


def check_callbacks(make, name="callbacks"):
    """Raises a ValueError for callbacks that carry one net's state to another.

    That is, if the same objects are returned again, or a `BackupAndRestore`: its file
    of weights would be read into a shorter net, by position and without a word.

    Args:
        make: function without arguments that returns a list of Keras callbacks.
        name: of the argument that it was given as, for the messages.
    """
    first, second = make(), make()
    for callback in first:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ValueError(
                f"`{name}` must not hold a BackupAndRestore, which could restore one "
                "net's weights in another. Leave it out: `prune_and_retrain` with "
                "`run_dir` continues by itself where it was stopped."
            )
        if any(callback is other for other in second):
            raise ValueError(
                f"`{name}` must make new callbacks each time. It returned the same "
                f"{type(callback).__name__} twice, which would compare a shorter net "
                "with what it remembers of the one before."
            )


_EXAMPLES = {
    "compile_fn": '`lambda model: model.compile("sgd", loss)`',
    "callbacks": "`lambda: [keras.callbacks.EarlyStopping()]`",
}
