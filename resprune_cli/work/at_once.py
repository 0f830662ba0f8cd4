"""Pruning at once: the units are scored, a set is taken out, nothing is retrained."""

from resprune_cli.options.usage import Failed, WrongUse
from resprune_cli.start import quiet
from resprune_cli.work import model_file, scoring, terms
from resprune_cli.work.outcome import Outcome
from resprune_tf import remove_units
from resprune_tf.runs.judging import direction, within_tolerance
from resprune_tf.targets.solving import solve_target
from resprune_tf.training.recalibration import recalibrate

_WAYS = "Retraining (--epochs 10), or at least --recalibrate, may win it back."


def prune(model, data, splits, target, args):
    """Takes out the cheapest set of units that meets a target.

    Args:
        model: a functional `keras.Model`, compiled if there are labels.
        data: `Data`, or None.
        splits: labelled examples by the name of their split; may be empty.
        target: a `Target`.
        args: parsed arguments.

    Returns:
        An `Outcome`.

    Raises:
        WrongUse: if the model does no better than guessing.
        Failed: if the target cannot be met.
    """
    before = _measures(model, splits, args)
    doubt = terms.check_doubt(model, _validation(before), args)
    name = args.criterion or scoring.usual_criterion(model)
    scores = scoring.criterion(name, model, data, args)(model)
    if not scores:
        raise WrongUse(
            "--criterion importance needs a model with trained importances ω. Score "
            "on --data by another criterion, such as block_influence."
        )
    print(f"Units are scored by {name}, the target solved for ...", flush=True)
    try:
        with quiet():
            solution = solve_target(model, target, scores, args.protect)
    except ValueError as error:
        raise Failed(str(error)) from error
    print(f"\n{solution}", flush=True)
    shorter = remove_units(model, solution.units)
    if args.recalibrate and data is not None:
        shorter = recalibrate(shorter, data.splits["train"][0])
    model_file.compiled_as(shorter, model)
    after = _measures(shorter, splits, args)
    notes = {"criterion": name, "solution": solution.to_dict()}
    guessing = terms.guessing(model, _validation(after))
    if guessing and not doubt:
        notes["doubt"] = f"The shorter model: {guessing} {_WAYS}"
    return Outcome(
        shorter,
        solution.units,
        before,
        after,
        _failure(model, before, after, args),
        notes,
    )


def _measures(model, splits, args):
    """What a model measures on what was held out."""
    return {
        f"{split} {name}": value
        for split, (x, y) in splits.items()
        if split != "train"
        for name, value in terms.evaluate(model, x, y, args.batch_size).items()
    }


def _validation(measures):
    """Those on validation examples, by the names of what is measured."""
    split = "validation "
    return {
        name.removeprefix(split): value
        for name, value in measures.items()
        if name.startswith(split)
    }


def _failure(model, before, after, args):
    """What was lost beyond a tolerance that was given, in words."""
    if args.tolerance is None or not before:
        return None
    monitor, name = args.monitor, f"validation {args.monitor}"
    mode = direction(model, monitor)
    if within_tolerance(before[name], after[name], args.tolerance, mode):
        return None
    return (
        f"The {name} went from {before[name]:.5g} to {after[name]:.5g}, further than "
        f"--tolerance {args.tolerance:g}. {_WAYS}"
    )
