"""The removal step of Algorithm 1 as a Keras callback."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence

import keras

from resprune_tf import criteria
from resprune_tf.pruning.options import Removal
from resprune_tf.pruning.plan import Plan
from resprune_tf.runs.callbacks import TrainingDiverged
from resprune_tf.runs.judging import AUTO, direction
from resprune_tf.system.counts import check_counts
from resprune_tf.system.wording import in_words
from resprune_tf.targets.measures import measure
from resprune_tf.targets.target import Target
from resprune_tf.training.divergence import broken, fit_reason
from resprune_tf.units.removal import remove_units


class LayerDeletion(keras.callbacks.Callback):
    """Callback that stops `fit` after some epochs and builds the pruned model.

    A compiled model cannot lose layers while `fit` runs. Therefore the callback stops
    the training after `epochs`, selects the units to remove and builds the model
    without them as `pruned_model`, which is not compiled. Train that model next, or use
    `fit_with_deletion`, which does so. `pruned_model` is a plain `keras.Model`: a
    `train_step` that the model's class overrides is lost.

    Args:
        epochs: int >= 1, epochs of training before each removal.
        units_per_round: int >= 1, units to remove at a time, or `"all"` as for
            `Removal`.
        target: `Target` at which the removal ends. By default all removable units are
            removed, round by round.
        monitor: name of a logged value, such as `"val_accuracy"`. The removal ends if
            it becomes worse than after the first round. None disables this check.
        mode: `"max"` or `"min"`, the better direction of `monitor`. By default this is
            taken from the Keras metric.
        tolerance: accepted deterioration of `monitor`, in its own units.
        criterion: function from a model to `{unit name: score}`. The units with the
            smallest scores are removed. Defaults to |ω|; a model without ω needs
            another one, such as `criteria.block_influence(images)`.
        protected: names of units that are never removed, or patterns of names.

    Attributes:
        plan: the `Plan` that decides; None before the first training.
        rounds: list of `Round`, one per finished training.
        pruned_model: the model to train next; None if nothing more is removed.
        removed: names of the units that were removed from `pruned_model`.
        accepted: whether the last training did not diverge and its monitored value was
            within the tolerance.
        measures: dict from measure to number, for the model just trained; a latency is
            measured in turns with the initial model. None without a target. If the
            measurement failed, it has counts only.
        stop_reason: why nothing more is removed, or None.

    Raises (out of `fit`):
        ValueError: if `fit` trains no epoch, if the model has no removable unit, if a
            score is not finite or not that of a unit, or if `monitor` is not logged or
            its direction is unknown. If measuring the model, or scoring or removing
            units fails after a training, with any error, the removal ends with a
            warning instead.
        CloneError: if a layer cannot be cloned; before any training.
        TypeError: if the model is not functional, or if the criterion does not return
            a dict before the first training.
        TrainingDiverged: if the loss or the weights of the first training become NaN
            or infinite. A later divergence ends the removal with a warning instead.

    Reference: Ida and Fujiwara, Network Implosion, arXiv:1906.03826, Algorithm 1.

    >>> deletion = LayerDeletion(epochs=60, monitor="val_accuracy")
    >>> model.fit(images, labels, epochs=60, validation_split=0.1,
    ...           callbacks=[deletion])
    >>> smaller = deletion.pruned_model
    """

    def __init__(
        self,
        epochs: int,
        units_per_round: int | str = 1,
        target: Target | None = None,
        monitor: str | None = None,
        mode: str | None = None,
        tolerance: float = 0.0,
        criterion: Callable = criteria.importance,
        protected: Sequence[str] = (),
    ):
        super().__init__()
        # `Removal` checks the other values.
        check_counts(epochs=epochs)
        if not isinstance(units_per_round, str):
            check_counts(units_per_round=units_per_round)
        if tolerance == AUTO:
            raise ValueError(
                '`tolerance="auto"` works only in `prune_and_retrain`, because a '
                "callback does not know the number of examples. Pass a number. One "
                "standard error of an accuracy p on n examples is "
                "`(p * (1 - p) / n) ** 0.5`."
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
        self.plan = None  # needs the model
        self.rounds = []
        self._initial_model = None  # only if it is measured in turns with the others
        self._fit_arguments = {}  # set by `fit_with_deletion`
        self._reset()

    def _reset(self):
        self.pruned_model, self.removed, self.stop_reason = None, (), None
        self.accepted, self.measures = True, None

    @property
    def mode(self):
        """The better direction of `monitor`; None until it is known."""
        return self.removal.mode

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._removed_before = self.removed
        self._reset()
        self._trained, self._logs, self._diverged = 0, {}, None
        self._broken_before = broken(self.model)
        if self.plan is None:
            self.plan = Plan.check(self.model, self.removal, default_target=False)
            self.removal = self.plan.removal
            if self.plan.in_turns:
                self._initial_model = self.model

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._trained += 1
        self._logs = logs or {}
        loss = self._logs.get("loss")
        if loss is not None and not math.isfinite(loss):
            self._diverged = f"the training loss became {float(loss)}"
            self.model.stop_training = True
            return
        monitor = self.removal.monitor
        if monitor and monitor not in self._logs:
            raise ValueError(
                f"`monitor={monitor!r}` is not logged. `fit` logs: "
                f"{', '.join(self._logs)}."
            )
        if monitor and self.mode is None:
            self.removal = self.removal.replace(mode=direction(self.model, monitor))
            self.plan = dataclasses.replace(self.plan, removal=self.removal)
        if self._trained >= self.epochs:
            self.model.stop_training = True

    def on_train_end(self, logs: dict | None = None) -> None:
        if not self._trained:
            raise ValueError(
                "`fit` trained no epoch, so the units to remove cannot be selected. "
                "Pass more `epochs`, or a smaller `initial_epoch`."
            )
        newly_broken = sorted(broken(self.model) - self._broken_before)
        if newly_broken and not self._diverged:
            self._diverged = f"'{newly_broken[0]}' contains NaN or infinite values"
        if self._diverged:
            self._end_diverged(self._diverged)
            return
        self._decide()

    def _decide(self):
        """Records the model just trained, and builds the next one if there is one."""
        plan, monitor = self.plan, self.removal.monitor
        values = {monitor: float(self._logs[monitor])} if monitor else {}
        if not self.rounds and not all(map(math.isfinite, values.values())):
            raise TrainingDiverged(
                f"`{monitor}` is {values[monitor]} after the first training, so pruned "
                "models cannot be compared with it. Check the metric and its data, or "
                "pass another `monitor`."
            )
        failure = None
        try:
            size = plan.measure(
                self.model, self._initial_model, plan.initial.get("latency_ms")
            )
        except Exception as error:  # such as a device that cannot be reached
            failure = f"the model cannot be measured: {in_words(error)}"
            size = measure(self.model)
        self.measures = size if plan.target is not None else None
        record = plan.record(
            len(self.rounds),
            self.model,
            size,
            removed=self._removed_before,
            epochs=self._trained,
            validation=values,
        )
        self.rounds.append(record)
        self.accepted = plan.accepts(record, self.rounds)
        if failure:
            self._stop_unfinished(failure)
        if not self.accepted:
            first = plan.value(self.rounds[0])
            self.stop_reason = (
                f"{monitor} went from {first:.6g} to {values[monitor]:.6g}"
            )
            return
        if failure:
            return
        self.stop_reason = plan.reason_to_stop(self.rounds)
        if self.stop_reason is not None:
            return
        try:
            scores = plan.scores(self.model)
            self.rounds[-1] = dataclasses.replace(record, scores=scores)
            self.stop_reason = plan.reason_without_units(scores)
            if self.stop_reason is None:
                removed = plan.next_units(scores, self.model, measured=record.measured)
                self.pruned_model = remove_units(self.model, removed)
                self.removed = removed
        except Exception as error:
            what = "removed" if self.rounds[-1].scores else "scored"
            self._stop_unfinished(f"the units cannot be {what}: {in_words(error)}")

    def _stop_unfinished(self, failure):
        """Ends the removal with a warning; the finished trainings are not lost."""
        self.stop_reason = failure
        warnings.warn(failure, stacklevel=3)

    def _end_diverged(self, what):
        """Ends the removal after a divergence; raises if it is the first training."""
        message = (
            f"The training diverged: {what} in epoch {self._trained}. "
            f"{fit_reason(**self._fit_arguments)}"
        )
        if not self.rounds:
            raise TrainingDiverged(message)
        self.accepted, self.stop_reason = False, message
        warnings.warn(
            f"{message} The result comes from the trainings before it.", stacklevel=2
        )
