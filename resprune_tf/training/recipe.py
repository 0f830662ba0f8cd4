"""How a net is trained: epochs, batches, optimizer, schedule and precision."""

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
from resprune_tf.system.precision import PRECISIONS
from resprune_tf.training.divergence import reason
from resprune_tf.training.schedules import PER_STEP, SCHEDULES
from resprune_tf.training.trainer import Trainer, check_batches


@dataclasses.dataclass(frozen=True)
class Checked:
    """What the check of a recipe told.

    Attributes:
        mode: which way the monitored value is better, `"min"` or `"max"`.
        settings: what must agree for a run to be continued beside the `settings` of
            the recipe, as JSON values.
    """

    mode: str
    settings: dict


class TrainingRecipe(abc.ABC):
    """What `prune_and_retrain` asks of a recipe: its checks, settings and trainer.

    Attributes:
        epochs: most epochs of a training.
        parts: of an epoch, each of which is one to Keras.
        data_type: class of the data that it trains on.
    """

    data_type: ClassVar[type]

    def check_data(self, data):
        """Raises a TypeError for data of another kind."""
        if not isinstance(data, self.data_type):
            kinds = {"FitData": "FitRecipe", "Dataset": "Recipe"}
            right = kinds.get(type(data).__name__)
            fix = (
                f"Give `rp.{right}(epochs=10)` instead."
                if right
                else "Make a `FitData` of the data for a FitRecipe."
            )
            raise TypeError(
                "FitData are trained by a FitRecipe, a Dataset by a Recipe. Received: "
                f"a {type(self).__name__} for {type(data).__name__}. {fix}"
            )

    @abc.abstractmethod
    def check(self, model, data, retrain_recipe, removal, strategy):
        """Checks a whole run before any work.

        Args:
            model: the functional `keras.Model` that the run begins with.
            data: as `data_type` says.
            retrain_recipe: the recipe of the same kind of each retraining.
            removal: a `Removal`.
            strategy: a `Strategy`.

        Returns:
            `Checked`.

        Raises:
            ValueError: if they do not belong together.
        """

    @abc.abstractmethod
    def settings(self) -> dict:
        """What must agree for a run to be continued, as JSON values."""

    @abc.abstractmethod
    def trainer(self, net, data, seed, *, template, teacher, guidance, strategy):
        """What trains a net and measures it.

        Args:
            net: functional model, not compiled; it holds the trained values at the end.
            data: as `data_type` says.
            seed: int; of the order of examples and of their augmentation.
            template: the model that the run began with, compiled or not.
            teacher: a model that teaches, or None.
            guidance: how much, a `Guidance`, or None.
            strategy: a `Strategy`.

        Returns:
            An object with `model`, whose state is saved; `fit(epochs_done, callbacks)`,
            which trains to the end of the recipe; `measures()`, a dict from the name of
            a split to a dict from measure to value; and after these `recalibrated` and
            `correct`, as in `Round`.
        """

    def examples_judged(self, data, split):
        """How many examples of a split are measured; None if that is unknown."""
        return data.sizes[split]

    def loss(self, model):
        """The loss that a model is trained by: its name, or as Keras keeps it."""
        return "sparse_categorical_crossentropy"

    def for_trained(self, model):
        """The recipe to retrain what is left of a trained model; itself by default."""
        return self

    def finish(self, net, template):
        """The model that the user receives; by default `net` itself."""
        return net

    def divergence_reason(self, data) -> str:
        """What may have made a training diverge, in words."""
        return reason(None)


