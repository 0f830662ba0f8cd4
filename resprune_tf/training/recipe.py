"""Recipes for training: epochs, batches, optimizer, schedule and precision."""

from __future__ import annotations

import abc
import dataclasses
import types
from typing import Any, ClassVar

import keras
import numpy as np

from resprune_tf.data.dataset import Dataset, Split
from resprune_tf.data.examples import bounds
from resprune_tf.graph.outputs import probabilities
from resprune_tf.system.counts import check_counts
from resprune_tf.system.precision import check_precision
from resprune_tf.training.divergence import reason
from resprune_tf.training.schedules import PER_STEP, SCHEDULES
from resprune_tf.training.trainer import Trainer, check_batches


@dataclasses.dataclass(frozen=True)
class Checked:
    """Result of the check of a recipe.

    Attributes:
        mode: `"min"` or `"max"`, the better direction of the monitored value.
        settings: settings, besides those of the recipe, that must agree to resume a
            run, as JSON values.
    """

    mode: str
    settings: dict


class TrainingRecipe(abc.ABC):
    """Interface of the recipes of `prune_and_retrain`.

    Attributes:
        epochs: maximum number of epochs of a training.
        parts: number of parts of an epoch, each of which is an epoch for Keras.
        data_type: class of the data that it trains on.
    """

    data_type: ClassVar[type]

    def check_data(self, data):
        """Raises a TypeError unless the data are of class `data_type`."""
        if not isinstance(data, self.data_type):
            kinds = {"FitData": "FitRecipe", "Dataset": "Recipe"}
            right = kinds.get(type(data).__name__)
            fix = (
                f"Pass `rp.{right}(epochs=10)` instead."
                if right
                else "Pass `rp.FitData(...)` of the data, with an `rp.FitRecipe`."
            )
            raise TypeError(
                "FitData needs a FitRecipe, and a Dataset needs a Recipe. Received: "
                f"a {type(self).__name__} for {type(data).__name__}. {fix}"
            )

    @abc.abstractmethod
    def check(self, model, data, retrain_recipe, removal, strategy):
        """Checks a whole run before any work.

        Args:
            model: the initial functional `keras.Model` of the run.
            data: an instance of `data_type`.
            retrain_recipe: the recipe of each retraining, of the same class.
            removal: a `Removal`.
            strategy: a `Strategy`.

        Returns:
            `Checked`.

        Raises:
            ValueError: if they do not fit together.
        """

    @abc.abstractmethod
    def settings(self) -> dict:
        """Returns the settings that must agree to resume a run, as JSON values."""

    @abc.abstractmethod
    def trainer(self, net, data, seed, *, template, teacher, guidance, strategy):
        """Creates the object that trains and measures a model.

        Args:
            net: functional model, not compiled; it receives the trained values.
            data: an instance of `data_type`.
            seed: int, seed of the order of examples and of their augmentation.
            template: the initial model of the run, compiled or not.
            teacher: a teacher model, or None.
            guidance: a `Guidance`, or None.
            strategy: a `Strategy`.

        Returns:
            An object with `model`, whose state is saved;
            `fit(initial_epoch, callbacks)`, which trains to the end of the recipe;
            `measures()`, which returns a dict from the name of a split to a dict from
            measure to value; and, after these calls, `recalibrated` and `correct` as in
            `Round`.
        """

    def examples_judged(self, data, split):
        """Returns how many examples of a split are evaluated; None if unknown."""
        return data.sizes[split]

    def loss(self, model):
        """Returns the loss of the training: its name, or `model.loss`."""
        return "sparse_categorical_crossentropy"

    def for_trained(self, model):
        """Returns the recipe for retraining a trained model; by default itself."""
        return self

    def finish(self, net, template):
        """Returns the model that the user receives; by default `net` itself."""
        return net

    def divergence_reason(self, data) -> str:
        """Returns a sentence on why a training may have diverged."""
        return reason(None)


