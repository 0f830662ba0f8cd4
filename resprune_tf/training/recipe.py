"""How a net is trained: epochs, batches, optimizer, schedule and precision."""

import dataclasses
import math

from resprune_tf.training.optimizers import L2SGD
from resprune_tf.training.precision import PRECISIONS

# Where the paper divides the learning rate for CIFAR: from epoch 81 and 122 of 200 on.
_DROPS = (81 / 200, 122 / 200)

SCHEDULES = ("step", "cosine", "linear")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a net is trained. The defaults are the paper's for CIFAR.

    Args:
        epochs: passes over the training images.
        batch_size: images a step; what remains of an epoch's last step is left out,
            other images each epoch.
        learning_rate: of the first epoch.
        momentum, nesterov: of SGD.
        l2: weight decay, on every weight (see `L2SGD`).
        schedule: how the learning rate falls from epoch to epoch: `"step"` (ten times
            smaller at each milestone, as in the paper), `"cosine"` (half a cosine to
            0; Loshchilov and Hutter, arXiv:1608.03983) or `"linear"` (a line to 0; Li
            et al., Budgeted Training, arXiv:1905.04753). The last two suit short
            trainings.
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

    def __post_init__(self):
        for name, valid, expected in (
            ("epochs", self.epochs >= 1, ">= 1"),
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

    def replace(self, **changes):
        """The same recipe but for `changes`, its milestones scaled to its epochs."""
        if self.milestones != self._scaled() and self.schedule == "step":
            drops = tuple(milestone / self.epochs for milestone in self.milestones)
            changes = {"drops": drops, **changes}
        return dataclasses.replace(self, **{"milestones": None, **changes})

    def learning_rate_at(self, epoch):
        """Learning rate of an epoch, counted from 0."""
        done = epoch / self.epochs
        if self.schedule == "cosine":
            return self.learning_rate * (1 + math.cos(math.pi * done)) / 2
        if self.schedule == "linear":
            return self.learning_rate * (1 - done)
        passed = sum(epoch + 1 >= milestone for milestone in self.milestones)
        return self.learning_rate * 0.1**passed

    def optimizer(self):
        """A fresh optimizer at the initial learning rate."""
        return L2SGD(
            self.learning_rate,
            l2=self.l2,
            momentum=self.momentum,
            nesterov=self.nesterov and self.momentum > 0,
        )


def _one_of(names):
    return f"one of {', '.join(names)}"
