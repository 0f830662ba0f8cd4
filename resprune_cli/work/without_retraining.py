"""Prunes without retraining: scores and removes units, and trains nothing."""

import contextlib
import dataclasses

import numpy as np

from resprune_cli.options.usage import Failed, WrongUse
from resprune_cli.start import quiet
from resprune_cli.work import data_source, measuring, model_file, scoring
from resprune_cli.work.outcome import Outcome
from resprune_tf import Round, find_units, importances, remove_units
from resprune_tf.criteria.registry import ON_EXAMPLES
from resprune_tf.runs.judging import (
    direction,
    is_accuracy,
    points,
    resolved,
    within_tolerance,
)
from resprune_tf.system.progress import say
from resprune_tf.targets.greedy import greedy_search
from resprune_tf.targets.measures import measure, removable_units
from resprune_tf.targets.solving import solve_target
from resprune_tf.targets.target import COUNTED, TargetMet
from resprune_tf.training.recalibration import recalibrate

_RECALIBRATED_ON = 2048  # training examples
_ADVICE = "Retraining (--epochs 10), or at least --recalibrate, may restore it."


def prune(model, data, splits, target, args):
    """Removes units until a target is met.

    If the criterion uses examples and the target limits counts only, units are scored
    again after each removal. Otherwise units are scored once, and the set with the
    smallest sum of scores that meets the target is removed.

    Args:
        model: a functional `keras.Model`, compiled if there are labels.
        data: `Data`, or None.
        splits: labelled examples by the name of their split; may be empty.
        target: a `Target`.
        args: parsed arguments.

    Returns:
        An `Outcome`.

    Raises:
        WrongUse: if the model is no better than guessing.
        Failed: if the target cannot be met.
    """
    say("Measuring the given model ...")
    first = _round(0, model, (), splits, args)
    examples = len(splits["validation"][0]) if splits else 0
    guesses = measuring.check_guessing(model, first.validation, examples, args)
    name = args.criterion or scoring.default_criterion(model)
    criterion = scoring.criterion(name, model, data, args)
    images = None
    if args.recalibrate and data is not None:
        x, y = data.splits["train"]
        images, _ = data_source.sample(x, y, _RECALIBRATED_ON, args.seed)
        if augment := data_source.augmentation(args, x):
            images = augment(images, np.random.default_rng(args.seed))
    counted = all(limit in COUNTED for limit in target.limits)
    remove = _one_by_one if name in ON_EXAMPLES and counted else _cheapest_set
    print(
        f"Scoring units by {name} and choosing the units to remove ...",
        flush=True,
    )
    solution, pruned, scores = remove(model, criterion, target, images, args)
    print(f"\n{solution}", flush=True)
    model_file.compiled_as(pruned, model)
    say("Measuring the pruned model ...")
    last = _round(1, pruned, solution.units, splits, args)
    notes = {"criterion": name, "solution": solution.to_dict()}
    guessing = measuring.guessing(model, last.validation, examples)
    if guessing and not guesses:
        notes["doubt"] = f"The pruned model: {guessing} {_ADVICE}"
    removable, others = removable_units(find_units(model), list(scores), args.protect)
    scores = {unit.name: scores[unit.name] for unit in removable}
    first = dataclasses.replace(first, scores=scores, kept=others)
    notes |= _records((first, last), solution, model, splits, args)
    before, after = (
        {f"{split} {name}": v for split, each in on.items() for name, v in each.items()}
        for on in map(measuring.held_out, (first, last))
    )
    return Outcome(
        pruned,
        solution.units,
        before,
        after,
        _failure(model, before, after, splits, notes, args),
        notes,
    )


def _one_by_one(model, criterion, target, images, args):
    """A `GreedyResult`, the pruned model, and the scores before any removal."""

    def print_step(step):
        print(f"  without {step.unit} (score {step.score:.4g})", flush=True)

    try:
        found = greedy_search(
            model,
            criterion,
            target=target,
            protected=args.protect,
            images=images,
            batch_size=args.recalibration_batch,
            on_step=print_step,
        )
    except TargetMet:
        raise
    except ValueError as error:
        raise Failed(str(error)) from error
    return found, found.model, found.steps[0].scores


def _cheapest_set(model, criterion, target, images, args):
    """A `Solution`, the pruned model, and the scores of all units."""
    scores = criterion(model)
    if not scores:
        raise WrongUse(
            "--criterion importance needs a model with trained factors ω. Give --data "
            "and another criterion, such as block_influence."
        )
    try:
        with quiet():
            solution = solve_target(model, target, scores, args.protect)
    except TargetMet:
        raise
    except ValueError as error:
        raise Failed(str(error)) from error
    pruned = remove_units(model, solution.units)
    if images is not None:
        say("Re-estimating the BatchNormalization statistics ...")
        pruned = recalibrate(pruned, images, args.recalibration_batch)
    return solution, pruned, scores


def _round(number, model, removed, splits, args):
    """The `Round` of a model without training, measured on held-out examples."""
    on, correct = {"validation": {}, "test": {}}, {}
    for split, (x, y) in splits.items():
        if split == "train":
            continue
        on[split] = measuring.evaluate(model, x, y, args.batch_size)
        if found := measuring.correct(model, x, y, args.batch_size, on[split]):
            correct[split] = found
    size = measure(model)
    del size["units"]
    return Round(
        **{"round": number, "removed": tuple(removed), "model": "", **size, **on},
        units=tuple(unit.name for unit in find_units(model)),
        importances=importances(model),
        **{"scores": {}, "epochs": 0, "train": {}, "seconds": 0.0},
        correct=correct,
    )


def _records(rounds, solution, model, splits, args):
    """The records for a report: `rounds` and `final`, as in a run directory."""
    lines, final = [], {"selected_round": 1, "tolerance": args.tolerance or 0.0}
    measured = solution.initial, solution.measures
    for record, found in zip(rounds, measured, strict=True):
        more = {name: value for name, value in found.items() if name not in COUNTED}
        line = dataclasses.replace(record, measured=more).line()
        lines.append({name: v for name, v in line.items() if name != "model"})
    final["stop_reason"] = f"target reached: at most {solution.target}"
    final["select_on"] = "validation"
    if splits:
        final["monitor"] = measuring.monitored(list(rounds[0].validation), args.monitor)
        with contextlib.suppress(ValueError):  # the direction may be unknown
            final["mode"] = direction(model, final["monitor"])
        final["selection_examples"] = len(splits["validation"][0])
        final["test_examples"] = len(splits["test"][0]) if "test" in splits else None
    return {"rounds": lines, "final": final}


def _failure(model, before, after, splits, notes, args):
    """Message if the metric is worse by more than a given tolerance, or None.

    Adds the tolerance to `notes`, as a number.
    """
    if args.tolerance is None or not before:
        return None
    monitor, name = args.monitor, f"validation {args.monitor}"
    count = len(splits["validation"][0])
    tolerance = resolved(args.tolerance, before[name], count)
    notes["tolerance"] = tolerance
    mode = direction(model, monitor)
    if within_tolerance(before[name], after[name], tolerance, mode):
        return None
    amount = f"{tolerance:g}"
    if is_accuracy(monitor):
        amount = f"{points(tolerance)} (one of {count:,} examples: {points(1 / count)})"
    return (
        f"The {name} changed from {before[name]:.5g} to {after[name]:.5g}, by more "
        f"than --tolerance {args.tolerance}: {amount}. {_ADVICE}"
    )
