"""The work of `resprune prune`: what both ways to a shorter model share."""

import contextlib
import json
import sys

from resprune_cli.options import result_files, usage
from resprune_cli.options.usage import Failed, WrongUse
from resprune_cli.start import quiet
from resprune_cli.work import (
    at_once,
    data_source,
    judging,
    model_file,
    retraining,
    terms,
)
from resprune_cli.work.outcome import Outcome
from resprune_tf import Target, find_units, write_report
from resprune_tf.graph.compilation import check_steps
from resprune_tf.report.run_records import RunRecords
from resprune_tf.report.summary import paired_tests
from resprune_tf.runs.judging import format_value
from resprune_tf.system.progress import say
from resprune_tf.system.whole_files import atomic_file, write_json
from resprune_tf.targets.measures import file_bytes, measure
from resprune_tf.targets.target import TargetMet
from resprune_tf.units.table import aligned


def run(args):
    """Prunes as the arguments say; returns the exit code.

    Raises:
        WrongUse: if arguments, model and data do not fit.
        Failed: if the target is not reached, or the metric not held.
    """
    # What a program reads is not mixed with what a person watches.
    watched = sys.stderr if args.json else sys.stdout
    with contextlib.redirect_stdout(watched):
        model = _model(args)
        compiled = model.compiled
        outcome = _pruned(model, args)
        told = _summary(model, outcome, args, compiled)
        if told["report"]:
            write_report(args.out)
        if not args.json:
            print("\n".join(_lines(told)), flush=True)
    if args.json:
        print(json.dumps(told, indent=1))
    if outcome.failure:
        raise Failed(outcome.failure)
    return 0


def _model(args):
    """The model of the file, which has something to remove."""
    model = model_file.open_layers(args, compile=True)
    if model.compiled:
        try:
            check_steps(model)
        except ValueError as error:
            raise WrongUse(str(error)) from error
    units = find_units(model)
    if not any(unit.removable for unit in units):
        raise WrongUse(f"There is nothing to remove. {units}")
    names = [unit.name for unit in units]
    if unknown := [name for name in args.protect if name not in names]:
        raise WrongUse(
            f"--protect {unknown[0]}: there is no such unit. Units: {', '.join(names)}."
        )
    removable = [u.name for u in units if u.removable and u.name not in args.protect]
    count = args.units_per_round
    if isinstance(count, int) and count > max(1, len(removable)):
        raise WrongUse(
            f"--units-per-round must be from 1 to {len(removable)}, the units that may "
            f"go. Received: {count}."
        )
    return model


def _pruned(model, args):
    """The `Outcome`; compiles the model where there are labels."""
    target = None
    if args.limits:
        target = Target(
            **args.limits,
            file_format=args.file_format,
            runtime=args.runtime,
            batch_size=args.runtime_batch,
            threads=args.threads,
        )
    _make(args.out)
    data, splits = None, {}
    if args.data is not None:
        data = data_source.read(args, model)
        print(f"Data: {data.told}.")
        if data.labelled:
            splits = terms.compile_for_labels(model, data, args)
            print(f"Loss and optimizer: {terms.describe_compiled(model)}.")
        sys.stdout.flush()
    if splits and (args.epochs or args.tolerance is not None):
        args.monitor = judging.choose_monitor(model, splits, args)
    elif args.tolerance is not None:
        raise WrongUse("--tolerance needs labels, and the data have none.")
    if args.epochs and not splits:
        raise WrongUse("Retraining needs labels, and the data have none.")
    if args.epochs and args.tolerance is None:
        args.tolerance = judging.usual_tolerance(args.monitor)
    way = retraining if args.epochs else at_once
    try:
        return way.prune(model, data, splits, target, args)
    except TargetMet as met:
        print(f"\nAlready met: {met}", flush=True)
        return Outcome(model, (), {}, {}, notes={"already_met": str(met)})


def _make(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WrongUse(f"Cannot write --out '{folder}': {error.strerror}.") from error


def _summary(model, outcome, args, compiled):
    """What came of it, as JSON values; writes the shorter model and this."""
    told = {
        "command": result_files.told_command(args),
        "model": str(args.model),
        "written": None,
        # None where the target is met already, and nothing was done to report on.
        "report": str(args.out / result_files.REPORT)
        if "rounds" in outcome.notes
        else None,
        "removed": list(outcome.removed),
        "failure": outcome.failure,
        "before": {**measure(model), **outcome.before},
        **outcome.notes,
    }
    shorter = None
    say(f"Writing the result to {args.out} ...")
    if outcome.model is not None:
        shorter = model_file.without_importances(outcome.model)
        if compiled:
            model_file.compiled_as(shorter, model)
        told["written"] = str(args.out / result_files.PRUNED)
        told["after"] = {**measure(shorter), **outcome.after}
        # Not of the files themselves, which may or may not hold an optimizer's state.
        formats = dict.fromkeys(["keras", args.file_format or "keras"])
        for net, measured in ((model, told["before"]), (shorter, told["after"])):
            for each in formats:
                with quiet():
                    measured[f"exported_{each}_bytes"] = file_bytes(net, each)
    _write(shorter, told, args.out)
    return told


def _write(shorter, told, out):
    """Writes a model, if there is one, and what is told of it.

    Over the files of the same command before: `result_files.check_pruned_out` has
    seen to that. At any time the summary has the checksum of the model beside it.
    """
    pruned, summary = out / result_files.PRUNED, out / result_files.SUMMARY
    if shorter is None:
        pruned.unlink(missing_ok=True)
        write_json(summary, told)
        return
    with atomic_file(pruned) as temporary:
        shorter.save(temporary)
        told["sha256"] = result_files.sha256(temporary)
        pruned.unlink(missing_ok=True)
        write_json(summary, told)


def _lines(told):
    report = [f"Report: {told['report']}"] if told["report"] else []
    if told["written"] is None:
        return report
    before, after = told["before"], told["after"]
    trained = told.get("round_0", {})
    rows = [("", "given", *["round 0"] * bool(trained), "shorter", "ratio")]
    for name, value in before.items():
        texts = [_told(name, value)]
        if trained:
            texts.append(_told(name, trained.get(name, value)))
        texts.append(_told(name, after[name]))
        ratio = f"{after[name] / value:.3f}" if isinstance(value, int) and value else ""
        rows.append((name, *texts, ratio))
    return [
        "",
        f"Removed: {', '.join(told['removed']) or 'nothing'}.",
        *aligned(*rows),
        usage.EXPORTED_BYTES,
        *(paired_tests(RunRecords(told["rounds"], told["final"])) if report else []),
        *([told["doubt"]] if "doubt" in told else []),
        f"Written: {told['written']}",
        *report,
    ]


def _told(name, value):
    return f"{value:,}" if isinstance(value, int) else format_value(name, value)
