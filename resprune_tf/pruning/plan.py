"""What a pruning run is to do: its settings, checked, and its decisions."""

import dataclasses
import math
from collections.abc import Callable, Mapping

import keras

from resprune_tf.criteria.by_name import check_scored, check_scores
from resprune_tf.pruning.identity import criterion_settings
from resprune_tf.runs.judging import held
from resprune_tf.targets.measures import extent, may_go, measures, stay_to_learn
from resprune_tf.targets.target import COUNTED, Target
from resprune_tf.training.distillation import Guidance
from resprune_tf.training.fit_recipe import FitRecipe
from resprune_tf.training.recipe import Recipe
from resprune_tf.units.finding import chosen_units, find_units


@dataclasses.dataclass(frozen=True)
class Plan:
    """The settings of `prune_and_retrain` (see there) for one model.

    Attributes:
        units: names of the units to remove; None for as many as the target takes.
        candidates: names of the units that may go.
        known: names of all units of the initial net.
        initial: measures of the initial net.
        savings: what a removed unit saves of each measure, on average.
        stay: how many of the units must stay, whichever: 1 if nothing else learns.
        fewest: the number of units that are left if all that may go are removed.
    """

    recipe: Recipe | FitRecipe
    retrain_recipe: Recipe | FitRecipe
    units_per_round: int
    target: Target
    max_rounds: float
    stop_on_drop: bool
    tolerance: float
    monitor: str
    mode: str
    select_on: str
    criterion: Callable
    guidance: Guidance | None
    protected: frozenset
    units: tuple | None
    candidates: frozenset
    known: frozenset
    seed: int
    initial: dict
    savings: dict
    stay: int = 0
    fewest: int = 0

    @classmethod
    def check(cls, model, *, target, retrain_recipe, protected, units=None, **settings):
        """The plan for a model.

        Raises:
            ValueError: if a setting is out of range for this model, or a score no
                finite number or of no unit.
            TypeError: if the model is not functional, or scores are no dict.
        """
        if settings["select_on"] not in ("validation", "test"):
            raise ValueError(
                '`select_on` must be "validation" or "test". '
                f"Received: {settings['select_on']!r}."
            )
        if settings["max_rounds"] is not None and settings["max_rounds"] < 0:
            raise ValueError(
                "`max_rounds` must be >= 0, or None for no limit. "
                f"Received: {settings['max_rounds']}."
            )
        if settings["units_per_round"] == 0:
            _check_restarts(settings["max_rounds"], target=target, units=units)
        _check_tolerance(settings["tolerance"], settings["monitor"])
        found = find_units(model)
        free, in_the_way = may_go(found, [unit.name for unit in found], protected)
        candidates = frozenset(unit.name for unit in free)
        if units is not None:
            units = _asked_for(units, found, in_the_way)
            candidates = frozenset(units)
        max_rounds = settings.pop("max_rounds")
        common = {
            "max_rounds": math.inf if max_rounds is None else max_rounds,
            "retrain_recipe": retrain_recipe or settings["recipe"],
            "protected": frozenset(map(str, protected)),
            "units": units,
            "candidates": candidates,
            "known": frozenset(unit.name for unit in found),
            **settings,
        }
        if max_rounds == 0:
            return cls(target=None, initial=measures([model])[0], savings={}, **common)
        scores = check_scores(settings["criterion"](model), found)
        if settings["units_per_round"] == 0:
            return cls(target=None, initial=measures([model])[0], savings={}, **common)
        check_scored(scores, model)
        free, in_the_way = may_go(found, candidates.intersection(scores), protected)
        if not free:
            reasons = ", ".join(f"{name} ({why})" for name, why in in_the_way.items())
            raise ValueError(f"No unit of '{model.name}' may go: {reasons}.")
        for name in units or ():
            if name not in scores:
                raise ValueError(
                    f"Unit '{name}' of `units` has no score by which to order it. "
                    f"The criterion scores: {', '.join(scores)}."
                )
        stay = stay_to_learn(model, free)
        if stay and units is not None:
            raise ValueError(
                f"`units` are all of '{model.name}' that learns, so nothing would be "
                f"left to train. Received: units={units}. Leave one out."
            )
        # Which one stays is told by later scores: the sizes are those with the least.
        least = sorted(free, key=lambda unit: unit.parameters)[:stay]
        names = [unit.name for unit in free if unit not in least]
        if not names:
            raise ValueError(
                f"No unit of '{model.name}' may go: '{free[0].name}' holds all that "
                "learns, so nothing would be left to train."
            )
        if not 1 <= settings["units_per_round"] <= len(names):
            raise ValueError(
                f"`units_per_round` must be from 1 to {len(names)}, the number "
                f"of units of '{model.name}' that may go. "
                f"Received: {settings['units_per_round']}."
            )
        initial, smallest = extent(model, names, target)
        if target is None:
            target = _everything(initial, smallest, units)
        else:
            why = {unit.name: "one unit must stay to learn" for unit in least}
            target = target.resolve(initial, smallest, {**in_the_way, **why})
        return cls(
            target=target,
            initial=initial,
            savings={
                name: (initial[name] - smallest[name]) / len(names) for name in initial
            },
            stay=stay,
            fewest=smallest["units"],
            **common,
        )

    def settings(self):
        """What must agree for a run to be continued, as JSON values."""
        return {
            # Not a file's size or a latency: the next process may find others.
            "initial": {name: self.initial[name] for name in COUNTED},
            "recipe": _settings(self.recipe),
            "retrain_recipe": _settings(self.retrain_recipe),
            "units_per_round": self.units_per_round,
            "target": self.target and {**self.target.limits, **self.target.conditions},
            **({} if self.units is None else {"units": sorted(self.units)}),
            "max_rounds": None if math.isinf(self.max_rounds) else self.max_rounds,
            "stop_on_drop": self.stop_on_drop,
            "tolerance": self.tolerance,
            "select_on": self.select_on,
            **criterion_settings(self.criterion),
            "guidance": self.guidance and dataclasses.asdict(self.guidance),
            "protected": sorted(self.protected),
            "seed": self.seed,
            "backend": keras.backend.backend(),
            **self.watched,
        }

    @property
    def watched(self):
        """What is monitored, as JSON values: nothing said is said to be accuracy."""
        if isinstance(self.recipe, Recipe):
            return {}
        return {"monitor": self.monitor, "mode": self.mode}

    def scores(self, model):
        """The criterion's scores of the units that may go; none if none may.

        Raises:
            ValueError: if a score is no finite number, or of no unit that the model
                has or once had; or of one that the initial net has not.
        """
        scores = check_scores(self.criterion(model), find_units(model), self.known)
        if strangers := [name for name in scores if name not in self.known]:
            raise ValueError(
                f"'{model.name}' has units that the initial net has not: "
                f"{', '.join(strangers)}. Layers must keep their names in copies and "
                "files."
            )
        return {name: v for name, v in scores.items() if name in self.candidates}

    def next_units(self, scores):
        """The units to remove in the next round; none if the run only retrains."""
        if self.units_per_round == 0:
            return ()
        return select_units(scores, min(self.units_per_round, len(scores) - self.stay))

    def value(self, record):
        """What a round is judged by: the monitored measure."""
        return record.measure(self.select_on, self.monitor)

    def held(self, record, rounds):
        """Whether a round kept the monitored measure of the first."""
        values = (self.value(each) for each in (rounds[0], record))
        return held(*values, self.tolerance, self.mode)

    def target_reached(self, record):
        """Whether the net of a round meets the target."""
        if self.target is None:
            return False
        counts = {**dataclasses.asdict(record), "units": len(record.units)}
        return self.target.reached({**counts, **record.measured})

    def judged(self, rounds):
        """The rounds that count: with `stop_on_drop` none after the first drop.

        There are some where a run went on under another tolerance.
        """
        if self.stop_on_drop:
            for index, record in enumerate(rounds):
                if not self.held(record, rounds):
                    return rounds[: index + 1]
        return rounds

    def stop_reason(self, rounds):
        """Why no further round is to run, or None."""
        if not rounds:
            return None
        last = self.judged(rounds)[-1]
        if self.max_rounds == 0:
            return "only the initial training was asked for"
        if self.target_reached(last):
            return f"target reached: at most {self.target}"
        if self.stop_on_drop and not self.held(last, rounds):
            return f"{self.monitor} {'dropped' if self.mode == 'max' else 'rose'}"
        if last.round == self.max_rounds:
            return f"{self.max_rounds} rounds are done"
        if len(last.scores) > self.stay or self.units_per_round == 0:
            return None
        return "no unit is left that may go"

    def later_rounds(self, number, size):
        """How many rounds will follow one of this size, if units save the average."""
        if self.max_rounds and self.units_per_round == 0:
            return self.max_rounds - number
        if not self.savings:
            return 0
        limits = {"units": self.fewest} if self.target is None else self.target.limits
        units = max(
            (
                math.ceil((size[name] - limit) / self.savings[name])
                for name, limit in limits.items()
                if size[name] > limit and self.savings[name] > 0
            ),
            default=0,
        )
        needed = math.ceil(units / self.units_per_round)
        return max(0, min(needed, self.max_rounds - number))


