"""How a net is trained by `fit` on one's own terms."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import keras

from resprune_tf.data.fit_data import FitData
from resprune_tf.system.precision import PRECISIONS
from resprune_tf.training.divergence import reason
from resprune_tf.training.fit_check import check_fit
from resprune_tf.training.fit_training import FitTrainer, compile_as, initial_rate
from resprune_tf.training.recipe import Checked, TrainingRecipe
from resprune_tf.training.schedules import PER_STEP, SCHEDULES

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
            it before. 0 to measure a model as it is.
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
        learning_rate: of the optimizer, at the beginning or, with a warm-up, after it.
            By default that which the model was compiled with, or, where a run begins
            with a trained model, what suits its optimizer (see `trained_rate`): the
            rate that a file was compiled with was for random weights, and would undo
            the training.
        schedule: how the learning rate changes in a training: `"constant"`, or a name
            of `schedules.SCHEDULES` but `"step"`. By default constant or, where a run
            begins with a trained model, `"warmup_linear"`.
        precision: `"float32"` trains the layers as they are. `"bfloat16"` trains a
            copy whose float32 layers compute in bfloat16 (see `fast_copy`), which is
            several times faster where `native_precision` returns it. Weights are
            float32 in either case, and models are measured and saved in float32.

    Raises:
        ValueError: if `epochs` < 0, an option is none of `fit` or not free, the rate
            is no positive number, or its schedule or the precision is not known.
        TypeError: if a function is expected and something else is given.

    >>> recipe = FitRecipe(epochs=30, callbacks=lambda: [
    ...     keras.callbacks.ReduceLROnPlateau(patience=3)])
    """

    epochs: int
    compile_fn: Callable | None = None
    callbacks: Callable | None = None
    fit_options: Mapping = dataclasses.field(default_factory=dict)
    learning_rate: float | None = None
    schedule: str | None = None
    precision: str = "float32"
    parts: ClassVar[int] = 1  # an epoch is never divided, as `Recipe`'s may be
    data_type: ClassVar[type] = FitData

    def __post_init__(self):
        if self.epochs < 0:
            raise ValueError(f"`epochs` must be >= 0. Received: {self.epochs!r}.")
        self._check_rate()
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

    def _check_rate(self):
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ValueError(
                f"`learning_rate` must be > 0. Received: {self.learning_rate!r}."
            )
        known = [name for name in SCHEDULES if name != "step"]
        if self.schedule is not None and self.schedule not in known:
            raise ValueError(
                f"`schedule` must be one of {', '.join(known)}. "
                f"Received: {self.schedule!r}."
            )
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"`precision` must be one of {', '.join(PRECISIONS)}. "
                f"Received: {self.precision!r}."
            )
        if self.compile_fn is not None and (self.learning_rate or self.schedule):
            raise ValueError(
                "`compile_fn` makes the optimizer, and its learning rate with it. "
                "Leave out `learning_rate` and `schedule`, or `compile_fn`."
            )

    def loss(self, model: keras.Model) -> Any:
        return model.loss if self.compile_fn is None else None

    def for_trained(self, model: keras.Model) -> FitRecipe:
        """The recipe with the rate and the schedule that suit a trained model.

        Args:
            model: compiled `keras.Model`.

        Returns:
            A `FitRecipe`; this one if it leaves nothing open, or cannot say more than
            its `compile_fn`.
        """
        if self.compile_fn is not None:
            return self
        return self.replace(
            learning_rate=self.learning_rate or trained_rate(model.optimizer),
            schedule=self.schedule or "warmup_linear",
        )

    def _check_callbacks_of_rate(self):
        """Raises a ValueError if callbacks would set the rate that a schedule sets."""
        if self.schedule in (None, "constant"):
            return
        for callback in self.make_callbacks():
            if isinstance(callback, _OF_RATE):
                raise ValueError(
                    f"`callbacks` make a {type(callback).__name__}, and the schedule "
                    f'"{self.schedule}" sets the learning rate, too. Give '
                    '`FitRecipe(schedule="constant")`, or leave the callback out.'
                )

    def steps(self, data: FitData) -> int | None:
        """Steps of a whole training; None where only the pipeline knows."""
        steps = self.fit_options.get("steps_per_epoch") or data.splits["train"].batches
        return steps * self.epochs if steps and steps > 0 else None

    def replace(self, **changes: Any) -> FitRecipe:
        """The same recipe but for `changes`."""
        return dataclasses.replace(self, **changes)

    @property
    def validation_steps(self):
        """Batches of the validation data that are measured; None for all."""
        return self.fit_options.get("validation_steps")

    def examples_judged(self, data: FitData, split: str) -> int | None:
        size, steps = data.sizes[split], self.validation_steps
        if steps is None or size is None:
            return size
        batches = data.splits[split].batch_sizes()
        return min(size, steps * max(batches)) if batches else None

    def make_callbacks(self) -> list:
        """Fresh callbacks for one training."""
        return list(self.callbacks()) if self.callbacks else []

    def check_callbacks(self) -> None:
        """Raises a ValueError as the function `check_callbacks` does."""
        check_callbacks(self.make_callbacks)

    def settings(self) -> dict:
        """What must agree for a run to be continued, as JSON values."""
        options = {name: repr(value) for name, value in self.fit_options.items()}
        rate = {"learning_rate": self.learning_rate, "schedule": self.schedule}
        reduced = self.precision != "float32"
        return {
            "epochs": self.epochs,
            **{name: value for name, value in rate.items() if value is not None},
            **({"precision": self.precision} if reduced else {}),
            "fit_options": options,
        }

    def check(
        self,
        model: keras.Model,
        data: Any,
        retrain_recipe: TrainingRecipe,
        removal: Any,
        strategy: Any,
    ) -> Checked:
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
        for each in (self, retrain_recipe):
            each._check_callbacks_of_rate()
            if each.learning_rate is None and each.schedule not in (None, "constant"):
                initial_rate(model.optimizer)
            if each.schedule in PER_STEP and each.steps(data) is None:
                raise ValueError(
                    f'`schedule="{each.schedule}"` changes the rate in every step, and '
                    "how many batches `train` has is not known. Give `fit_options="
                    '{"steps_per_epoch": ...}`, or `schedule="linear"`.'
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

    def trainer(
        self,
        net: keras.Model,
        data: Any,
        seed: int,
        *,
        template: keras.Model,
        teacher: keras.Model | None,
        guidance: Any,
        strategy: Any,
    ) -> FitTrainer:
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

    def finish(self, net: keras.Model, template: keras.Model) -> keras.Model:
        """The net, compiled as the user's model was."""
        return compile_as(net, template, self.compile_fn)

    def divergence_reason(self, data: Any) -> str:
        return reason(data.splits["train"], self.fit_options.get("steps_per_epoch"))


# Callbacks that set the learning rate.
_OF_RATE = (
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ReduceLROnPlateau,
)
# Of optimizers that scale every step by the gradients that they saw.
_ADAPTIVE_RATE = 5e-4
_SGD_RATE = 0.02


def trained_rate(optimizer) -> float:
    """The learning rate at which what is left of a trained model is retrained.

    Args:
        optimizer: a Keras optimizer; that of a loss scaling one counts.

    Returns:
        0.02 for SGD, 0.0005 for all others.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    return _SGD_RATE if isinstance(optimizer, keras.optimizers.SGD) else _ADAPTIVE_RATE


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
