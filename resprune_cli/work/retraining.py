"""Prunes in rounds, each of which retrains the remaining model."""

import dataclasses
import math
import time

import keras

import resprune_tf as rp
from resprune_cli.options.usage import Failed, WrongUse
from resprune_cli.start import StopNow, Stopped, StopRequest
from resprune_cli.work import data_source, measuring, model_file, scoring
from resprune_cli.work.outcome import Outcome
from resprune_tf.deploy.fresh_process import RuntimeFailed
from resprune_tf.runs.judging import format_value
from resprune_tf.runs.records import read_settings
from resprune_tf.system.progress import say
from resprune_tf.system.wording import counted
from resprune_tf.targets.target import TargetMet

_DIVIDED = (
    "The validation examples were taken from the training examples. If the model was "
    "trained on them, its accuracy on them is too high, and pruned models are judged "
    "too strictly. Give other examples as x_val and y_val."
)


def prune(model, data, splits, target, args):
    """Removes units and retrains until the target is met or the metric is too bad.

    Args:
        model: a compiled functional `keras.Model`.
        data: `Data` with labels.
        splits: labelled examples by the name of their split.
        target: a `Target`, or None.
        args: parsed arguments.

    Returns:
        An `Outcome`, whose `model` is the smallest whose metric is within the
        tolerance.

    Raises:
        WrongUse: if `out` contains another run, or if settings do not fit together.
        Failed: if the target cannot be met, or if a training diverges.
        Stopped: by a signal or the time limit; the same call continues the run.
    """
    begun = time.monotonic()
    keras.utils.set_random_seed(args.seed)
    fit_data = rp.FitData(
        **splits,
        batch_size=args.batch_size,
        name=args.data,
        augment=data_source.augmentation(args, splits["train"][0]),
    )
    measured, guesses = _measure_given(model, splits, args)
    if data.divided and not guesses:
        print(f"NOTE: {_DIVIDED}", flush=True)
    name = args.criterion or scoring.default_criterion(model)
    print(f"Criterion: {name}.", flush=True)
    criterion = scoring.criterion(name, model, data, args)
    scaled = _with_importances(model) if name == "importance" else model
    untrained = scaled is not model  # the factors ω are new
    initial, recipe = _recipes(model, args, guesses or untrained)
    say("Checking the model, the data and the settings ...")
    with StopRequest(patience=1) as stop:
        try:
            result = rp.prune_and_retrain(
                scaled,
                fit_data,
                initial or recipe,
                retrain_recipe=recipe,
                initial="train" if initial else "as_given",
                guidance=None if initial or args.no_teacher else "auto",
                removal=rp.Removal(
                    target=target,
                    units_per_round=_units_per_round(initial, args),
                    max_rounds=args.max_rounds,
                    criterion=criterion,
                    protected=args.protect,
                    monitor=args.monitor,
                    tolerance=args.tolerance,
                    stop_on_drop=args.stop_on_drop,
                ),
                run=rp.RunOptions(
                    args.out,
                    seed=args.seed,
                    deadline=begun + 60 * args.minutes if args.minutes else math.inf,
                    should_stop=stop.reason,
                    flags=args.command_line,
                ),
            )
        except (rp.RunInterrupted, StopNow) as error:
            raise Stopped(f"Stopped: {error}.", stop.code) from error
        except (RuntimeFailed, Failed) as error:
            # Ctrl-C also ends the process that measures the latency.
            if (reason := stop.reason()) is None:
                raise
            raise Stopped(f"Stopped: {reason}.", stop.code) from error
        except rp.RunDirectoryError as error:
            raise WrongUse(str(error).replace("run directory", "--out")) from error
        except TargetMet:
            raise
        except (ValueError, rp.TrainingDiverged) as error:
            raise Failed(str(error)) from error
    print(f"\n{result}")
    examples = len(splits["validation"][0])
    outcome = _outcome(model, result, target, measured, examples, args)
    judged = not (guesses or result.final.get("diverged"))
    if outcome.failure and data.divided and judged:
        failure = f"{outcome.failure} {_DIVIDED}"
        outcome = dataclasses.replace(outcome, failure=failure)
    return outcome


def _measure_given(model, splits, args):
    """Measures the given model.

    Returns:
        dict from the name of a split to its measures, and whether the model is no
        better than guessing.
    """
    counts = [len(x) for split, (x, _) in splits.items() if split != "train"]
    say(f"Measuring the given model on {counted(sum(counts), 'example')} ...")
    measured = {
        split: measuring.evaluate(model, x, y, args.batch_size)
        for split, (x, y) in splits.items()
        if split != "train"
    }
    monitor, examples = args.monitor, len(splits["validation"][0])
    print(
        f"The given model: validation {monitor} "
        f"{format_value(monitor, measured['validation'][monitor])} on "
        f"{counted(examples, 'example')}.",
        flush=True,
    )
    guesses = measuring.check_guessing(model, measured["validation"], examples, args)
    return measured, guesses


