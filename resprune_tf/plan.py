"""What a pruning run is to do: its settings, checked, and its decisions."""

import dataclasses
import math
from collections.abc import Callable

import keras

from resprune_tf.cost import cost
from resprune_tf.criteria import check_scores
from resprune_tf.distillation import Guidance
from resprune_tf.recipe import Recipe
from resprune_tf.removal import remove_units
from resprune_tf.selection import Target, held, select_units
from resprune_tf.units import find_units


def measure(model):
    """Layers, residual units, MACs and parameters of a model, as a dict.

    Raises:
        ValueError: if MACs of a layer cannot be counted; it is named.
    """
    measured = cost(model)
    if measured.uncounted:
        raise ValueError(
            f"The MACs of these layers of '{model.name}' cannot be counted: "
            f"{', '.join(measured.uncounted)}."
        )
    return {
        "layers": measured.layers,
        "units": len(find_units(model)),
        "macs": measured.macs,
        "parameters": measured.parameters,
    }


def extent(model, units):
    """Measures of a model, and of it without `units`: what a target lies between."""
    return measure(model), measure(remove_units(model, units))


@dataclasses.dataclass(frozen=True)
class Plan:
    """The settings of `prune_and_retrain` (see there) for one model.

    Attributes:
        initial: measures of the initial net.
        savings: what a removed unit saves of each measure, on average.
    """

    recipe: Recipe
    retrain_recipe: Recipe
    units_per_round: int
    target: Target
    max_rounds: float
    stop_on_drop: bool
    tolerance: float
    select_on: str
    criterion: Callable
    guidance: Guidance | None
    protected: frozenset
    seed: int
    initial: dict
    savings: dict

    @classmethod
    def check(cls, model, *, target, retrain_recipe, protected, **settings):
        """The plan for a model.

        Raises:
            ValueError: if a setting is out of range for this model.
            TypeError: if the model is not functional.
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
        if not 0 <= settings["tolerance"] < 1:
            raise ValueError(
                "`tolerance` is a fraction in [0, 1), such as 0.002. "
                f"Received: {settings['tolerance']}."
            )
        names = [unit.name for unit in find_units(model)]
        protected = frozenset(map(str, protected))
        if unknown := sorted(protected.difference(names)):
            raise ValueError(
                f"'{model.name}' has no unit {', '.join(unknown)} to protect. "
                f"Its units: {', '.join(names)}."
            )
        max_rounds = settings.pop("max_rounds")
        common = {
            "max_rounds": math.inf if max_rounds is None else max_rounds,
            "retrain_recipe": retrain_recipe or settings["recipe"],
            "protected": protected,
            **settings,
        }
        if max_rounds == 0:
            return cls(target=None, initial=measure(model), savings={}, **common)
        scores = settings["criterion"](model)
        check_scores(scores, model)
        candidates = [name for name in scores if name not in protected]
        if not 1 <= settings["units_per_round"] <= len(candidates):
            raise ValueError(
                f"`units_per_round` must be from 1 to {len(candidates)}, the number "
                f"of units of '{model.name}' that may go. "
                f"Received: {settings['units_per_round']}."
            )
        initial, smallest = extent(model, candidates)
        target = target or Target(layers=smallest["layers"])
        return cls(
            target=target.resolve(initial, smallest),
            initial=initial,
            savings={
                name: (initial[name] - smallest[name]) / len(candidates)
                for name in initial
            },
            **common,
        )

    def settings(self):
        """What must agree for a run to be continued, as JSON values."""
        return {
            "initial": self.initial,
            "recipe": dataclasses.asdict(self.recipe),
            "retrain_recipe": dataclasses.asdict(self.retrain_recipe),
            "units_per_round": self.units_per_round,
            "target": self.target and self.target.limits,
            "max_rounds": None if math.isinf(self.max_rounds) else self.max_rounds,
            "stop_on_drop": self.stop_on_drop,
            "tolerance": self.tolerance,
            "select_on": self.select_on,
            "criterion": getattr(self.criterion, "__name__", str(self.criterion)),
            "guidance": self.guidance and dataclasses.asdict(self.guidance),
            "protected": sorted(self.protected),
            "seed": self.seed,
            "backend": keras.backend.backend(),
        }

    def scores(self, model):
        """The criterion's scores of the units that may go; none if none may."""
        return {
            name: float(score)
            for name, score in self.criterion(model).items()
            if name not in self.protected
        }

    def next_units(self, scores):
        """The units to remove in the next round."""
        return select_units(scores, self.units_per_round)

    def held(self, record, rounds):
        """Whether a round kept the accuracy of the first."""
        accuracies = (each.accuracy(self.select_on) for each in (rounds[0], record))
        return held(*accuracies, self.tolerance)

    def stop_reason(self, rounds):
        """Why no further round is to run, or None."""
        if not rounds:
            return None
        last = rounds[-1]
        if self.max_rounds == 0:
            return "only the initial training was asked for"
        size = {**dataclasses.asdict(last), "units": len(last.units)}
        if self.target.reached(size):
            return f"target reached: at most {self.target}"
        if self.stop_on_drop and not self.held(last, rounds):
            return "accuracy dropped"
        if last.round == self.max_rounds:
            return f"{self.max_rounds} rounds are done"
        return None if last.scores else "no unit is left that may go"

    def later_rounds(self, number, size):
        """How many rounds will follow one of this size, if units save the average."""
        if self.target is None:
            return 0
        units = max(
            math.ceil((size[name] - limit) / self.savings[name])
            for name, limit in self.target.limits.items()
        )
        needed = math.ceil(units / self.units_per_round)
        return max(0, min(needed, self.max_rounds - number))
