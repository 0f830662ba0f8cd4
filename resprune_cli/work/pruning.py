"""The work of `resprune prune` that is the same with and without retraining."""

import contextlib
import json
import sys

from resprune_cli.options import result_files, usage
from resprune_cli.options.usage import Failed, WrongUse
from resprune_cli.start import quiet
from resprune_cli.work import (
    data_source,
    judging,
    measuring,
    model_file,
    retraining,
    without_retraining,
)
from resprune_cli.work.latency_command import latency_fn
from resprune_cli.work.outcome import Outcome
from resprune_tf import Target, find_units, write_report
from resprune_tf.graph.compilation import check_steps
from resprune_tf.report.run_records import RunRecords
from resprune_tf.report.summary import paired_tests
from resprune_tf.system.progress import say
from resprune_tf.system.whole_files import atomic_file, write_json
from resprune_tf.targets.measures import file_bytes, measure
from resprune_tf.targets.target import TargetMet
from resprune_tf.units.table import aligned


def run(args):
    """Prunes a model; returns the exit code.

    Raises:
        WrongUse: if arguments, model and data do not fit together.
        Failed: if the target is not reached, or if the metric is worse by more than the
            tolerance.
    """
    # With --json, standard output contains nothing but the JSON values.
    progress = sys.stderr if args.json else sys.stdout
    with contextlib.redirect_stdout(progress):
        model = _model(args)
        compiled = model.compiled
        with _folder(args.out):
            outcome = _pruned(model, args)
        summary = _summary(model, outcome, args, compiled)
        if summary["report"]:
            say("Writing the report ...")
            write_report(args.out)
        if not args.json:
            print("\n".join(_lines(summary)), flush=True)
    if args.json:
        print(json.dumps(summary, indent=1))
    if outcome.failure:
        raise Failed(outcome.failure)
    return 0


def _model(args):
    """Loads the model, and checks that it has units to remove."""
    model = model_file.load_expanded(args, compile=True)
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
            f"--protect {unknown[0]}: there is no such unit. Give one of these: "
            f"{', '.join(names)}."
        )
    removable = [u.name for u in units if u.removable and u.name not in args.protect]
    count = args.units_per_round
    if isinstance(count, int) and count > max(1, len(removable)):
        raise WrongUse(
            f"--units-per-round must be from 1 to {len(removable)}, the number of "
            f"removable units. Received: {count}."
        )
    return model


def _pruned(model, args):
    """Prunes and returns the `Outcome`; compiles the model if there are labels."""
    target = None
    if args.limits:
        target = Target(
            **args.limits,
            file_format=args.file_format,
            runtime=args.runtime,
            batch_size=args.runtime_batch,
            threads=args.threads,
            latency_fn=args.latency_command and latency_fn(args.latency_command),
        )
    data, splits = None, {}
    if args.data is not None:
        data = data_source.read(args, model)
        print(f"Data: {data.description}.")
        if data.labelled:
            splits = measuring.compile_for_labels(model, data, args)
            print(f"Loss and optimizer: {measuring.describe_compiled(model)}.")
        sys.stdout.flush()
    if splits and (args.epochs or args.tolerance is not None):
        args.monitor = judging.choose_monitor(model, splits, args)
    if args.epochs and args.tolerance is None:
        args.tolerance = judging.default_tolerance(args.monitor)
    method = retraining if args.epochs else without_retraining
    try:
        return method.prune(model, data, splits, target, args)
    except TargetMet as met:
        print(f"\nAlready met: {met}", flush=True)
        return Outcome(model, (), {}, {}, notes={"already_met": str(met)})


@contextlib.contextmanager
def _folder(folder):
    """Creates a folder; deletes it after an error if nothing was written to it."""
    created = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WrongUse(f"Cannot write --out '{folder}': {error.strerror}.") from error
    try:
        yield
    except BaseException:
        if created:
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()
        raise


def _summary(model, outcome, args, compiled):
    """The summary as JSON values; writes the pruned model and the summary."""
    summary = {
        "command": result_files.recorded_command(args),
        "model": str(args.model),
        "written": None,
        # There is no report if the target is met already and nothing was removed.
        "report": str(args.out / result_files.REPORT)
        if "rounds" in outcome.notes
        else None,
        "removed": list(outcome.removed),
        "failure": outcome.failure,
        "before": {**measure(model), **outcome.before},
        **outcome.notes,
    }
    pruned = None
    what = "summary" if outcome.model is None else "result"
    say(f"Writing the {what} to {args.out} ...")
    if outcome.model is not None:
        pruned = model_file.without_importances(outcome.model)
        if compiled:
            model_file.compiled_as(pruned, model)
        summary["written"] = str(args.out / result_files.PRUNED)
        summary["after"] = {**measure(pruned), **outcome.after}
        # The exported files are compared: a model file may contain optimizer state.
        formats = dict.fromkeys(["keras", args.file_format or "keras"])
        for each, measured in ((model, summary["before"]), (pruned, summary["after"])):
            for format in formats:
                with quiet():
                    measured[f"exported_{format}_bytes"] = file_bytes(each, format)
        if "rounds" in summary:
            _add_latencies(summary)
    _write(pruned, summary, args.out)
    return summary


def _add_latencies(summary):
    """Adds the latencies that a target limits to the measures of both models."""
    run = _run_of(summary)
    for measured, record in (("before", run.rounds[0]), ("after", run.selected)):
        if (latency := run.latency(record)) is not None:
            summary[measured]["latency_ms"] = latency


def _write(pruned, summary, out):
    """Writes the pruned model, if there is one, and the summary.

    This overwrites only files of the same command (see `check_pruned_out`). The
    summary always has the checksum of the model next to it.
    """
    model_path, summary_path = out / result_files.PRUNED, out / result_files.SUMMARY
    if pruned is None:
        model_path.unlink(missing_ok=True)
        write_json(summary_path, summary)
        return
    with atomic_file(model_path) as temporary:
        pruned.save(temporary)
        summary["sha256"] = result_files.sha256(temporary)
        model_path.unlink(missing_ok=True)
        write_json(summary_path, summary)


def _lines(summary):
    report = [f"Report: {summary['report']}"] if summary["report"] else []
    if summary["written"] is None:
        return report
    before, after = summary["before"], summary["after"]
    trained = summary.get("round_0", {})
    rows = [("", "given", *["round 0"] * bool(trained), "pruned", "ratio")]
    for name, value in before.items():
        texts = [measuring.cell(name, value)]
        if trained:
            texts.append(measuring.cell(name, trained.get(name, value)))
        texts.append(measuring.cell(name, after[name]))
        cost = isinstance(value, int) or name == "latency_ms"
        ratio = f"{after[name] / value:.3f}" if cost and value else ""
        rows.append((name, *texts, ratio))
    return [
        "",
        f"Removed: {', '.join(summary['removed']) or 'nothing'}.",
        *aligned(*rows),
        usage.EXPORTED_BYTES,
        *(paired_tests(_run_of(summary)) if report else []),
        *([summary["doubt"]] if "doubt" in summary else []),
        f"Written: {summary['written']}",
        *report,
    ]


def _run_of(summary):
    return RunRecords(summary["rounds"], summary["final"])
