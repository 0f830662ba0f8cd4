"""A recipe for training by `fit` with the user's own loss, metrics and data."""

from __future__ import annotations

import dataclasses
import inspect
import numbers
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import keras

from resprune_tf.data.fit_data import FitData
from resprune_tf.graph.compilation import inner_optimizer
from resprune_tf.system.counts import check_counts
from resprune_tf.system.precision import check_precision
from resprune_tf.training.divergence import reason
from resprune_tf.training.fit_check import check_compiled, check_fit
from resprune_tf.training.fit_training import (
    FitTrainer,
    compile_as,
    initial_rate,
)
from resprune_tf.training.recipe import Checked, TrainingRecipe
from resprune_tf.training.schedules import PER_STEP, WITHOUT_MILESTONES

# Arguments of `fit` that are set elsewhere, and where.
_SET_BY = {
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
_EXAMPLES = {
    "compile_fn": '`lambda model: model.compile("sgd", loss)`',
    "callbacks": "`lambda: [keras.callbacks.EarlyStopping()]`",
}


@dataclasses.dataclass(frozen=True)
class FitRecipe(TrainingRecipe):
    """How a model is trained by `fit` on `FitData`.

    Loss, metrics and optimizer are those that the model was compiled with. Every round
    starts with a new optimizer at the initial learning rate.

    Args:
        epochs: int >= 0, maximum epochs of a training; a callback such as
            `EarlyStopping` may stop it earlier. 0 measures a model as it is.
        compile_fn: function that compiles a model, for compile settings that Keras
            cannot repeat: a lambda as loss, `exclude_from_weight_decay`. It must create
            a new optimizer each time.
        callbacks: function without arguments that returns a list of new Keras
            callbacks. It is called for every training, because callbacks keep state: a
            `ModelCheckpoint` would compare a pruned model with the best epoch of an
            earlier one.
        fit_options: dict of further arguments of `fit`, such as
            `{"class_weight": {0: 1.0, 1: 5.0}}`. `validation_steps` also limits the
            validation batches by which rounds are judged.
        learning_rate: float > 0, the initial learning rate or, with a warm-up, the
            highest. Defaults to that of the compiled optimizer. If a run starts from a
            trained model, it defaults to 0.02 for SGD and 0.0005 for all other
            optimizers: the rate in the file was for random weights and would undo the
            training.
        schedule: schedule of the learning rate in a training: `"constant"`, `"cosine"`,
            `"linear"` or `"warmup_linear"`. Defaults to constant, or to
            `"warmup_linear"` if a run starts from a trained model.
        precision: `"float32"` trains the layers as they are. `"bfloat16"` trains a copy
            whose float32 layers compute in bfloat16, which is several times faster on
            hardware for which `native_precision` returns it. In both cases weights are
            float32, and models are evaluated and saved in float32.

    Raises:
        ValueError: if `epochs` < 0, an option is not one of `fit` or is set elsewhere,
            the learning rate is not positive, or schedule or precision is unknown.
        TypeError: if `compile_fn` or `callbacks` is not a function.

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
    parts: ClassVar[int] = 1  # unlike those of `Recipe`, epochs are never divided
    data_type: ClassVar[type] = FitData

    def __post_init__(self):
        check_counts(0, epochs=self.epochs)
        self._check_choices()
        for name in ("compile_fn", "callbacks"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise TypeError(
                    f"`{name}` must be a function, such as {_EXAMPLES[name]}, because "
                    "it is called for every training. "
                    f"Received: {type(value).__name__}."
                )
        options = {*inspect.signature(keras.Model.fit).parameters} - {"self"}
        for name in self.fit_options:
            if name in _SET_BY:
                raise ValueError(
                    f"`fit_options` cannot set `{name}`. It is set by {_SET_BY[name]}."
                )
            if name not in options:
                free = ", ".join(sorted(options.difference(_SET_BY)))
                raise ValueError(
                    f"`fit` has no argument {name!r}. `fit_options` may set: {free}."
                )

    def _check_choices(self):
        """Checks learning rate, schedule and precision."""
        rate = self.learning_rate
        if rate is not None and not (isinstance(rate, numbers.Real) and rate > 0):
            raise ValueError(
                f"`learning_rate` must be a number > 0. Received: {rate!r}. For a "
                "schedule, pass `schedule`."
            )
        if self.schedule not in (None, *WITHOUT_MILESTONES):
            raise ValueError(
                f"`schedule` must be one of {', '.join(WITHOUT_MILESTONES)}. "
                f"Received: {self.schedule!r}."
            )
        check_precision(self.precision)
        if self.compile_fn is not None and (self.learning_rate or self.schedule):
            raise ValueError(
                "`compile_fn` creates the optimizer and sets its learning rate. Leave "
                "out `learning_rate` and `schedule`, or `compile_fn`."
            )

    def loss(self, model: keras.Model) -> Any:
        return model.loss if self.compile_fn is None else None

    def for_trained(self, model: keras.Model) -> FitRecipe:
        """Returns the recipe with the defaults for a model that is trained already.

        Args:
            model: a compiled `keras.Model`.

        Returns:
            A `FitRecipe` with learning rate and schedule; this one if it has a
            `compile_fn`, which sets both.

        Raises:
            ValueError: if the model is not compiled and there is no `compile_fn`.
        """
        if self.compile_fn is not None:
            return self
        check_compiled(model)
        if not _has_rate(model.optimizer) and not (self.learning_rate or self.schedule):
            return self
        return self.replace(
            learning_rate=self.learning_rate or trained_rate(model.optimizer),
            schedule=self.schedule or "warmup_linear",
        )

    def _check_rate_callbacks(self):
        """Raises a ValueError if callbacks would set the rate that a schedule sets."""
        if self.schedule in (None, "constant"):
            return
        for callback in self.make_callbacks():
            if isinstance(callback, _RATE_CALLBACKS):
                raise ValueError(
                    f"`callbacks` makes a {type(callback).__name__}, but the schedule "
                    f'"{self.schedule}" sets the learning rate too. Pass '
                    '`FitRecipe(schedule="constant")`, or leave the callback out.'
                )

    def steps(self, data: FitData) -> int | None:
        """Returns the steps of a whole training; None if a pipeline has no length."""
        steps = self.fit_options.get("steps_per_epoch") or data.splits["train"].batches
        return steps * self.epochs if steps and steps > 0 else None

    def replace(self, **changes: Any) -> FitRecipe:
        """Returns a copy with some arguments changed."""
        return dataclasses.replace(self, **changes)

    @property
    def validation_steps(self):
        """Number of validation batches that are evaluated; None for all."""
        return self.fit_options.get("validation_steps")

    def examples_judged(self, data: FitData, split: str) -> int | None:
        size, steps = data.sizes[split], self.validation_steps
        if split != "validation" or steps is None or size is None:
            return size
        batches = data.splits[split].batch_sizes()
        return min(size, steps * max(batches)) if batches else None

    def make_callbacks(self) -> list:
        """Returns new callbacks for one training."""
        return list(self.callbacks()) if self.callbacks else []

    def check_callbacks(self) -> None:
        """Raises a ValueError if callbacks would carry state to another model."""
        check_callbacks(self.make_callbacks)

    def settings(self) -> dict:
        """Returns the settings that must agree to resume a run, as JSON values."""
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
                "`rp.add_importance(model)`, a copy with one on each unit, or pass a "
                "`criterion` that needs none, such as `rp.criteria.random(0)`."
            )
        if retrain_recipe.validation_steps != self.validation_steps:
            raise ValueError(
                "Both recipes must evaluate the same validation batches. "
                f"Received: validation_steps={self.validation_steps} in `recipe`, "
                f"{retrain_recipe.validation_steps} in `retrain_recipe`."
            )
        for each in (self, retrain_recipe):
            if each.compile_fn is None:
                check_compiled(model)
            each._check_rate_callbacks()
            rated = each.learning_rate or each.schedule not in (None, "constant")
            if rated and each.compile_fn is None and not _has_rate(model.optimizer):
                raise ValueError(
                    f"The {type(model.optimizer).__name__} of '{model.name}' has no "
                    "single learning rate, so `learning_rate` and `schedule` cannot "
                    "change it. Pass `FitRecipe(compile_fn=...)`, a function that "
                    "compiles a model, instead."
                )
            if each.learning_rate is None and each.schedule not in (None, "constant"):
                initial_rate(model.optimizer)  # raises if it is a schedule already
            if each.schedule in PER_STEP and each.steps(data) is None:
                raise ValueError(
                    f'`schedule="{each.schedule}"` changes the rate in every step, but '
                    "the number of batches of `train` is unknown. Pass "
                    '`fit_options={"steps_per_epoch": N}`, where N is that number, or '
                    '`schedule="linear"`.'
                )
        monitored = removal.monitor, removal.mode, removal.select_on
        recipes = (
            [self] if _tried_alike(self, retrain_recipe) else [self, retrain_recipe]
        )
        tried = [check_fit(model, data, each, *monitored) for each in recipes]
        first, last = tried[0], tried[-1]
        if first.mode != last.mode:
            raise ValueError(
                f"The two recipes disagree on whether '{removal.monitor}' is better "
                f'when larger ("max") or smaller ("min"). Received: {first.mode!r} and '
                f"{last.mode!r}. Pass `Removal(mode=...)`."
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
        """Returns the model, compiled like the user's model."""
        return compile_as(net, template, self.compile_fn)

    def divergence_reason(self, data: Any) -> str:
        return reason(data.splits["train"], self.fit_options.get("steps_per_epoch"))


# Callbacks that set the learning rate.
_RATE_CALLBACKS = (
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ReduceLROnPlateau,
)
# For optimizers that scale their steps by past gradients, such as Adam.
_ADAPTIVE_RATE = 5e-4
_SGD_RATE = 0.02


def _has_rate(optimizer):
    """Whether a learning rate can be set; not if an optimizer holds several."""
    if optimizer is None:
        return True  # refused elsewhere
    return "learning_rate" in inner_optimizer(optimizer).get_config()


def trained_rate(optimizer) -> float:
    """The default learning rate for retraining a pruned model.

    Args:
        optimizer: a Keras optimizer, perhaps inside a `LossScaleOptimizer`.

    Returns:
        0.02 for SGD, 0.0005 for all others.
    """
    optimizer = inner_optimizer(optimizer)
    return _SGD_RATE if isinstance(optimizer, keras.optimizers.SGD) else _ADAPTIVE_RATE


def _tried_alike(first, second):
    """Whether two recipes agree in everything that the trial of a model uses."""
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
            "FitData can be trained on one machine only, because several workers would "
            "need their own parts of a pipeline. Received: a strategy with "
            f"{strategy.workers} workers. Use the mirrored strategy, or a Dataset."
        )
    for name, split in data.splits.items():
        sizes = split.batch_sizes()
        if any(size % strategy.replicas for size in sizes):
            raise ValueError(
                f"A batch is divided among {strategy.replicas} replicas, so the size "
                "of every batch, including the last one, must be a multiple of that "
                f"number. Received: batches of {' and '.join(map(str, sizes))} "
                f"examples in `{name}`. Change `batch_size`, or leave some examples "
                "out."
            )


def check_callbacks(make, name="callbacks"):
    """Raises a ValueError for callbacks that carry state from one model to another.

    Such callbacks are those that are returned more than once, and `BackupAndRestore`,
    which would silently load the weights of one model into another, by position. A
    TypeError is raised if the function does not return a list.

    Args:
        make: function without arguments that returns a list of Keras callbacks.
        name: name of the argument, for the messages.
    """
    first, second = make(), make()
    if not isinstance(first, (list, tuple)):
        raise TypeError(
            f"`{name}` must return a list of callbacks. Received: {first!r}."
        )
    for callback in first:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ValueError(
                f"`{name}` must not contain a BackupAndRestore, which could restore "
                "the weights of another model. Leave it out: `prune_and_retrain` with "
                "a run directory resumes by itself."
            )
        if any(callback is other for other in second):
            raise ValueError(
                f"`{name}` must make new callbacks each time. It returned the same "
                f"{type(callback).__name__} twice, which would judge a pruned model by "
                "state of the previous model. Create it inside the function."
            )
