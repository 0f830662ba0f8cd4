"""What every experiment does: load, run or continue, stop cleanly, show and export."""

import os
import pathlib
import sys
import time

from absl import flags, logging

from experiments.running import recipe_flags, removal_flags, run_flags
from experiments.running.quiet import quiet_start
from resprune_cli.start import StopNow, StopRequest

STATE_SECONDS = 20 * 60


def run(argv, module):
    """Runs an experiment to its end, or to where it is stopped.

    Args:
        argv: what is left of the command line: its name alone.
        module: the experiment's, whose key flags are recorded. It has
            `apply_scale()`, which gives flags their values, `load_dataset()`, which
            returns a `Dataset`, and `build_model(dataset)`, which returns the model to
            shorten.
    """
    stop = StopRequest(patience=1)
    try:
        stop.listen()
        _run(argv, module, stop)
    except StopNow as stopped:  # while it starts, or exports what it came to
        stop.reason()
        print(f"\nStopped: {stopped}. The same command continues it.", flush=True)
        sys.exit(stop.code)


def _run(argv, module, stop):
    begun = time.monotonic()
    if len(argv) > 1:
        sys.exit(f"error: unknown argument {argv[1]!r}; every flag begins with --")
    module.apply_scale()
    folder = _check_run_dir()
    print("Starting Keras and loading the data ...", flush=True)
    if not flags.FLAGS["verbosity"].present:
        # tfds reports every file it opens, TensorFlow that each round is compiled anew.
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
            stop.patience = None  # for they must stop at the same place
        stop.listen()  # TensorFlow's workers take SIGTERM for themselves
        formats = run_flags.formats()
        if formats:
            formats = rp.check_formats(formats)
            check_place(folder / "export", formats)
        if strategy.is_chief:
            _arrive(rp, folder)
        recipe_flags.settings(rp)  # refuses before data are read
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
        stop.reason()  # so that what follows is let be
        if strategy.is_chief:
            known = (folder / "run.json").exists()
            report = _leave(rp, folder) if known else ""
            print(f"\nStopped: {interruption}. The same command continues it.")
            print(report)
        # Out of time is no failure here: the next call continues.
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
    if formats:
        _export(rp, result.model, dataset, run_dir, formats)
    print(f"Report: {_leave(rp, run_dir)}")


class _StateFile:
    """Why to stop, or None; keeps the state file up to date whenever it is asked.

    A machine may vanish without a warning. So a run is packed when a round has ended,
    and every 20 minutes. Training asks between two steps, when no file is written.
    """

    def __init__(self, rp, stop, folder, is_chief):
        self.rp, self.stop, self.folder = rp, stop, folder
        self.path = run_flags.STATE_FILE.value if is_chief else None
        self.packed = self._rounds()
        self.next = time.monotonic() + STATE_SECONDS

    def __call__(self):
        due = time.monotonic() >= self.next
        if self.path and (due or self._rounds() != self.packed):
            self.packed = self._rounds()
            self.rp.pack_run(self.folder, self.path)
        if due:
            self.next = time.monotonic() + STATE_SECONDS
        return self.stop.reason()

    def _rounds(self):
        """Changes when a round is added."""
        path = self.folder / "rounds.jsonl"
        return path.stat().st_size if path.exists() else 0


def _arrive(rp, run_dir):
    """Brings a run to where its state file stands, and says how it stands."""
    state = run_flags.STATE_FILE.value
    if state and os.path.exists(state) and rp.unpack_run(state, run_dir):
        print(f"Continuing from {state}.")
    if (run_dir / "final.json").exists():
        print(f"The run in '{run_dir}' finished before; this shows its result.")


def _leave(rp, run_dir):
    """Writes the state file, if one is asked for, and the report; its path."""
    state = run_flags.STATE_FILE.value
    if state:
        size = rp.pack_run(run_dir, state)
        print(f"State: {state}, {size / 2**20:.2f} MiB")
    return _write_report(run_dir)


def _export(rp, model, dataset, run_dir, formats):
    print("Exporting, and comparing what was exported with the model ...", flush=True)
    images, _ = next(iter(dataset.test.batches(64)))
    for made in rp.export(model, run_dir / "export", formats, images):
        print(
            f"  {made.path}  {made.bytes / 1e6:.2f} MB, outputs agree to "
            f"{made.max_abs_difference:.1e}"
        )


def _check_run_dir():
    """The run directory, writable."""
    if not run_flags.RUN_DIR.value:
        sys.exit("error: --run_dir is missing: name a folder for this run's records")
    path = pathlib.Path(run_flags.RUN_DIR.value)
    state = run_flags.STATE_FILE.value
    if state and (
        os.path.isdir(state) or not os.path.isdir(os.path.dirname(state) or ".")
    ):
        sys.exit(
            f"error: cannot write --state_file={state}: it must be a file in a folder "
            "that exists."
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writing-probe"
        probe.touch()
        probe.unlink(missing_ok=True)  # another worker's is the same
    except OSError as error:
        sys.exit(
            f"error: cannot write --run_dir={path}: {error.strerror}. "
            "Choose a folder that you may write to."
        )
    return path


def _write_report(run_dir):
    """Where the report is, or why there is none."""
    from resprune_tf import write_report

    try:
        return write_report(run_dir)
    except ImportError as error:  # no plots, which may be drawn elsewhere
        return f"none, {error}; make it with `resprune report {run_dir}`"


def _sizes(dataset):
    return ", ".join(f"{count:,} {split}" for split, count in dataset.sizes.items())
