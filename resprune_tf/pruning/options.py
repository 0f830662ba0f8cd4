"""What `prune_and_retrain` is to remove, and how it is to run."""

import dataclasses
import math
import os
from collections.abc import Callable, Sequence

from resprune_tf import criteria
from resprune_tf.runs.judging import check_mode
from resprune_tf.targets.target import Target
from resprune_tf.training.strategy import Strategy


@dataclasses.dataclass(frozen=True)
class Removal:
    """Which units are removed, how many at a time, and by what a net is judged.

    Args:
        target: `Target` to stop at; by default all units that may go are removed, but
            for the last one where nothing else learns. A file or a latency that it
            limits is measured in every round, beside the initial net, and recorded.
        units: names of the units to remove, and no other, such as those of a
            `Solution`: the criterion tells their order.
        units_per_round: units to remove before each retraining (k in the paper). 0
            retrains `max_rounds` times from the initial learning rate and removes
            nothing: the control that shows what restarts alone do. No target then.
        max_rounds: most rounds after the initial training; 0 only trains, for which
            no unit needs to be removable.
        criterion: function from a model to `{unit name: score}`; the smallest go.
            See `criteria.named`.
        protected: names of units that must stay, or patterns of names, in which `*`
            stands for any characters: `("backbone/*",)`.
        monitor: what rounds are judged by: for `FitData` the name of any metric that
            the model was compiled with, or `"loss"`.
        mode: `"max"` or `"min"`: which way `monitor` is better; by default what the
            Keras metric says.
        tolerance: accuracy (a fraction) that may be lost and still counts as held; in
            the units of what else is monitored. A finished run may be called again
            with another one: the net is chosen anew among its rounds, and
            `stop_on_drop` goes on where they hold now, or counts none after the first
            that does not.
        select_on: `"validation"` (held out of the training images) or `"test"`, as
            the paper did: where it is measured.
        stop_on_drop: stop at the first round below the initial accuracy, or worse in
            what else is monitored.

    Raises:
        ValueError: if a value is out of range.
        TypeError: if `target` is no `Target`, or `criterion` no function.

    >>> Removal(target=Target(macs=0.7), tolerance=0.005, protected=("backbone/*",))
    """

    target: Target | None = None
    units: Sequence[str] | None = None
    units_per_round: int = 1
    max_rounds: int | None = None
    criterion: Callable = criteria.importance
    protected: Sequence[str] = ()
    monitor: str | None = "accuracy"
    mode: str | None = None
    tolerance: float = 0.0
    select_on: str = "validation"
    stop_on_drop: bool = False

    def __post_init__(self):
        if self.target is not None and not isinstance(self.target, Target):
            raise TypeError(
                "`target` must be a Target, such as Target(layers=32). "
                f"Received: {self.target!r}."
            )
        if not callable(self.criterion):
            raise TypeError(
                "`criterion` must be a function from a model to a score for each unit, "
                f"such as `criteria.importance`. Received: {self.criterion!r}."
            )
        if self.select_on not in ("validation", "test"):
            raise ValueError(
                '`select_on` must be "validation" or "test". '
                f"Received: {self.select_on!r}."
            )
        if self.max_rounds is not None and self.max_rounds < 0:
            raise ValueError(
                "`max_rounds` must be >= 0, or None for no limit. "
                f"Received: {self.max_rounds}."
            )
        if isinstance(self.protected, str):
            raise TypeError(
                "`protected` must be a sequence of names, such as "
                f"({self.protected!r},). Received: {self.protected!r}."
            )
        check_mode(self.mode)
        self._check_tolerance()
        if self.units_per_round == 0:
            self._check_restarts()

    def _check_tolerance(self):
        most, example = math.inf, "a number >= 0 in the units of the metric"
        if self.monitor == "accuracy":
            most, example = 1, "a fraction in [0, 1), such as 0.002"
        if not 0 <= self.tolerance < most:
            raise ValueError(f"`tolerance` is {example}. Received: {self.tolerance}.")

    def _check_restarts(self):
        if self.max_rounds is None:
            raise ValueError(
                "`units_per_round=0` retrains without any removal, so `max_rounds` "
                "must say how often. Received: max_rounds=None. Give a number, such as "
                "`max_rounds=4`."
            )
        for name in ("target", "units"):
            if (value := getattr(self, name)) is not None:
                raise ValueError(
                    f"`units_per_round=0` removes nothing, so `{name}` cannot be met. "
                    f"Received: {name}={value}. Leave `{name}` out, or remove at least "
                    "one unit per round."
                )

    @property
    def removes(self) -> bool:
        """Whether any unit is to go."""
        return self.max_rounds != 0 and self.units_per_round != 0

    @property
    def by_importance(self) -> bool:
        """Whether units are scored by their ω."""
        return self.criterion is criteria.importance

    def replace(self, **changes) -> "Removal":
        """The same but for `changes`."""
        return dataclasses.replace(self, **changes)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Where a run keeps its records, and how it is started, stopped and shown.

    Args:
        directory: of the records; a temporary one by default.
        seed: int; of the order of examples and of their augmentation.
        start_from: directory of another run whose initial training is taken over, so
            that several ways to go on can be compared from the same net. Its data,
            net, recipe and seed must be this run's.
        strategy: what `training_strategy` returned, to train on several devices. Of
            several workers, all call `prune_and_retrain` with the same arguments; the
            chief alone writes, the others read its directory once, when a run is
            continued.
        deadline: `time.monotonic()` second before which to stop resumably.
        should_stop: function that returns a reason to stop now, or None.
        verbose: whether to show progress.
        flags: text to keep as `flags.txt`: how the caller was called.
        note: a remark to keep with the outcome, such as what it is no proof of.

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