@keras.saving.register_keras_serializable(package="resprune_tf")
class L2SGD(keras.optimizers.SGD):
    """SGD on the loss plus `l2 / 2 * ||w||²`, without forming that loss term.

    `keras.optimizers.SGD(weight_decay=...)` shrinks the weights beside the momentum
    instead, which with momentum 0.9 decays about ten times less.

    Args:
        l2: float >= 0. `l2 * w` is added to the gradient of every trainable weight:
            ω, BatchNormalization and biases included, as the paper's framework does.
        **kwargs: as for `keras.optimizers.SGD`.
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
    """A schedule of `PER_STEP` as Keras calls it: a function of the step.

    Args:
        schedule: its name.
        learning_rate: float, the highest.
        steps: int, of the whole training.
    """

    def __init__(self, schedule, learning_rate, steps):
        self.schedule, self.steps = schedule, int(steps)
        self.learning_rate = float(learning_rate)
        whole = types.SimpleNamespace(epochs=1)
        # In the middle of each step: a rate that begins or ends at 0 is 0 in none.
        factors = [
            SCHEDULES[schedule](whole, (step + 0.5) / self.steps)
            for step in range(self.steps)
        ]
        self._rates = self.learning_rate * np.array(factors, "float32")

    def __call__(self, step):
        # A training that goes on beyond its end keeps the last rate.
        place = keras.ops.minimum(keras.ops.cast(step, "int32"), self.steps - 1)
        return keras.ops.take(keras.ops.convert_to_tensor(self._rates), place)

    def get_config(self):
        return {
            "schedule": self.schedule,
            "learning_rate": self.learning_rate,
            "steps": self.steps,
        }


# Where the paper divides the learning rate for CIFAR: from epoch 81 and 122 of 200 on.
_DROPS = (81 / 200, 122 / 200)


@dataclasses.dataclass(frozen=True)
class Recipe(TrainingRecipe):
    """How a net is trained. The defaults are the paper's for CIFAR.

    Args:
        epochs: passes over the training images; 0 to measure a model as it is.
        batch_size: images a step; what remains of an epoch's last step is left out,
            other images each epoch.
        learning_rate: of the first epoch.
        momentum, nesterov: of SGD.
        l2: weight decay, on every weight (see `L2SGD`).
        schedule: how the learning rate changes, a name of `schedules.SCHEDULES`:
            `"step"`, as in the paper, `"cosine"` or `"linear"`, which suit short
            trainings, `"warmup_linear"`, which suits models that are trained already,
            or `"constant"`.
        drops: for `"step"`: the fractions of `epochs` that `milestones` default to,
            but not before epoch 2.
        milestones: for `"step"`: epochs, counted from 1, from which on the learning
            rate is ten times smaller.
        parts: parts into which an epoch is divided, after each of which the state can
            be saved: for epochs that take hours. What does not divide is left out.
        precision: `"float32"` or `"bfloat16"` (see `fast_copy`), of the training
            only: the trained model stays what it was.

    Raises:
        ValueError: if a value is out of range.
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
        for name, valid, expected in (
            ("epochs", self.epochs >= 0, ">= 0"),
            ("batch_size", self.batch_size >= 1, ">= 1"),
            ("parts", self.parts >= 1, ">= 1"),
            ("learning_rate", self.learning_rate > 0, "> 0"),
            ("momentum", 0 <= self.momentum < 1, "in [0, 1)"),
            ("l2", self.l2 >= 0, ">= 0"),
            ("schedule", self.schedule in SCHEDULES, _one_of(SCHEDULES)),
            ("precision", self.precision in PRECISIONS, _one_of(PRECISIONS)),
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
        """The milestones that `drops` come to."""
        drops = self.drops if self.schedule == "step" else ()
        # However short a training, it begins at the initial learning rate.
        return tuple(max(2, round(self.epochs * drop)) for drop in drops)

    def replace(self, **changes: Any) -> Recipe:
        """The same recipe but for `changes`, its milestones scaled to its epochs."""
        if self.epochs and self.milestones != self._scaled():
            drops = tuple(milestone / self.epochs for milestone in self.milestones)
            changes = {"drops": drops, **changes}
        return dataclasses.replace(self, **{"milestones": None, **changes})

    def learning_rate_at(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0."""
        return self.learning_rate * SCHEDULES[self.schedule](self, epoch)

    def optimizer(self, steps: int | None = None) -> keras.optimizers.Optimizer:
        """A fresh optimizer at the initial learning rate.

        Args:
            steps: of the whole training, for a schedule that goes by steps.
        """
        by_steps = steps and self.schedule in PER_STEP
        rate = self.learning_rate
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
                "A Dataset is judged by its accuracy; FitData by any metric. Received: "
                f"monitor={removal.monitor!r}, mode={removal.mode!r}."
            )
        if last := probabilities(model):
            raise ValueError(
                f"'{model.name}' ends in '{last}', which gives probabilities. For a "
                "Dataset it must give logits: leave the activation out. With FitData "
                "and a FitRecipe it may give anything that your loss understands."
            )
        classes = model.outputs[0].shape[-1]
        if classes is not None and data.num_classes > classes:
            raise ValueError(
                f"'{model.name}' has outputs for {classes} classes. Received: a "
                f"Dataset of {data.num_classes}."
            )
        # As floats from 0 to 1 become if they are cast; all black may be a test's.
        if isinstance(data.train, Split) and bounds(data.train.images)[1] == 1:
            raise ValueError(
                "The training images hold nothing but 0 and 1, and pixels are from 0 "
                "to 255: multiply by 255 before a cast to uint8."
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


def _one_of(names):
    return f"one of {', '.join(names)}"