def _with_importances(model):
    """The model with a factor ω on every branch; the model itself if it has them."""
    if any(
        unit.removable and unit.branches and unit.importance is None
        for unit in rp.find_units(model)
    ):
        return model_file.compiled_as(rp.add_importance(model), model)
    return model


def _recipes(model, args, untrained):
    """The `FitRecipe` of the initial training, or None, and of each retraining."""
    epochs = args.initial_epochs
    if epochs is None:
        epochs = args.epochs if untrained else 0
    recipe = rp.FitRecipe(
        args.epochs,
        learning_rate=args.learning_rate,
        schedule=args.schedule,
        precision=_precision(model, args),
    )
    if epochs:
        print(f"Initial training: {counted(epochs, 'epoch')}.", flush=True)
        return recipe.replace(epochs=epochs), recipe
    recipe = recipe.for_trained(model)
    print(
        "The model is pruned without initial training. Each retraining: "
        f"{counted(args.epochs, 'epoch')}, learning rate {recipe.learning_rate:g}, "
        f"schedule {recipe.schedule}, computations in {recipe.precision}.",
        flush=True,
    )
    return None, recipe


def _units_per_round(initial, args):
    if args.units_per_round is not None:
        return args.units_per_round
    return "all" if args.limits and not initial and not args.stop_on_drop else 1


def _precision(model, args):
    """The value of `--precision`. A run that is continued keeps what auto chose."""
    if args.precision != "auto":
        return args.precision
    recorded = (read_settings(args.out) or {}).get("retrain_recipe")
    if isinstance(recorded, dict):
        return recorded.get("precision", "float32")
    own = all(
        type(layer).__module__.partition(".")[0] in ("keras", "resprune_tf")
        for layer in model._flatten_layers()
    )
    return rp.native_precision() if own else "float32"


def _outcome(model, result, target, given, examples, args):
    """The `Outcome` of a finished run.

    Args:
        model: the given model.
        result: what `prune_and_retrain` returned.
        target: a `Target`, or None.
        given: measures of the given model by the name of the split.
        examples: number of validation examples.
        args: parsed arguments.
    """
    first, selected = result.rounds[0], result.selected
    monitor = args.monitor
    before, trained, after = (
        {f"{split} {monitor}": each[monitor] for split, each in measures.items()}
        for measures in (given, *map(measuring.held_out, (first, selected)))
    )
    notes = {
        **({"round_0": trained} if first.epochs else {}),
        "final": result.final,
        "rounds": [r.line() for r in result.rounds],
    }
    # If the given model was no better than guessing, the warning was printed before.
    if measuring.guessing(model, given["validation"], examples) is None:
        if guessing := measuring.guessing(model, selected.validation, examples):
            notes["doubt"] = f"The pruned model: {guessing}"
    removed = tuple(
        name for r in result.rounds[: selected.round + 1] for name in r.removed
    )
    return Outcome(
        result.model if removed else None,
        removed,
        before,
        after,
        failure(result, target, monitor, args),
        notes,
    )


def failure(result, target, monitor, args):
    """Message that says why the request was not met, or None if it was."""
    last, selected = result.rounds[-1], result.selected
    if diverged := result.final.get("diverged"):
        written = (
            "the smallest model of the earlier rounds whose metric is within the "
            "tolerance is written"
        )
        if selected.round == 0:
            written = "no earlier pruned model has a metric within the tolerance"
        return f"{diverged['reason']} This round is discarded; {written}."
    met = result.final["target_reached"]
    meets = target is None or (met and selected.round == last.round)
    if selected.round > 0 and meets:
        return None
    values = [each.measure("validation", monitor) for each in (result.rounds[0], last)]
    change = " changed from {} to {}".format(
        *(format_value(monitor, value) for value in values)
    )
    advice = (
        "Repeat the command with a larger --tolerance to select again among the rounds "
        f"in {args.out}, or train for more --epochs with another --out."
    )
    if met:
        advice = (
            f"The model that meets the target is {args.out / last.model}; its "
            f"validation {monitor}{change}. {advice}"
        )
    if selected.round > 0:
        return (
            "No model that meets the target has a metric within the tolerance. The "
            f"smallest model within the tolerance is written. {advice}"
        )
    return (
        "No pruned model has a metric within the tolerance, and none is written. "
        f"{advice}"
    )