def _everything(initial, smallest, units):
    """The target of a run that is given none; None if no measure can tell its end."""
    for measure in ("layers", "units") if units is None else ("units",):
        # A branch beside the units may be the longest path, and targets are above 0.
        if initial[measure] > smallest[measure] > 0:
            return Target(**{measure: smallest[measure]})
    return None


def _check_restarts(max_rounds, **of_removals):
    """Raises a ValueError unless a run without removals has its number of rounds."""
    if max_rounds is None:
        raise ValueError(
            "`units_per_round=0` retrains without any removal, so `max_rounds` must "
            "say how often. Received: max_rounds=None. Give a number, such as "
            "`max_rounds=4`."
        )
    for name, value in of_removals.items():
        if value is not None:
            raise ValueError(
                f"`units_per_round=0` removes nothing, so `{name}` cannot be met. "
                f"Received: {name}={value}. Leave `{name}` out, or remove at least "
                "one unit per round."
            )


def _asked_for(units, found, in_the_way):
    """Names of the units to remove, each of which may go."""
    free = [unit.name for unit in found if unit.name not in in_the_way]
    offer = f"Those that may go: {', '.join(free) or 'none'}."
    names = tuple(unit.name for unit in chosen_units(units, found, offer))
    for name in names:
        if name in in_the_way:
            raise ValueError(
                f"Unit '{name}' of `units` may not go: {in_the_way[name]}. {offer}"
            )
    return names


def _check_tolerance(tolerance, monitor):
    most, example = math.inf, "a number >= 0 in the units of the metric"
    if monitor == "accuracy":
        most, example = 1, "a fraction in [0, 1), such as 0.002"
    if not 0 <= tolerance < most:
        raise ValueError(f"`tolerance` is {example}. Received: {tolerance}.")


def _settings(recipe):
    """What a recipe says, as JSON values."""
    if isinstance(recipe, FitRecipe):
        return recipe.settings()
    return dataclasses.asdict(recipe)


def select_units(scores: Mapping[str, float], count: int) -> tuple[str, ...]:
    """The `count` units with the smallest scores, or all there are, smallest first.

    Equal scores keep the order of `scores`. Line 6 of Algorithm 1.

    Raises:
        ValueError: if no unit has a score, or `count` < 1.
    """
    if not scores or count < 1:
        raise ValueError(f"Cannot select {count} of {len(scores)} scored units.")
    return tuple(sorted(scores, key=scores.get)[:count])
