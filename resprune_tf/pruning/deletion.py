"""The deletion of Algorithm 1 as a Keras callback: score, select, rebuild, copy."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from resprune_tf import criteria
from resprune_tf.pruning.options import ALL, Removal
from resprune_tf.pruning.plan import Plan
from resprune_tf.runs.callbacks import TrainingDiverged
from resprune_tf.runs.judging import AUTO, direction
from resprune_tf.runs.records import Round, model_name
from resprune_tf.targets.measures import target_measures
from resprune_tf.targets.target import COUNTED, Target
from resprune_tf.training.divergence import broken, fit_reason
from resprune_tf.units.finding import find_units
from resprune_tf.units.importances import importances
from resprune_tf.units.removal import remove_units


class LayerDeletion(keras.callbacks.Callback):
    """Trains a model for a while, then hands over a shorter one.

    A compiled model cannot lose layers while `fit` runs. So after `epochs` the
    callback decides which units go and stops the training; when `fit` ends it builds
    the shorter model as `pruned_model`, not compiled. Continue on that one, or let
    `fit_with_deletion` do so. `pruned_model` is a plain `keras.Model`: it has no
    `train_step` of a class of one's own, and loses nothing else.

    Args:
        epochs: int; epochs of training before each deletion.
        units_per_round: int; units to remove at a time, or `"all"` as for `Removal`.
        target: `Target` at which no more is removed. By default all units that may
            go are removed, in as many rounds as that takes.
        monitor: name of a logged value that may not get worse than after the first
            round, such as `"val_accuracy"`; None to remove without a guard.
        mode: `"max"` or `"min"`: which way `monitor` is better; by default what the
            Keras metric says.
        tolerance: how much worse `monitor` may get.
        criterion: function from a model to `{unit name: score}`; the smallest go.
        protected: names of units that must stay, or patterns of names.

    Attributes:
        plan: the `Plan` by which it decides, once there is a model.
        rounds: a `Round` for each training that came to its end.
        pruned_model: what to train next; None when nothing more is to be removed.
        removed: names of the units taken out of it.
        accepted: whether the last training did not diverge, and its monitored value was
            good enough.
        measures: what the net just trained measures of all that `target` limits, a
            latency beside the initial net; None without a target.
        stop_reason: why nothing more is removed, or None.

    Raises (out of `fit`):
        ValueError: if `fit` trains no epoch, the model has no unit to remove, a score
            is no finite number or of no unit, or `monitor` is not logged or its
            direction not known. Scores that fail after a training end the removal with
            a warning instead.
        CloneError: if a layer cannot be cloned; before any training.
        TypeError: if the model is not functional, or scores are no dict before any
            training.
        TrainingDiverged: if the loss or the weights of the first training become NaN
            or infinite. A later one ends the removal with a warning instead.

    >>> deletion = LayerDeletion(epochs=60, monitor="val_accuracy")
    >>> model.fit(images, labels, epochs=60, validation_split=0.1,
    ...           callbacks=[deletion])
    >>> shorter = deletion.pruned_model
    """

    def __init__(
        self,
        epochs: float,
        units_per_round: int | str = 1,
        target: Target | None = None,
        monitor: str | None = None,
        mode: str | None = None,
        tolerance: float = 0.0,
        criterion: Callable = criteria.importance,
        protected: Sequence[str] = (),
    ):
        super().__init__()
        if epochs < 1 or (units_per_round != ALL and units_per_round < 1):
            raise ValueError(
                "`epochs` and `units_per_round` must be >= 1. "
                f"Received: epochs={epochs}, units_per_round={units_per_round}."
            )
        if tolerance == AUTO:
            raise ValueError(
                '`tolerance="auto"` is for `prune_and_retrain`: a callback does not '
                "know the number of examples. Give a number; one standard error of an "
                "accuracy p on n examples is `(p * (1 - p) / n) ** 0.5`."
            )
        self.epochs = epochs
        self.removal = Removal(
            target=target,
            units_per_round=units_per_round,
            criterion=criterion,
            protected=protected,
            monitor=monitor,
            mode=mode,
            tolerance=tolerance,
            stop_on_drop=monitor is not None,
        )
        self.plan = None  # known once there is a model
        self.rounds = []
        self.parts = 1  # of an epoch, each of which is one to Keras
        self._decides = True
        self._initial_net = None  # where it is measured beside every other
        self._data = None  # arguments of `fit`, where they are known
        self._reset()

    @classmethod
    def of_run(cls, plan, rounds):
        """The callback of `prune_and_retrain`, which evaluates and saves models itself.

        As a callback it stops a training that diverges. Between two trainings the run
        calls `measure`, `record`, `score`, `select` and `delete`.

        Args:
            plan: the run's `Plan`.
            rounds: the list of its finished `Round`s, which the run adds to.
        """
        deletion = cls(epochs=math.inf)
        deletion.plan, deletion.removal = plan, plan.removal
        deletion.rounds, deletion._decides = rounds, False
        return deletion

    def _reset(self):
        self.pruned_model, self.removed, self.stop_reason = None, (), None
        self.accepted, self.measures = True, None

    @property
    def mode(self):
        """Which way `monitor` is better; None until that is known."""
        return self.removal.mode

    # What Algorithm 1 does between two trainings.

    def score(self, model: keras.Model) -> dict[str, float]:
        """Scores of the removable units, by name (line 5)."""
        return self.plan.scores(model)

    def select(
        self,
        scores: Mapping[str, float],
        model: keras.Model,
        images: Any = None,
        on_step: Callable | None = None,
    ) -> tuple[str, ...]:
        """Names of the units to remove next (line 6).

        Args:
            scores: of the units of `model`.
            model: the model to remove them from; it is only read.
            images: training examples from which a search for several units estimates
                the statistics of BatchNormalization; None to keep the statistics.
            on_step: function that such a search calls with each `GreedyStep`.
        """
        return self.plan.next_units(scores, model, images, on_step)

    def delete(self, model: keras.Model, units: Any) -> keras.Model:
        """The model without some units, with the weights of all others (line 7).

        Args:
            model: a functional `keras.Model`; it is only read.
            units: names of units; none for the model itself.
        """
        return remove_units(model, units) if units else model

    def measure(
        self,
        model: keras.Model,
        initial: keras.Model | None = None,
        initial_ms: float | None = None,
    ) -> dict:
        """Measures everything that the target limits.

        Args:
            model: a functional `keras.Model`.
            initial: the initial model, to be measured in turns with `model` where
                `Plan.in_turns` says so; else None.
            initial_ms: the latency that was recorded for the initial model.
        """
        if initial is None:
            return target_measures([model], self.plan.target)[0]
        return target_measures([initial, model], self.plan.target, initial_ms)[1]

    def record(self, model: keras.Model, size: dict, **fields: Any) -> Round:
        """The record of a trained model.

        Args:
            model: a functional `keras.Model`.
            size: what `measure` returned for it.
            **fields: further fields of `Round`.
        """
        return Round(
            **{
                "round": len(self.rounds),
                "removed": (),
                "units": tuple(unit.name for unit in find_units(model)),
                "layers": size["layers"],
                "parameters": size["parameters"],
                "macs": size["macs"],
                "importances": importances(model),
                "scores": {},
                "epochs": 0,
                "train": {},
                "validation": {},
                "test": {},
                "seconds": 0.0,
                "model": model_name(len(self.rounds)),
                "measured": {k: v for k, v in size.items() if k not in COUNTED},
                "kept": {} if self.rounds else dict(self.plan.kept),
                **fields,
            }
        )

    # What Keras calls in a training.

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._removed_before = self.removed
        self._reset()
        self._trained, self._logs, self._diverged = 0, {}, None
        if not self._decides:
            return
        self._infinite = broken(self.model)
        if self.plan is None:
            self.plan = Plan.check(self.model, self.removal, to_the_last=False)
            self.removal = self.plan.removal
            if self.plan.in_turns:
                self._initial_net = self.model

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._trained += 1
        self._logs = logs or {}
        loss = self._logs.get("loss")
        if loss is not None and not math.isfinite(loss):
            self._diverged = f"the training loss became {float(loss)}"
            if not self._decides:
                rate = logs.get("learning_rate", self.model.optimizer.learning_rate)
                raise TrainingDiverged(
                    f"The training loss became {float(loss)} in epoch "
                    f"{epoch // self.parts + 1} of round {len(self.rounds)} at "
                    f"learning rate {float(rate):g}."
                )
            self.model.stop_training = True
            return
        if not self._decides:
            return
        monitor = self.removal.monitor
        if monitor and monitor not in self._logs:
            raise ValueError(
                f"`monitor={monitor!r}` is not logged. Logged: {', '.join(self._logs)}."
            )
        if monitor and self.mode is None:
            self.removal = self.removal.replace(mode=direction(self.model, monitor))
            self.plan = dataclasses.replace(self.plan, removal=self.removal)
        if self._trained >= self.epochs:
            self.model.stop_training = True

    def on_train_end(self, logs: dict | None = None) -> None:
        if not self._decides:
            return
        if not self._trained:
            raise ValueError(
                "`fit` trained no epoch, so nothing is known by which to remove units. "
                "Give more `epochs`, or a smaller `initial_epoch`."
            )
        spoiled = sorted(broken(self.model) - self._infinite)
        if spoiled and not self._diverged:
            self._diverged = f"'{spoiled[0]}' holds NaN or infinite values"
        if self._diverged:
            self._give_up(self._diverged)
            return
        self._decide()

    def _decide(self):
        """Records the net just trained, and makes the next one if one is to follow."""
        plan, monitor = self.plan, self.removal.monitor
        values = {monitor: float(self._logs[monitor])} if monitor else {}
        if not self.rounds and not all(map(math.isfinite, values.values())):
            raise TrainingDiverged(
                f"`{monitor}` is {values[monitor]} after the first training: no "
                "shorter net can be compared with it."
            )
        size = self.measure(
            self.model, self._initial_net, plan.initial.get("latency_ms")
        )
        self.measures = size if plan.target is not None else None
        record = self.record(
            self.model,
            size,
            removed=self._removed_before,
            epochs=self._trained,
            validation=values,
        )
        self.rounds.append(record)
        self.accepted = plan.accepts(record, self.rounds)
        if not self.accepted:
            first = plan.value(self.rounds[0])
            self.stop_reason = (
                f"{monitor} went from {first:.6g} to {values[monitor]:.6g}"
            )
            return
        self.stop_reason = plan.reason_to_stop(self.rounds)
        if self.stop_reason is not None:
            return
        try:
            scores = self.score(self.model)
        except (TypeError, ValueError) as error:
            # The training is done, and earlier ones may be: what they gave is kept.
            self.stop_reason = f"the units cannot be scored: {error}"
            warnings.warn(self.stop_reason, stacklevel=2)
            return
        self.rounds[-1] = dataclasses.replace(record, scores=scores)
        self.stop_reason = plan.reason_without_units(scores)
        if self.stop_reason is None:
            self.removed = self.select(scores, self.model)
            self.pruned_model = self.delete(self.model, self.removed)

    def _give_up(self, what):
        """Ends the removal as a training diverged; raises if it is the first one."""
        given, options = self._data or ((), {})
        told = (
            f"The training diverged: {what} in epoch {self._trained}. "
            f"{fit_reason(*given, **options)}"
        )
        if not self.rounds:
            raise TrainingDiverged(told)
        self.accepted, self.stop_reason = False, told
        warnings.warn(f"{told} The result is of the trainings before it.", stacklevel=2)
