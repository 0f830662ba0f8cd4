"""Common steps of all experiments: load, run or continue, stop, report, export."""

import os
import pathlib
import sys
import time

from absl import flags, logging

from experiments.running import recipe_flags, removal_flags, run_flags
from experiments.running.quiet import quiet_start
from resprune_cli.options.registries import registry
from resprune_cli.start import StopNow, StopRequest

STATE_SECONDS = 20 * 60


def run(argv, module):
    """Runs an experiment until it ends or is stopped.

    Args:
        argv: the command line without its flags: only the name of the program.
        module: module of the experiment, whose key flags are recorded. It has
            `apply_scale()`, which sets the flags, `load_dataset()`, which returns a
            `Dataset`, and `build_model(dataset)`, which returns the model to prune.
    """
    stop = StopRequest(patience=1)
    try:
        stop.listen()
        _run(argv, module, stop)
    except StopNow as stopped:  # during the start or the export
        stop.reason()  # later signals do not interrupt the exit
        print(f"\nStopped: {stopped}. The same command continues it.", flush=True)
        sys.exit(stop.code)


def _run(argv, module, stop):
    begun = time.monotonic()
    if len(argv) > 1:
        sys.exit(f"error: unknown argument {argv[1]!r}. Every flag begins with --.")
    module.apply_scale()
    folder = _check_run_dir()
    print("Starting Keras and loading the data ...", flush=True)
    if not flags.FLAGS["verbosity"].present:
        # tfds reports every file that it opens, TensorFlow every compilation.
        logging.set_verbosity(logging.ERROR)
    with quiet_start():
        import keras

        import resprune_tf as rp
        from resprune_tf.deploy.formats import check_place
        from resprune_tf.system.disk import full_disk

    rp.keep_memory()
    if run_flags.REPEATABLE.value:
        rp.make_repeatable()
    try:
        strategy = rp.training_strategy(run_flags.STRATEGY.value)
        if strategy.workers > 1:
            stop.patience = None  # all workers must stop at the same step
        stop.listen()  # TensorFlow's workers replace the handler of SIGTERM
        formats = run_flags.formats()
        if formats:
            formats = rp.check_formats(formats)
            check_place(folder / "export", formats)
        if strategy.is_chief:
            _restore(rp, folder)
        recipe_flags.settings(rp)  # checks the flags before data are read
        removal_flags.removal(rp)
        dataset = module.load_dataset()
        print(f"{dataset.name}: {dataset.source}; {_sizes(dataset)}", flush=True)
        keras.utils.set_random_seed(run_flags.SEED.value)
        model = module.build_model(dataset)
        budget = run_flags.TIME_BUDGET.value
        result = rp.prune_and_retrain(
            model,
            dataset,
            **recipe_flags.settings(rp, model),
            removal=removal_flags.removal(rp, dataset),
            run=rp.RunOptions(
                folder,
                seed=run_flags.SEED.value,
                start_from=removal_flags.START_FROM.value,
                strategy=strategy,
                deadline=float("inf") if budget is None else begun + 60 * budget,
                should_stop=_StateFile(rp, stop, folder, strategy.is_chief),
                flags=run_flags.flag_lines(module),
                note=run_flags.NOTE.value or "",
            ),
        )
    except (rp.RunInterrupted, StopNow) as interruption:
        stop.reason()  # later signals do not interrupt what follows
        if strategy.is_chief:
            known = (folder / "run.json").exists()
            report = _write_state_and_report(rp, folder) if known else ""
            print(f"\nStopped: {interruption}. The same command continues it.")
            print(report)
        # The end of the time budget is no failure: the next call continues.
        sys.exit(stop.code if stop.signal else 0)
    except (ValueError, TypeError, ImportError, rp.TrainingDiverged) as error:
        if full := full_disk(error):
            raise full from error
        sys.exit(f"error: {error}")
    if strategy.is_chief:
        _show(rp, result, dataset, folder, formats)


