"""One removal step of Algorithm 1 as a Keras callback, for a `fit` of one's own."""

import dataclasses
import math
import warnings

import keras

from resprune_tf import criteria, graph
from resprune_tf.graph.compilation import check_steps, compile_like
from resprune_tf.pruning.data_check import check_fit_arguments
from resprune_tf.pruning.plan import select_units
from resprune_tf.runs.callbacks import TrainingDiverged
from resprune_tf.runs.judging import check_mode, direction, held
from resprune_tf.system.memory import Release
from resprune_tf.targets.measures import extent, may_go, measures, stay_to_learn
from resprune_tf.targets.target import Target
from resprune_tf.training.divergence import broken, fit_reason
from resprune_tf.training.fit_recipe import check_callbacks
from resprune_tf.units.finding import find_units
from resprune_tf.units.removal import remove_units


class LayerDeletion(keras.callbacks.Callback):
    """Trains a model for a while, then hands over a shorter one.

    A compiled model cannot lose layers while `fit` runs. So after `epochs` the
    callback decides which units go and stops the training; when `fit` ends it builds
    the shorter model as `shortened_model`, not compiled. Continue on that one, or let
    `fit_with_deletion` do so. `shortened_model` is a plain `keras.Model`: it has no
    `train_step` of a class of one's own, and loses nothing else.

    Args:
        epochs: int; epochs of training before each deletion.
        units_per_round: int; units to remove at a time.
        target: `Target` at which no more is removed. By default all units that may
            go are removed, in as many rounds as that takes.
        monitor: name of a logged value that may not get worse than after the first
            round, such as `"val_accuracy"`; None to remove without a guard.
        mode: `"max"` or `"min"`: which way `monitor` is better; by default what the
            Keras metric says.
        tolerance: how much worse `monitor` may get.
        criterion: function from a model to `{unit name: score}`; the smallest go.

    Attributes:
        shortened_model: what to train next; None when nothing more is to be removed.
        removed: names of the units taken out of it.
        held: whether the last training did not diverge, and its monitored value was
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
    >>> shorter = deletion.shortened_model
    """

    def __init__(
        self,
        epochs,
        units_per_round=1,
        target=None,
        monitor=None,
        mode=None,
        tolerance=0.0,
        criterion=criteria.importance,
    ):
        super().__init__()
        if epochs < 1 or units_per_round < 1:
            raise ValueError(
                "`epochs` and `units_per_round` must be >= 1. "
                f"Received: epochs={epochs}, units_per_round={units_per_round}."
            )
        check_mode(mode)
        if target is not None and not isinstance(target, Target):
            raise TypeError(
                "`target` must be a Target, such as Target(layers=32). "
                f"Received: {target!r}."
            )
        self.epochs = epochs
        self.units_per_round = units_per_round
        self.target = target
        self.monitor = monitor
        self.mode = mode
        self.tolerance = tolerance
        self.criterion = criterion
        self.initial = None  # monitored value of the first round
        self._known = None  # names of the units of the initial net
        self._resolved = None  # the target in absolute numbers
        self._first = self._first_ms = None  # the initial net, and its latency
        self._trainings = 0  # that came to their end
        self._data = None  # arguments of `fit`, where they are known
        self._reset()

    def _reset(self):
        self.shortened_model, self.removed, self.stop_reason = None, (), None
        self.held, self.measures = True, None

    def on_train_begin(self, logs=None):
        self._reset()
        self._trained, self._logs, self._diverged = 0, {}, None
        self._infinite = broken(self.model)
        if self._known is not None:
            return
        found = find_units(self.model)
        scores = criteria.check_scores(self.criterion(self.model), found)
        units, in_the_way = may_go(found, scores)
        criteria.check_scored(units, self.model)
        self._known = frozenset(unit.name for unit in found)
        if self.target is None:
            with graph.scope_of(self.model):  # nothing is trained that cannot be cloned
                graph.rebuild(self.model)
        else:
            names = [unit.name for unit in units]
            initial, smallest = extent(self.model, names, self.target)
            self._resolved = self.target.resolve(initial, smallest, in_the_way)
            if self.target.conditions:  # measured beside it
                self._first, self._first_ms = self.model, initial.get("latency_ms")

    def on_epoch_end(self, epoch, logs=None):
        self._trained += 1
        self._logs = logs or {}
        loss = self._logs.get("loss")
        if loss is not None and not math.isfinite(loss):
            self._diverged = f"the training loss became {float(loss)}"
            self.model.stop_training = True
            return
        if self.monitor and self.monitor not in self._logs:
            raise ValueError(
                f"`monitor={self.monitor!r}` is not logged. "
                f"Logged: {', '.join(self._logs)}."
            )
        if self.monitor:
            self.mode = direction(self.model, self.monitor, self.mode)
        if self._trained >= self.epochs:
            self.model.stop_training = True

    def on_train_end(self, logs=None):
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
        self._trainings += 1
        if self.monitor:
            value = float(self._logs[self.monitor])
            if self.initial is None:
                if not math.isfinite(value):
                    raise TrainingDiverged(
                        f"`{self.monitor}` is {value} after the first training: no "
                        "shorter net can be compared with it."
                    )
                self.initial = value
            self.held = held(self.initial, value, self.tolerance, self.mode)
            if not self.held:
                self.stop_reason = (
                    f"{self.monitor} went from {self.initial:.6g} to {value:.6g}"
                )
                return
        if self._resolved:
            nets = [self.model] if self._first is None else [self._first, self.model]
            self.measures = measures(nets, self._resolved, self._first_ms)[-1]
            if self._resolved.reached(self.measures):
                self.stop_reason = f"target reached: at most {self._resolved}"
                return
        try:
            scores, stay = self._scores()
        except (TypeError, ValueError) as error:
            # The training is done, and earlier ones may be: what they gave is kept.
            self.stop_reason = f"the units cannot be scored: {error}"
            warnings.warn(self.stop_reason, stacklevel=2)
            return
        if len(scores) <= stay:
            self.stop_reason = "no unit is left that may go"
            return
        count = min(self.units_per_round, len(scores) - stay)
        self.removed = select_units(scores, count)
        self.shortened_model = remove_units(self.model, self.removed)

    def _give_up(self, what):
        """Ends the removal as a training diverged; raises if it is the first one."""
        given, options = self._data or ((), {})
        told = (
            f"The training diverged: {what} in epoch {self._trained}. "
            f"{fit_reason(*given, **options)}"
        )
        if not self._trainings:
            raise TrainingDiverged(told)
        self.held, self.stop_reason = False, told
        warnings.warn(f"{told} The result is of the trainings before it.", stacklevel=2)

    def _scores(self):
        """Scores of the units that may go, and how many of them must stay."""
        found = find_units(self.model)
        scores = criteria.check_scores(
            self.criterion(self.model), found, former=self._known
        )
        units, _ = may_go(found, scores)
        free = {unit.name for unit in units}
        scores = {name: score for name, score in scores.items() if name in free}
        return scores, stay_to_learn(self.model, units)


