"""How a net is trained by `fit` on one's own terms."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import ClassVar

import keras

from resprune_tf.data.fit_data import FitData
from resprune_tf.training.divergence import reason
from resprune_tf.training.fit_check import check_fit
from resprune_tf.training.fit_training import FitTrainer, compile_as
from resprune_tf.training.recipe import Checked, TrainingRecipe

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
    "verbose": "RunOptions(verbose=...)",
}


@dataclasses.dataclass(frozen=True)
class FitRecipe(TrainingRecipe):
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
    data_type: ClassVar[type] = FitData

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

    def check(self, model, data, retrain_recipe, removal, *, guidance, strategy):
        _check_strategy(data, strategy)
        if removal.removes and removal.by_importance and not removal.criterion(model):
            raise ValueError(
                f"'{model.name}' has no importance ω by which to remove units. Compile "
                "`rp.add_importance(model)`, a copy with one on each unit, or give a "
                "`criterion` that needs none, such as `rp.criteria.random(0)`."
            )
        if retrain_recipe.validation_steps != self.validation_steps:
            raise ValueError(
                "Rounds are compared, so both recipes must measure the same batches. "
                f"Received: validation_steps={self.validation_steps} in `recipe`, "
                f"{retrain_recipe.validation_steps} in `retrain_recipe`."
            )
        watched = removal.monitor, removal.mode, removal.select_on
        recipes = (
            [self] if _tried_alike(self, retrain_recipe) else [self, retrain_recipe]
        )
        tried = [check_fit(model, data, each, *watched) for each in recipes]
        first, last = tried[0], tried[-1]
        if first.mode != last.mode:
            raise ValueError(
                f"The two recipes disagree on which way '{removal.monitor}' is better."
            )
        settings = {
            "compiled": first.compiled,
            "retrain_compiled": last.compiled,
            "monitor": removal.monitor,
            "mode": first.mode,
        }
        return Checked(first.mode, settings)

    def trainer(self, net, data, seed, *, template, teacher, guidance, strategy):
        return FitTrainer(
            net,
            data,
            self,
            seed,
            template,
            teacher=teacher,
            guidance=guidance,
            strategy=strategy,
        )

    def finish(self, net, template):
        """The net, compiled as the user's model was."""
        return compile_as(net, template, self.compile_fn)

    def divergence_reason(self, data):
        return reason(data.splits["train"], self.fit_options.get("steps_per_epoch"))


def _tried_alike(first, second):
    """Whether two recipes differ in nothing that the trial of a model looks at."""
    return first is second or (
        type(first) is type(second) is FitRecipe
        and first.compile_fn is second.compile_fn
        and first.callbacks is second.callbacks
        and (
            first.fit_options is second.fit_options
            or not (first.fit_options or second.fit_options)
        )
    )


def _check_strategy(data, strategy):
    """Raises a ValueError unless a strategy's replicas can share the batches."""
    if strategy.workers > 1:
        raise ValueError(
            "FitData are trained on the devices of one machine: several workers would "
            "each need their own part of a pipeline. Use the mirrored strategy, or a "
            "Dataset."
        )
    for name, split in data.splits.items():
        sizes = split.batch_sizes()
        if any(size % strategy.replicas for size in sizes):
            raise ValueError(
                f"A batch is shared among {strategy.replicas} replicas, so its size "
                "must be a multiple of that, also of the last one. Received: batches "
                f"of {' and '.join(map(str, sizes))} examples in `{name}`. Change "
                "`batch_size`, or leave some examples out."
            )


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
                "net's weights in another. Leave it out: `prune_and_retrain` in a "
                "directory continues by itself where it was stopped."
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
