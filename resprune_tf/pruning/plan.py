"""The decisions between two trainings: which units to remove, and when to stop."""

import dataclasses
import math
from collections.abc import Mapping

from resprune_tf.criteria.by_name import check_scored, check_scores, importance
from resprune_tf.pruning.identity import criterion_settings
from resprune_tf.pruning.options import ALL, Removal
from resprune_tf.runs.judging import (
    AUTO,
    is_accuracy,
    points,
    resolved,
    within_tolerance,
)
from resprune_tf.runs.records import Round, model_name
from resprune_tf.system.wording import counted
from resprune_tf.targets.greedy import greedy_search
from resprune_tf.targets.measures import (
    check_measurable,
    extent,
    names_of,
    none_removable,
    removable_units,
    stay_to_learn,
    target_measures,
)
from resprune_tf.targets.solving import solve_target
from resprune_tf.targets.target import COUNTED, LATENCY, Target
from resprune_tf.units.finding import chosen_units, find_units
from resprune_tf.units.importances import importances


@dataclasses.dataclass(frozen=True)
class Plan:
    """A `Removal`, checked and resolved for one model.

    Attributes:
        removal: the `Removal` with its names resolved.
        target: its `Target` in absolute numbers. Without one, this is the number of
            units after the removal of all removable units; None if that is 0.
        candidates: names of the units that may be removed.
        all_units: names of all units of the initial model.
        not_removable: dict from each other unit of the initial model to the reason why
            it is not removed.
        initial: dict from measure to number, for the initial model.
        savings: dict from measure to the average saving per removed unit. In a run that
            continues with a latency target, it has counts only.
        must_remain: number of candidates that must remain, whichever they are: 1 if no
            other layer has trainable weights, else 0.
        fewest_units: number of units after the removal of all removable units.
        examples: number of examples on which rounds are judged; None if unknown.
    """

    removal: Removal
    target: Target | None
    candidates: frozenset
    all_units: frozenset
    not_removable: dict
    initial: dict
    savings: dict = dataclasses.field(default_factory=dict)
    must_remain: int = 0
    fewest_units: int = 0
    examples: int | None = None

    @classmethod
    def check(
        cls, model, removal: Removal, default_target=True, initial_ms=None
    ) -> "Plan":
        """Creates the plan for a model.

        Args:
            model: a functional `keras.Model`; it is not changed.
            removal: a `Removal`.
            default_target: whether a missing target is replaced by the number of units
                after the removal of all removable units.
            initial_ms: latency in ms of round 0 of a run that continues. The target was
                checked when the run began, so nothing is timed or written again.

        Raises:
            ValueError: if a setting is out of range for this model, or if a score is
                not finite or not that of a unit.
            CloneError: if a layer cannot be cloned.
            TypeError: if the model is not functional, or if the criterion does not
                return a dict.
        """
        if removal.criterion is None:
            removal = removal.replace(criterion=importance)
        found = find_units(model)
        protected = names_of(removal.protected, found)
        removable, not_removable = removable_units(
            found, [unit.name for unit in found], protected
        )
        candidates, units = frozenset(unit.name for unit in removable), removal.units
        if units is not None:
            units = _requested_units(units, found, not_removable)
            candidates = frozenset(units)
            others = {unit.name: "it is not among `units`" for unit in removable}
            not_removable |= {k: v for k, v in others.items() if k not in candidates}
        fields = {
            "candidates": candidates,
            "all_units": frozenset(unit.name for unit in found),
            "not_removable": not_removable,
        }
        removal = removal.replace(units=units, protected=tuple(sorted(protected)))
        if removal.max_rounds == 0:
            return cls(removal, None, initial=target_measures([model])[0], **fields)
        if removal.removes and not removable:
            raise ValueError(none_removable(found, not_removable))
        scores = check_scores(removal.criterion(model), found)
        if removal.units_per_round == 0:
            return cls(removal, None, initial=target_measures([model])[0], **fields)
        check_scored(scores, model)
        removable, excluded = removable_units(
            found, candidates.intersection(scores), protected
        )
        # The earlier reasons explain why there is no score.
        fields["not_removable"] = {**excluded, **not_removable}
        if not removable:
            raise ValueError(none_removable(found, excluded))
        for name in units or ():
            if name not in scores:
                raise ValueError(
                    f"Unit '{name}' of `units` has no score that determines its order. "
                    f"The criterion scores: {', '.join(scores)}."
                )
        must_remain = stay_to_learn(model, removable)
        if must_remain and units is not None:
            raise ValueError(
                f"`units` contain all trainable weights of '{model.name}', so nothing "
                f"would remain to train. Received: units={units}. Omit one of them."
            )
        # Later scores decide which unit remains. The sizes here are lower bounds.
        remaining = sorted(removable, key=lambda unit: unit.parameters)[:must_remain]
        names = [unit.name for unit in removable if unit not in remaining]
        if not names:
            raise ValueError(
                f"No unit of '{model.name}' can be removed: '{removable[0].name}' "
                "contains all trainable weights, so nothing would remain to train."
            )
        per_round = removal.units_per_round
        if per_round != ALL and not 1 <= per_round <= len(names):
            raise ValueError(
                f"`units_per_round` must be from 1 to {len(names)}, the number of "
                f"removable units of '{model.name}'. Received: {per_round}."
            )
        target = removal.target
        continued = initial_ms is not None
        if continued and target is not None:
            check_measurable(model, target)
        initial, smallest = extent(model, names, None if continued else target)
        if continued and target is not None:
            target = target.absolute(initial)
        elif target is not None:
            why = {u.name: "no other layer has trainable weights" for u in remaining}
            target = target.resolve(initial, smallest, {**excluded, **why})
        elif default_target and smallest["units"] > 0:  # a target must be above 0
            target = Target(units=smallest["units"])
        return cls(
            removal,
            target,
            initial=initial,
            savings={
                name: (initial[name] - smallest[name]) / len(names) for name in initial
            },
            must_remain=must_remain,
            fewest_units=smallest["units"],
            **fields,
        )

    @property
    def max_rounds(self) -> float:
        """The maximum number of rounds after the initial training."""
        most = self.removal.max_rounds
        return math.inf if most is None else most

    @property
    def in_turns(self) -> bool:
        """Whether models are measured in turns with the initial one."""
        return self.target is not None and bool(self.target.conditions)

    def settings(self) -> dict:
        """Returns the settings that must agree to resume a run, as JSON values."""
        removal, target = self.removal, self.target
        return {
            # File size and latency are left out, because they differ between processes.
            "initial": {name: self.initial[name] for name in COUNTED},
            "units_per_round": removal.units_per_round,
            "target": target and {**target.limits, **target.conditions},
            **({} if removal.units is None else {"units": sorted(removal.units)}),
            "max_rounds": removal.max_rounds,
            "stop_on_drop": removal.stop_on_drop,
            "tolerance": removal.tolerance,
            "select_on": removal.select_on,
            **criterion_settings(removal.criterion),
            "protected": sorted(removal.protected),
        }

    def measure(self, model, initial=None, initial_ms=None) -> dict:
        """Measures everything that the target limits.

        Args:
            model: a functional `keras.Model`.
            initial: the initial model if `in_turns`, else None.
            initial_ms: the recorded latency of the initial model in milliseconds.

        Returns:
            dict from measure to number.
        """
        if initial is None:
            return target_measures([model], self.target)[0]
        return target_measures([initial, model], self.target, initial_ms)[1]

    @staticmethod
    def not_counted(size: dict) -> dict:
        """Returns file size and latency among the measures of a model."""
        return {name: value for name, value in size.items() if name not in COUNTED}

    def record(self, number: int, model, size: dict, **fields) -> Round:
        """Creates the record of a trained model.

        Args:
            number: number of the round, 0 for the initial training.
            model: a functional `keras.Model`.
            size: what `measure` returned for it.
            **fields: further fields of `Round`.
        """
        return Round(
            **{
                "round": number,
                "removed": (),
                "units": tuple(unit.name for unit in find_units(model)),
                **{name: size[name] for name in ("layers", "parameters", "macs")},
                "importances": importances(model),
                "scores": {},
                "epochs": 0,
                "train": {},
                "validation": {},
                "test": {},
                "seconds": 0.0,
                "model": model_name(number),
                "measured": self.not_counted(size),
                "kept": {} if number else dict(self.not_removable),
                **fields,
            }
        )

    def scores(self, model) -> dict[str, float]:
        """Returns the scores of the removable units (Algorithm 1, line 5).

        Raises:
            ValueError: if a score is not finite, or not that of a unit of the model or
                of the initial model; or if the model has a unit that the initial model
                does not have.
        """
        scores = check_scores(
            self.removal.criterion(model), find_units(model), self.all_units
        )
        if unexpected := [name for name in scores if name not in self.all_units]:
            raise ValueError(
                f"'{model.name}' has units that the initial model does not have: "
                f"{', '.join(unexpected)}. Layers must keep their names when a model "
                "is copied, saved or loaded."
            )
        return {name: v for name, v in scores.items() if name in self.candidates}

    def next_units(
        self, scores, model, images=None, on_step=None, measured=None
    ) -> tuple[str, ...]:
        """Returns the units to remove next (line 6); none if the run only retrains.

        Args:
            scores: what `scores` returned for the model.
            model: a functional `keras.Model`; it is not changed.
            images, on_step: as for `greedy_search`.
            measured: file size and latency in the last round, a dict from measure to
                number; None if they are not limited.
        """
        count, most = self.removal.units_per_round, len(scores) - self.must_remain
        if count == 0:
            return ()
        if count != ALL:
            return select_units(scores, min(count, most))
        if self.target is None:
            return select_units(scores, most)
        protected = self.removal.protected
        if self.in_turns:
            target = self.target.from_here(measured) if measured else self.target
            return solve_target(model, target, scores, protected).units[:most]
        found = greedy_search(
            model,
            self.scores,  # of the candidates alone
            target=self.target,
            protected=protected,
            images=images,
            on_step=on_step,
        )
        return found.units[:most]

    def value(self, record) -> float | None:
        """The monitored value of a round; None if nothing is monitored."""
        if self.removal.monitor is None:
            return None
        return record.measure(self.removal.select_on, self.removal.monitor)

    def with_examples(self, examples: int | None) -> "Plan":
        """Returns the plan of a run whose rounds are judged on `examples` examples.

        Raises:
            ValueError: if the number is unknown, but the tolerance depends on it.
        """
        if examples is None and self.removal.tolerance == AUTO:
            raise ValueError(
                '`tolerance="auto"` depends on the number of '
                f"`{self.removal.select_on}` examples, which this pipeline does not "
                "state. Pass a number, such as `tolerance=0.005`."
            )
        return dataclasses.replace(self, examples=examples)

    def tolerance(self, rounds) -> float:
        """The accepted deterioration, as a number."""
        initial = self.value(rounds[0])
        return resolved(self.removal.tolerance, initial, self.examples)

    def tolerance_text(self, rounds) -> str | None:
        """The tolerance and the effect of one example as text; None if unknown."""
        if not (is_accuracy(self.removal.monitor) and self.examples):
            return None
        auto = self.removal.tolerance == AUTO
        return (
            f"{counted(self.examples, self.removal.select_on + ' example')}, one is "
            f"{points(1 / self.examples)}; accepted decrease: "
            f"{points(self.tolerance(rounds))}" + " (auto: one standard error)" * auto
        )

    def accepts(self, record, rounds) -> bool:
        """Whether the monitored value of a round is within the tolerance of round 0."""
        if self.removal.monitor is None:
            return True
        values = (self.value(each) for each in (rounds[0], record))
        return within_tolerance(*values, self.tolerance(rounds), self.removal.mode)

    def target_reached(self, record) -> bool:
        """Whether the model of a round meets the target."""
        if self.target is None:
            return False
        counts = {**dataclasses.asdict(record), "units": len(record.units)}
        return self.target.reached({**counts, **record.measured})

    def judged_rounds(self, rounds):
        """The rounds to select from.

        With `stop_on_drop` the rounds after the first that is not accepted do not
        count. They exist if the run continued with another tolerance.
        """
        if self.removal.stop_on_drop:
            for index, record in enumerate(rounds):
                if not self.accepts(record, rounds):
                    return rounds[: index + 1]
        return rounds

    def stop_reason(self, rounds) -> str | None:
        """The reason why no further round follows, or None."""
        if not rounds:
            return None
        last = self.judged_rounds(rounds)[-1]
        return self.reason_to_stop(rounds) or self.reason_without_units(last.scores)

    def reason_to_stop(self, rounds) -> str | None:
        """The reason to stop that does not depend on scores, or None."""
        last, removal = self.judged_rounds(rounds)[-1], self.removal
        if self.max_rounds == 0:
            return "only the initial training was requested"
        if self.target_reached(last):
            return f"target reached: at most {self.target}"
        if removal.stop_on_drop and not self.accepts(last, rounds):
            change = "decreased" if removal.mode == "max" else "increased"
            return f"{removal.monitor} {change} by more than the tolerance"
        if last.round == self.max_rounds:
            number = counted(self.max_rounds, "round")
            return f"{number} {'is' if self.max_rounds == 1 else 'are'} done"
        return None

    def reason_without_units(self, scores) -> str | None:
        """The reason why none of the scored units can be removed, or None."""
        if len(scores) > self.must_remain or self.removal.units_per_round == 0:
            return None
        return "no removable unit is left"

    def later_rounds(self, number, size):
        """Estimates how many rounds follow, from the average saving per unit.

        Args:
            number: int, number of the current round.
            size: dict from measure to number, for its model.
        """
        per_round = self.removal.units_per_round
        if per_round == 0:
            return self.max_rounds - number
        if not self.savings:
            return 0
        limits = {"units": self.fewest_units}
        if self.target is not None:
            limits = self.target.limits
        remaining = size["units"] - self.fewest_units
        units = max(
            (
                math.ceil(min(remaining, (size[name] - limit) / saving))
                if (saving := self._saving(name, size)) > 0
                else remaining
                for name, limit in limits.items()
                if size[name] > limit
            ),
            default=0,
        )
        needed = min(units, 1) if per_round == ALL else math.ceil(units / per_round)
        return max(0, min(needed, self.max_rounds - number))

    def _saving(self, name, size):
        """The average saving per removed unit, of all units or of those removed yet."""
        if name in self.savings:
            return self.savings[name]
        ratio = size["latency_ratio" if name in LATENCY else "file_ratio"]
        removed = self.initial["units"] - size["units"]
        return size[name] * (1 / ratio - 1) / removed if removed else 0


def select_units(scores: Mapping[str, float], count: int) -> tuple[str, ...]:
    """Returns the `count` units with the smallest scores, smallest first.

    If there are fewer units, all are returned. Equal scores keep the order of `scores`.
    This is line 6 of Algorithm 1.
    """
    return tuple(sorted(scores, key=scores.get)[:count])


def _requested_units(units, found, not_removable):
    """The names of the units to remove, checked to be removable."""
    removable = [unit.name for unit in found if unit.name not in not_removable]
    offer = f"Removable units: {', '.join(removable) or 'none'}."
    names = tuple(unit.name for unit in chosen_units(units, found, offer))
    for name in names:
        if name in not_removable:
            raise ValueError(
                f"Unit '{name}' of `units` cannot be removed: {not_removable[name]}. "
                f"{offer}"
            )
    return names