@dataclasses.dataclass(frozen=True)
class DeletionRound:
    """One training of `fit_with_deletion`.

    Attributes:
        removed: names of the units taken out before it.
        history: dict from logged name to its value after each epoch.
        held: whether it did not diverge, and the monitored value was good enough.
    """

    removed: tuple[str, ...]
    history: dict
    held: bool


def fit_with_deletion(
    model, deletion, *args, make_callbacks=None, compile_fn=None, **kwargs
):
    """Repeats `fit` on ever shorter models until `deletion` removes no more.

    Every round trains for `deletion.epochs` with a fresh optimizer at its initial
    learning rate, as Algorithm 1 asks.

    Args:
        model: a compiled functional `keras.Model`; it gets trained.
        deletion: a `LayerDeletion`.
        *args, **kwargs: for `fit`, except `epochs`, `initial_epoch` and `callbacks`.
            A generator must never end, as every round goes on reading it.
        make_callbacks: function without arguments that returns further callbacks.
            Callbacks keep state (the best value so far, say), so that every round
            needs its own.
        compile_fn: function that compiles a model, for compile settings that Keras
            cannot repeat: a lambda as loss, `exclude_from_weight_decay`.

    Returns:
        `(model, rounds)`: the shortest model whose monitored value held, trained and
        compiled, and a `DeletionRound` for each training.

    Raises:
        TypeError: if `epochs`, `initial_epoch` or `callbacks` is given.
        ValueError: if `model` is not compiled, has a `train_step` or the like of its
            own, or Keras cannot repeat its settings; or if arrays, or the first batch
            of a pipeline, hold NaN, labels that the loss does not take, or pixels of
            another range than the model's first layer, or the other split, has.
        TrainingDiverged: as `LayerDeletion` does.
    """
    for name, instead in (
        ("epochs", "LayerDeletion(epochs=...)"),
        ("initial_epoch", "LayerDeletion(epochs=...)"),
        ("callbacks", "`make_callbacks`"),
    ):
        if name in kwargs:
            raise TypeError(f"fit_with_deletion takes no `{name}`: use {instead}.")
    if not model.compiled:
        raise ValueError(f"'{model.name}' is not compiled. Call its `compile()` first.")
    check_steps(model)
    if compile_fn is None:
        with graph.scope_of(model):  # tried before any training is spent
            compile_like(graph.rebuild(model), model)
        # Read before any training: later it would hold the last learning rate.
        settings = model.get_compile_config()

        def compile_fn(shorter):
            shorter.compile_from_config(settings)

    if make_callbacks is not None:
        check_callbacks(make_callbacks, "make_callbacks")
    check_fit_arguments(model, args, kwargs)
    rounds, best, removed = [], model, ()
    deletion._data, free = (args[:2], kwargs), Release()
    while True:
        history = model.fit(
            *args,
            epochs=deletion.epochs,
            callbacks=[*(make_callbacks() if make_callbacks else ()), deletion],
            **kwargs,
        )
        rounds.append(DeletionRound(removed, history.history, deletion.held))
        if deletion.held:
            best = model
        if deletion.shortened_model is None:
            deletion._data = None
            return best, rounds
        removed, model = deletion.removed, deletion.shortened_model
        del history  # which holds the net just trained
        free()
        with graph.scope_of(model):
            compile_fn(model)
