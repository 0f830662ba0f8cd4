"""What is decided between two trainings: by a `Removal`, for one model."""

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
from resprune_tf.system.wording import counted
from resprune_tf.targets.greedy import greedy_search
from resprune_tf.targets.measures import (
    extent,
    names_of,
    removable_units,
    stay_to_learn,
    target_measures,
)
from resprune_tf.targets.solving import solve_target
from resprune_tf.targets.target import COUNTED, Target
from resprune_tf.units.finding import chosen_units, find_units


@dataclasses.dataclass(frozen=True)
class Plan:
    """A `Removal`, checked and resolved for one model.

    Attributes:
        removal: the `Removal`; its `mode` is known.
        target: its `Target` in absolute numbers, or what is left without all that may
            go; None if no measure can tell the end.
        candidates: names of the units that may go.
        known: names of all units of the initial net.
        kept: dict from the name of every other unit of the initial net to the reason
            why it is not removed.
        initial: measures of the initial net.
        savings: what a removed unit saves of each measure, on average.
        stay: how many of the units must stay, whichever: 1 if nothing else learns.
        fewest: the number of units that are left if all that may go are removed.
        examples: number of examples that rounds are judged on; None if it is unknown.
    """

    removal: Removal
    target: Target | None
    candidates: frozenset
    known: frozenset
    kept: dict
    initial: dict
    savings: dict = dataclasses.field(default_factory=dict)
    stay: int = 0
    fewest: int = 0
    examples: int | None = None

    @classmethod
    def check(cls, model, removal: Removal, to_the_last=True) -> "Plan":
        """The plan for a model.

        Args:
            model: a functional `keras.Model`; it is only read.
            removal: a `Removal`.
            to_the_last: whether, without a target, the net without all units that may
                go is one.

        Raises:
            ValueError: if a setting is out of range for this model, or a score no
                finite number or of no unit.
            CloneError: if a layer cannot be cloned.
            TypeError: if the model is not functional, or scores are no dict.
        """
        if removal.criterion is None:
            removal = removal.replace(criterion=importance)
        found = find_units(model)
        protected = names_of(removal.protected, found)
        free, not_removable = removable_units(
            found, [unit.name for unit in found], protected
        )
        candidates, units = frozenset(unit.name for unit in free), removal.units
        if units is not None:
            units = _asked_for(units, found, not_removable)
            candidates = frozenset(units)
            others = {unit.name: "it is not among `units`" for unit in free}
            not_removable |= {k: v for k, v in others.items() if k not in candidates}
        known = {
            "candidates": candidates,
            "known": frozenset(unit.name for unit in found),
            "kept": not_removable,
        }
        removal = removal.replace(units=units, protected=tuple(sorted(protected)))
        if removal.max_rounds == 0:
            return cls(removal, None, initial=target_measures([model])[0], **known)
        scores = check_scores(removal.criterion(model), found)
        if removal.units_per_round == 0:
            return cls(removal, None, initial=target_measures([model])[0], **known)
        check_scored(scores, model)
        first = not_removable
        free, not_removable = removable_units(
            found, candidates.intersection(scores), protected
        )
        known["kept"] = {**not_removable, **first}  # which knows why there is no score
        if not free:
            reasons = ", ".join(
                f"{name} ({why})" for name, why in not_removable.items()
            )
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
        per_round = removal.units_per_round
        if per_round != ALL and not 1 <= per_round <= len(names):
            raise ValueError(
                f"`units_per_round` must be from 1 to {len(names)}, the number "
                f"of units of '{model.name}' that may go. Received: {per_round}."
            )
        target = removal.target
        initial, smallest = extent(model, names, target)
        if target is not None:
            why = {unit.name: "one unit must stay to learn" for unit in least}
            target = target.resolve(initial, smallest, {**not_removable, **why})
        elif to_the_last:
            target = _everything(initial, smallest, units)
        return cls(
            removal,
            target,
            initial=initial,
            savings={
                name: (initial[name] - smallest[name]) / len(names) for name in initial
            },
            stay=stay,
            fewest=smallest["units"],
            **known,
        )

    @property
    def max_rounds(self) -> float:
        """Most rounds after the initial training."""
        most = self.removal.max_rounds
        return math.inf if most is None else most

    @property
    def in_turns(self) -> bool:
        """Whether models are measured in turns with the initial one."""
        return self.target is not None and bool(self.target.conditions)

    def settings(self) -> dict:
        """What must agree for a run to be continued, as JSON values."""
        removal, target = self.removal, self.target
        return {
            # Not a file's size or a latency: the next process may find others.
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

    def scores(self, model) -> dict[str, float]:
        """The criterion's scores of the units that may go; none if none may.

        Raises:
            ValueError: if a score is no finite number, or of no unit that the model
                has or once had; or of one that the initial net has not.
        """
        scores = check_scores(
            self.removal.criterion(model), find_units(model), self.known
        )
        if strangers := [name for name in scores if name not in self.known]:
            raise ValueError(
                f"'{model.name}' has units that the initial net has not: "
                f"{', '.join(strangers)}. Layers must keep their names in copies and "
                "files."
            )
        return {name: v for name, v in scores.items() if name in self.candidates}

    def next_units(self, scores, model, images=None, on_step=None) -> tuple[str, ...]:
        """The units to remove in the next round; none if the run only retrains.

        Args:
            scores: what `scores` returned for the model.
            model: a functional `keras.Model`; it is only read.
            images, on_step: as for `greedy_search`.
        """
        count, most = self.removal.units_per_round, len(scores) - self.stay
        if count == 0:
            return ()
        if count != ALL:
            return select_units(scores, min(count, most))
        if self.target is None:
            return select_units(scores, most)
        stay = [u.name for u in find_units(model) if u.name not in scores]
        if self.in_turns:
            return solve_target(model, self.target, scores, stay).units[:most]
        found = greedy_search(
            model,
            self.removal.criterion,
            target=self.target,
            protected=stay,
            images=images,
            on_step=on_step,
        )
        return found.units[:most]

    def value(self, record) -> float | None:
        """What a round is judged by: the monitored measure, if there is one."""
        if self.removal.monitor is None:
            return None
        return record.measure(self.removal.select_on, self.removal.monitor)

    def judging(self, examples: int | None) -> "Plan":
        """The plan of a run that is judged on so many examples.

        Raises:
            ValueError: if the tolerance depends on their number, which is unknown.
        """
        if examples is None and self.removal.tolerance == AUTO:
            raise ValueError(
                '`tolerance="auto"` depends on the number of '
                f"`{self.removal.select_on}` examples, which this pipeline does not "
                "state. Give a number, such as `tolerance=0.005`."
            )
        return dataclasses.replace(self, examples=examples)

    def tolerance(self, rounds) -> float:
        """The accepted deterioration, as a number."""
        initial = self.value(rounds[0])
        return resolved(self.removal.tolerance, initial, self.examples)

    def tolerance_told(self, rounds) -> str | None:
        """What one example and the tolerance amount to, in words; None if unknown."""
        if not (is_accuracy(self.removal.monitor) and self.examples):
            return None
        auto = self.removal.tolerance == AUTO
        return (
            f"{counted(self.examples, self.removal.select_on + ' example')}, one is "
            f"{points(1 / self.examples)}; accepted decrease: "
            f"{points(self.tolerance(rounds))}" + " (auto: one standard error)" * auto
        )

    def accepts(self, record, rounds) -> bool:
        """Whether a round kept the monitored measure of the first."""
        if self.removal.monitor is None:
            return True
        values = (self.value(each) for each in (rounds[0], record))
        return within_tolerance(*values, self.tolerance(rounds), self.removal.mode)

    def target_reached(self, record) -> bool:
        """Whether the net of a round meets the target."""
        if self.target is None:
            return False
        counts = {**dataclasses.asdict(record), "units": len(record.units)}
        return self.target.reached({**counts, **record.measured})

    def judged(self, rounds):
        """The rounds that count: with `stop_on_drop` none after the first drop.

        There are some where a run went on under another tolerance.
        """
        if self.removal.stop_on_drop:
            for index, record in enumerate(rounds):
                if not self.accepts(record, rounds):
                    return rounds[: index + 1]
        return rounds

    def stop_reason(self, rounds) -> str | None:
        """Why no further round is to run, or None."""
        if not rounds:
            return None
        last = self.judged(rounds)[-1]
        return self.reason_to_stop(rounds) or self.reason_without_units(last.scores)

    def reason_to_stop(self, rounds) -> str | None:
        """Why no unit is to go after some rounds, however they are scored, or None."""
        last, removal = self.judged(rounds)[-1], self.removal
        if self.max_rounds == 0:
            return "only the initial training was asked for"
        if self.target_reached(last):
            return f"target reached: at most {self.target}"
        if removal.stop_on_drop and not self.accepts(last, rounds):
            return f"{removal.monitor} {'dropped' if removal.mode == 'max' else 'rose'}"
        if last.round == self.max_rounds:
            number = counted(self.max_rounds, "round")
            return f"{number} {'is' if self.max_rounds == 1 else 'are'} done"
        return None

    def reason_without_units(self, scores) -> str | None:
        """Why no unit can go of those that have a score, or None."""
        if len(scores) > self.stay or self.removal.units_per_round == 0:
            return None
        return "no unit is left that may go"

    def later_rounds(self, number, size):
        """How many rounds will follow one of this size, if units save the average."""
        per_round = self.removal.units_per_round
        if self.max_rounds and per_round == 0:
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
        needed = min(units, 1) if per_round == ALL else math.ceil(units / per_round)
        return max(0, min(needed, self.max_rounds - number))


def select_units(scores: Mapping[str, float], count: int) -> tuple[str, ...]:
    """The `count` units with the smallest scores, or all there are, smallest first.

    Equal scores keep the order of `scores`. Line 6 of Algorithm 1.

    Raises:
        ValueError: if no unit has a score, or `count` < 1.
    """
    if not scores or count < 1:
        raise ValueError(f"Cannot select {count} of {len(scores)} scored units.")
    return tuple(sorted(scores, key=scores.get)[:count])


def _everything(initial, smallest, units):
    """The target of a run that is given none; None if no measure can tell its end."""
    for measure in ("layers", "units") if units is None else ("units",):
        # A branch beside the units may be the longest path, and targets are above 0.
        if initial[measure] > smallest[measure] > 0:
            return Target(**{measure: smallest[measure]})
    return None


def _asked_for(units, found, not_removable):
    """Names of the units to remove, each of which may go."""
    free = [unit.name for unit in found if unit.name not in not_removable]
    offer = f"Those that may go: {', '.join(free) or 'none'}."
    names = tuple(unit.name for unit in chosen_units(units, found, offer))
    for name in names:
        if name in not_removable:
            raise ValueError(
                f"Unit '{name}' of `units` may not go: {not_removable[name]}. {offer}"
            )
    return names