@keras.saving.register_keras_serializable(package="resprune_tf")
class L2SGD(keras.optimizers.SGD):
    """SGD on the loss plus `l2 / 2 * ||w||²`, without computing that term.

    `keras.optimizers.SGD(weight_decay=...)` instead shrinks the weights outside the
    momentum, which with momentum 0.9 is about ten times weaker.

    Args:
        l2: float >= 0. `l2 * w` is added to the gradient of every trainable weight,
            including ω, BatchNormalization and biases, as in the paper's framework.
        `**kwargs`: as for `keras.optimizers.SGD`.
    """

    def __init__(self, learning_rate=0.1, l2=0.0, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.l2 = float(l2)

    def update_step(self, gradient, variable, learning_rate):
        if self.l2:
            decay = keras.ops.cast(self.l2 * variable, gradient.dtype)
            gradient = keras.ops.add(gradient, decay)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        return {**super().get_config(), "l2": self.l2}


@keras.saving.register_keras_serializable(package="resprune_tf")
class StepSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A Keras learning rate schedule of one of the names in `PER_STEP`.

    Args:
        schedule: name of the schedule.
        learning_rate: float, the highest learning rate.
        steps: int, steps of the whole training.
    """

    def __init__(self, schedule, learning_rate, steps):
        self.schedule, self.steps = schedule, int(steps)
        self.learning_rate = float(learning_rate)
        whole = types.SimpleNamespace(epochs=1)  # the whole training as one epoch
        # Evaluated in the middle of each step, so that no step has a rate of 0.
        factors = [
            SCHEDULES[schedule](whole, (step + 0.5) / self.steps)
            for step in range(self.steps)
        ]
        self._rates = self.learning_rate * np.array(factors, "float32")

    def __call__(self, step):
        # Steps beyond the end have the last rate.
        place = keras.ops.minimum(keras.ops.cast(step, "int32"), self.steps - 1)
        return keras.ops.take(keras.ops.convert_to_tensor(self._rates), place)

    def get_config(self):
        return {
            "schedule": self.schedule,
            "learning_rate": self.learning_rate,
            "steps": self.steps,
        }


# In the paper the learning rate for CIFAR decreases at epochs 81 and 122 of 200.
_DROPS = (81 / 200, 122 / 200)


@dataclasses.dataclass(frozen=True)
class Recipe(TrainingRecipe):
    """How a model is trained on a `Dataset`. The defaults are the paper's for CIFAR.

    Args:
        epochs: int >= 0, passes over the training images; 0 measures a model as it is.
        batch_size: int, images per step. Images that do not fill a step are left out,
            different ones in each epoch.
        learning_rate: float > 0, the initial learning rate or, with a warm-up, the
            highest.
        momentum, nesterov: arguments of SGD.
        l2: float >= 0, L2 penalty: `l2 * w` is added to the gradient of every weight.
        schedule: schedule of the learning rate: `"step"`, as in the paper; `"cosine"`
            or `"linear"`, for short trainings; `"warmup_linear"`, for models that are
            trained already; or `"constant"`.
        drops: for `"step"`: the default of `milestones`, as fractions of `epochs`; a
            milestone is epoch 2 at the earliest.
        milestones: for `"step"`: epochs, counted from 1, at which the learning rate is
            divided by 10.
        parts: int, number of parts of an epoch. The state can be saved after each part,
            for epochs that take hours. Steps beyond a multiple of `parts` are left out.
        precision: `"float32"`, or `"bfloat16"` for mixed precision in training. The
            trained model has the precision of the given one.

    Raises:
        ValueError: if a value is out of range.

    >>> recipe = Recipe(epochs=60, schedule="cosine")
    """

    epochs: int = 200
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    l2: float = 1e-4
    schedule: str = "step"
    drops: tuple[float, ...] = _DROPS
    milestones: tuple[int, ...] | None = None
    parts: int = 1
    precision: str = "float32"
    data_type: ClassVar[type] = Dataset

    def __post_init__(self):
        check_counts(0, epochs=self.epochs)
        check_counts(batch_size=self.batch_size, parts=self.parts)
        check_precision(self.precision)
        for name, valid, expected in (
            ("learning_rate", self.learning_rate > 0, "> 0"),
            ("momentum", 0 <= self.momentum < 1, "in [0, 1)"),
            ("l2", self.l2 >= 0, ">= 0"),
            (
                "schedule",
                self.schedule in SCHEDULES,
                f"one of {', '.join(SCHEDULES)}",
            ),
            ("drops", all(0 <= drop <= 1 for drop in self.drops), "fractions"),
            (
                "milestones",
                self.schedule == "step" or not self.milestones,
                f"left out with the {self.schedule} schedule",
            ),
        ):
            if not valid:
                raise ValueError(
                    f"`{name}` must be {expected}. Received: {getattr(self, name)!r}."
                )
        if self.milestones is None:
            object.__setattr__(self, "milestones", self._scaled())

    def _scaled(self):
        """The milestones that follow from `drops`."""
        drops = self.drops if self.schedule == "step" else ()
        # Even a very short training starts at the initial learning rate.
        return tuple(max(2, round(self.epochs * drop)) for drop in drops)

    def replace(self, **changes: Any) -> Recipe:
        """Returns a changed copy, with milestones scaled to its number of epochs."""
        if self.epochs and self.milestones != self._scaled():
            # A milestone beyond the end has no effect, in longer trainings either.
            within = [each for each in self.milestones if each <= self.epochs]
            drops = tuple(each / self.epochs for each in within)
            changes = {"drops": drops, **changes}
        return dataclasses.replace(self, **{"milestones": None, **changes})

    def learning_rate_at(self, epoch: int) -> float:
        """Returns the learning rate of an epoch, counted from 0."""
        return self.learning_rate * SCHEDULES[self.schedule](self, epoch)

    def optimizer(self, steps: int | None = None) -> keras.optimizers.Optimizer:
        """Returns a new optimizer at the initial learning rate.

        Args:
            steps: steps of the whole training, for schedules that change per step.
        """
        by_steps = steps and self.schedule in PER_STEP
        rate = float(self.learning_rate)  # Keras rejects integers
        return L2SGD(
            StepSchedule(self.schedule, rate, steps) if by_steps else rate,
            l2=self.l2,
            momentum=self.momentum,
            nesterov=self.nesterov and self.momentum > 0,
        )

    def settings(self) -> dict:
        return dataclasses.asdict(self)

    def check(
        self,
        model: keras.Model,
        data: Any,
        retrain_recipe: TrainingRecipe,
        removal: Any,
        strategy: Any,
    ) -> Checked:
        if removal.monitor != "accuracy" or removal.mode not in (None, "max"):
            raise ValueError(
                "A run on a Dataset is judged by its accuracy; use FitData for another "
                "metric. Received: "
                f"monitor={removal.monitor!r}, mode={removal.mode!r}."
            )
        if half := _in_float16(model):
            raise ValueError(
                f"Layers of '{model.name}' compute in float16 ({half}), which needs a "
                "scaled loss; a Recipe does not scale it. Build the model in float32 "
                'and pass `Recipe(precision="bfloat16")`, or use FitData with a '
                "FitRecipe."
            )
        if last := probabilities(model):
            raise ValueError(
                f"'{model.name}' ends in '{last}', which outputs probabilities. For a "
                "Dataset it must output logits: leave the activation out. With FitData "
                "and a FitRecipe any output is possible that your loss accepts."
            )
        classes = model.outputs[0].shape[-1]
        if classes is not None and data.num_classes > classes:
            raise ValueError(
                f"'{model.name}' has outputs for {classes} classes. Received: a "
                f"Dataset of {data.num_classes}. The model needs at least as many."
            )
        # The result of casting floats from 0 to 1. All 0 is allowed, for tests.
        if isinstance(data.train, Split) and bounds(data.train.images)[1] == 1:
            raise ValueError(
                "The training images contain nothing but 0 and 1, but pixels are from "
                "0 to 255: multiply by 255 before casting to uint8."
            )
        for each in (self, retrain_recipe):
            check_batches(data.train, each, strategy.replicas)
        return Checked("max", {})

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
    ) -> Trainer:
        return Trainer(
            net, data, self, seed, teacher=teacher, guidance=guidance, strategy=strategy
        )


def _in_float16(model):
    """Name of a policy of a layer that computes in float16; None without one."""
    # These have a policy too, but compute nothing.
    without = keras.Model, keras.layers.InputLayer
    policies = [
        layer.dtype_policy
        for layer in model._flatten_layers()
        if not isinstance(layer, without)
    ]
    return next((p.name for p in policies if p.compute_dtype == "float16"), None)