def _show(rp, result, dataset, run_dir, formats):
    from resprune_tf.report.summary import format_rounds

    print(f"\n{format_rounds(result.rounds, result.final)}\n")
    failure = None
    if formats:
        try:
            _export(rp, result.model, dataset, run_dir, formats)
        except rp.ExportError as error:
            failure = error
    print(f"Report: {_write_state_and_report(rp, run_dir)}")
    if failure:
        sys.exit(
            f"error: {failure}\nThe run is finished and recorded. The same command "
            "exports the model again; with --export= it is not exported."
        )


class _StateFile:
    """Returns why to stop, or None, and keeps the state file up to date.

    A machine can disappear without warning, so the run is packed after each round and
    every 20 minutes. Training calls this between two steps, when it writes no file.
    """

    def __init__(self, rp, stop, folder, is_chief):
        self.rp, self.stop, self.folder = rp, stop, folder
        self.path = run_flags.STATE_FILE.value if is_chief else None
        self.packed = self._rounds_size()
        self.next = time.monotonic() + STATE_SECONDS

    def __call__(self):
        due = time.monotonic() >= self.next
        if self.path and (due or self._rounds_size() != self.packed):
            self.packed = self._rounds_size()
            self.rp.pack_run(self.folder, self.path)
        if due:
            self.next = time.monotonic() + STATE_SECONDS
        return self.stop.reason()

    def _rounds_size(self):
        """Size of the file of rounds, which changes when a round is added."""
        path = self.folder / "rounds.jsonl"
        return path.stat().st_size if path.exists() else 0


def _restore(rp, run_dir):
    """Restores a run from its state file if that is further; prints what was found."""
    state = run_flags.STATE_FILE.value
    if state and os.path.exists(state) and rp.unpack_run(state, run_dir):
        print(f"Continuing from {state}.")
    if (run_dir / "final.json").exists():
        print(f"The run in '{run_dir}' is already finished. Its result follows.")


def _write_state_and_report(rp, run_dir):
    """Writes the report and, if requested, the state file; path of the report."""
    state = run_flags.STATE_FILE.value
    if state:
        size = rp.pack_run(run_dir, state)
        print(f"State: {state}, {size / 2**20:.2f} MiB")
    return _write_report(run_dir)


def _export(rp, model, dataset, run_dir, formats):
    print("Exporting and comparing the exported models ...", flush=True)
    images, _ = next(iter(dataset.test.batches(64)))
    for made in rp.export(model, run_dir / "export", formats, images):
        print(
            f"  {made.path}  {made.bytes / 1e6:.2f} MB, largest difference of outputs "
            f"{made.max_abs_difference:.1e}"
        )


def _check_run_dir():
    """Path of the run directory. Exits if that or the state file cannot be written."""
    run_dir, state = run_flags.RUN_DIR.value, run_flags.STATE_FILE.value
    if not run_dir:
        sys.exit(
            "error: --run_dir is missing. Give a folder for the records of this run."
        )
    if state and (
        os.path.isdir(state) or not os.path.isdir(os.path.dirname(state) or ".")
    ):
        sys.exit(
            f"error: cannot write --state_file={state}: it must be a file in an "
            "existing folder."
        )
    if problem := registry("system.disk").folder_problem(run_dir):
        sys.exit(
            f"error: cannot write --run_dir={run_dir}: {problem}. Choose a folder that "
            "you may write to."
        )
    return pathlib.Path(run_dir)


def _write_report(run_dir):
    """Writes the report; returns its path, or the reason why there is none."""
    from resprune_tf import write_report

    try:
        return write_report(run_dir)
    except ImportError as error:  # matplotlib is missing
        return f"none: {error}. `resprune report {run_dir}` writes it later."


def _sizes(dataset):
    return ", ".join(f"{count:,} {split}" for split, count in dataset.sizes.items())
