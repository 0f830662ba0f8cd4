"""The options of `prune_and_retrain`: `Removal` and `RunOptions`."""

from __future__ import annotations

import dataclasses
import math
import numbers
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from resprune_tf import criteria
from resprune_tf.runs.judging import AUTO, check_mode, is_accuracy
from resprune_tf.system.counts import check_counts
from resprune_tf.targets.measures import check_protected
from resprune_tf.targets.target import Target, check_target
from resprune_tf.training.strategy import Strategy

ALL = "all"


@dataclasses.dataclass(frozen=True)
class Removal:
    """Which units are removed, how many at a time, and how models are judged.

    Args:
        target: `Target` at which the run stops. By default all removable units are
            removed, except the last one if no other layer has trainable weights. If the
            target limits a file size or a latency, both are measured in every round, in
            turns with the initial model, and recorded.
        units: names of the only units to remove, such as those of a `Solution`. The
            criterion determines their order.
        units_per_round: units to remove before each retraining (k in the paper).
            `"all"` removes all that the target requires at once, so that there is one
            retraining: they are chosen by `greedy_search` or, if the target limits a
            file size or a latency, by `solve_target`. 0 removes nothing and retrains
            `max_rounds` times from the initial learning rate: the control that shows
            the effect of restarts alone. It excludes a target.
        max_rounds: maximum number of rounds after the initial training. With 0 the run
            only trains, and the model may have no removable unit.
        criterion: function from a model to `{unit name: score}`. The units with the
            smallest scores are removed. See `criteria.named`. Defaults to
            `criteria.importance` if the model has importances ω that are trained or
            that the run trains first, and to `criteria.block_influence` otherwise.
        protected: names of units that are never removed, or patterns of names, in
            which `*` matches any characters: `("backbone/*",)`.
        monitor: measure by which rounds are judged: for `FitData` the name of any
            metric that the model was compiled with, or `"loss"`.
        mode: `"max"` or `"min"`: which way `monitor` improves. By default this is
            taken from the Keras metric.
        tolerance: accepted decrease of the accuracy (a fraction), or deterioration of
            another measure in its own units. `"auto"` is one standard error of the
            accuracy of round 0, sqrt(p (1 - p) / n) on the n examples of `select_on`,
            but at least one example; `final.json` records the number. If a finished run
            is called again with another tolerance, the model is selected again among
            its rounds. With `stop_on_drop` such a run continues if the last round is
            now accepted, and ignores all rounds after the first that is not accepted.
        select_on: `"validation"` (held out of the training images) or `"test"`, as in
            the paper: the split on which rounds are judged.
        stop_on_drop: whether to stop at the first round that is not accepted.

    Raises:
        ValueError: if a value is out of range.
        TypeError: if `target` is not a `Target`, `criterion` is not a function, or
            `protected` is a string.

    >>> Removal(target=Target(macs=0.7), tolerance=0.005, protected=("backbone/*",))
    """

    target: Target | None = None
    units: Sequence[str] | None = None
    units_per_round: int | str = 1
    max_rounds: int | None = None
    criterion: Callable | None = None
    protected: Sequence[str] = ()
    monitor: str | None = "accuracy"
    mode: str | None = None
    tolerance: float | str = 0.0
    select_on: str = "validation"
    stop_on_drop: bool = False

    def __post_init__(self):
        if self.target is not None:
            check_target(self.target)
        if self.criterion is not None and not callable(self.criterion):
            hint = ""
            if isinstance(self.criterion, str):
                hint = f" Pass `criteria.named({self.criterion!r}, dataset)`."
            raise TypeError(
                "`criterion` must be a function from a model to a score for each unit, "
                f"such as `criteria.importance`. Received: {self.criterion!r}.{hint}"
            )
        if self.select_on not in ("validation", "test"):
            raise ValueError(
                '`select_on` must be "validation" or "test". '
                f"Received: {self.select_on!r}."
            )
        if self.max_rounds is not None:
            check_counts(0, max_rounds=self.max_rounds)
        check_protected(self.protected)
        check_mode(self.mode)
        self._check_tolerance()
        count = self.units_per_round
        if count != ALL and not isinstance(count, (int, np.integer)):
            raise ValueError(
                f'`units_per_round` must be an integer, or "{ALL}" for all units that '
                f"the target requires. Received: {count!r}."
            )
        if self.units_per_round == 0:
            self._check_restarts()

    def _check_tolerance(self):
        if self.tolerance == AUTO:
            if not is_accuracy(self.monitor):
                raise ValueError(
                    '`tolerance="auto"` is the standard error of an accuracy. Pass a '
                    f"number in the units of `{self.monitor}` instead."
                )
            return
        most, example = math.inf, "a number >= 0 in the units of the metric"
        if is_accuracy(self.monitor):
            most, example = 1, "a fraction in [0, 1), such as 0.002"
        number = isinstance(self.tolerance, numbers.Real)
        if not (number and 0 <= self.tolerance < most):
            raise ValueError(
                f'`tolerance` must be {example}, or "auto" for an accuracy. '
                f"Received: {self.tolerance!r}."
            )

    def _check_restarts(self):
        if self.max_rounds is None:
            raise ValueError(
                "`units_per_round=0` retrains without any removal, so `max_rounds` "
                "must be the number of retrainings. Received: max_rounds=None. Pass a "
                "number, such as `max_rounds=4`."
            )
        for name in ("target", "units"):
            if (value := getattr(self, name)) is not None:
                raise ValueError(
                    f"`units_per_round=0` removes nothing, so `{name}` cannot be met. "
                    f"Received: {name}={value}. Omit `{name}`, or remove at least one "
                    "unit per round."
                )

    @property
    def removes(self) -> bool:
        """Whether the run removes any unit."""
        return self.max_rounds != 0 and self.units_per_round != 0

    @property
    def by_importance(self) -> bool:
        """Whether units are scored by their ω."""
        return self.criterion is criteria.importance

    def replace(self, **changes: Any) -> Removal:
        """Returns a copy with some fields changed."""
        return dataclasses.replace(self, **changes)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Where a run stores its records, and how it is started, stopped and displayed.

    Args:
        directory: directory of the records. By default a temporary one, which is
            deleted at the end of the call: the run cannot be continued, and has no
            files of the models of its rounds.
        seed: int, seed of the order of the examples and of their augmentation.
        start_from: directory of another run whose initial training is reused, so that
            several ways to continue can be compared from the same model. Its data,
            model, recipe and seed must be those of this run.
        strategy: a `Strategy` from `training_strategy`, to train on several devices.
            With several workers, all call `prune_and_retrain` with the same arguments.
            Only the chief writes; the others read its directory once, when a run is
            continued.
        deadline: `time.monotonic()` value, in seconds, before which the run stops. It
            can be continued afterwards.
        should_stop: function that returns a reason to stop now, or None.
        verbose: whether to show progress.
        flags: text to store as `flags.txt`: the command that started the run.
        note: remark to store with the result, such as its limitations.

    Raises:
        TypeError: if `strategy` is not a `Strategy`.

    >>> RunOptions("runs/c10", seed=1)
    """

    directory: str | os.PathLike | None = None
    seed: int = 0
    start_from: str | os.PathLike | None = None
    strategy: Strategy = dataclasses.field(default_factory=Strategy)
    deadline: float = math.inf
    should_stop: Callable | None = None
    verbose: bool = True
    flags: str = ""
    note: str = ""

    def __post_init__(self):
        if not isinstance(self.strategy, Strategy):
            raise TypeError(
                '`strategy` must be a Strategy, such as training_strategy("mirrored"). '
                f"Received: {self.strategy!r}."
            )
