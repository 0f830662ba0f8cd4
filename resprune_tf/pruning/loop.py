"""Algorithm 1: train, score, remove, retrain, repeat; every round on record."""

import contextlib
import dataclasses
import math
import pathlib
import tempfile

import keras

from resprune_tf import criteria
from resprune_tf.data.fit_data import FitData
from resprune_tf.pruning.identity import model_identity
from resprune_tf.pruning.plan import Plan
from resprune_tf.pruning.preflight import check_run
from resprune_tf.pruning.rounds import Run
from resprune_tf.pruning.run_check import (
    check_files,
    check_history,
    check_run_model,
    comparable,
)
from resprune_tf.runs import checkpoint
from resprune_tf.runs.callbacks import Progress, StopCheck
from resprune_tf.runs.records import (
    Round,
    RunDirectory,
    check_run_dir,
    check_same_start,
    model_name,
    read_rounds,
)
from resprune_tf.system.checksum import checksum
from resprune_tf.system.whole_files import write_text
from resprune_tf.training.distillation import load_teacher
from resprune_tf.training.fit_training import compile_as
from resprune_tf.training.strategy import Strategy


@dataclasses.dataclass(frozen=True)
class PruningResult:
    """Outcome of `prune_and_retrain`.

    Attributes:
        model: the smallest net that held the initial accuracy, or whatever was
            monitored; of several of one size the last. For `FitData` it is compiled as
            the model was.
        rounds: all `Round`s, the initial training first.
        selected: the `Round` that `model` comes from.
        final: the record of the outcome, as in `final.json`.
    """

    model: keras.Model
    rounds: tuple[Round, ...]
    selected: Round
    final: dict


def prune_and_retrain(
    model,
    dataset,
    recipe,
    *,
    units_per_round=1,
    target=None,
    units=None,
    max_rounds=None,
    retrain_recipe=None,
    stop_on_drop=False,
    tolerance=0.0,
    monitor="accuracy",
    mode=None,
    select_on="validation",
    criterion=criteria.importance,
    guidance=None,
    teacher=None,
    protected=(),
    seed=0,
    strategy=None,
    run_dir=None,
    start_from=None,
    flags="",
    note="",
    deadline=math.inf,
    should_stop=None,
    verbose=True,
):
    """Shortens a residual network without losing accuracy (Algorithm 1 of the paper).

    Round 0 trains the model as it is. Every further round takes out the units with
    the smallest scores and retrains what is left from the initial learning rate, with
    inherited weights and a fresh optimizer.

    A run in a directory continues where it was stopped, from the last whole epoch,
    and ends with the same weights as an unbroken one: to the last bit after
    `make_repeatable`, else to within the rounding of every step.

    Args:
        model: functional `keras.Model`, with an `ImportanceScale` on each unit that
            may go (see `add_importance`). It is not changed. For a `Dataset` it goes
            from pixels (0 to 255) to logits; for `FitData` it may have any inputs and
            outputs and is compiled, with whatever loss, metrics and optimizer.
        dataset: a `Dataset` of labelled images, or `FitData`.
        recipe: `Recipe` of the initial training; a `FitRecipe` for `FitData`.
        units_per_round: units to remove before each retraining (k in the paper). 0
            retrains `max_rounds` times from the initial learning rate and removes
            nothing: the control that shows what restarts alone do. No target then.
        target: `Target` to stop at; by default all units that may go are removed, but
            for the last one where nothing else learns. A
            file or a latency that it limits is measured in every round, beside the
            initial net, and recorded.
        units: names of the units to remove, and no other, such as those of a
            `Solution`: the criterion tells their order.
        max_rounds: most rounds after the initial training; 0 only trains, for which
            no unit needs to be removable.
        retrain_recipe: `Recipe` of each retraining, such as
            `recipe.replace(epochs=60)`; by default `recipe`.
        stop_on_drop: stop at the first round below the initial accuracy, or worse in
            what else is monitored.
        tolerance: accuracy (a fraction) that may be lost and still counts as held; in
            the units of what is monitored. A finished run may be called again with
            another one: the net is chosen anew among its rounds, and `stop_on_drop`
            goes on where they hold now, or counts none after the first that does not.
        monitor: what rounds are judged by: for `FitData` the name of any metric that
            the model was compiled with, or `"loss"`.
        mode: `"max"` or `"min"`: which way `monitor` is better; by default what the
            Keras metric says.
        select_on: `"validation"` (held out of the training images) or `"test"`, as
            the paper did: where it is measured.
        criterion: function from a model to `{unit name: score}`; the smallest go.
            See `criteria.named`.
        guidance: `Guidance` to retrain with the trained initial net as the teacher;
            None to retrain by the labels alone, as the paper does.
        teacher: another model, or the path of its `.keras` file, to be the teacher in
            every training, the initial one too: the distillation baseline, with
            `max_rounds=0`. It takes the same images, gives as many logits and is only
            read; the run keeps a copy. Needs `guidance`.
        protected: names of units that must stay.
        seed: int; of image order and augmentation.
        strategy: what `training_strategy` returned, to train on several devices. Of
            several workers, all call this with the same arguments; the chief alone
            writes, the others read its `run_dir` once, when a run is continued.
        run_dir: directory of the records; a temporary one by default.
        start_from: directory of another run whose initial training is taken over, so
            that several ways to go on can be compared from the same net. Its data,
            net, recipe and seed must be this run's.
        flags: text to keep as `flags.txt`: how the caller was called.
        note: a remark to keep with the outcome, such as what it is no proof of.
        deadline: `time.monotonic()` second before which to stop resumably.
        should_stop: function that returns a reason to stop now, or None.
        verbose: whether to show progress.

    Returns:
        `PruningResult`: every round, and the smallest net that held the initial
        accuracy.

    Raises:
        ValueError: if an argument is out of range, before any work.
        RunDirectoryError: if `run_dir` holds another run, cannot be written or another
            process has it; or if `start_from` is no such run.
        DiskFullError: if there is no space left for a file; the same call continues.
        RunInterrupted: when stopped; the same call continues.
        TrainingDiverged: if the initial training's loss or weights become NaN or
            infinite. A later round that diverges ends the run instead: a warning says
            so, `final["diverged"]` keeps why, and the net is chosen among the rounds
            before. The same call gives the same result; to train that round again,
            delete `diverged.json` in `run_dir`.
        TypeError: if the model is not functional, or `dataset` and `recipe` do not
            belong together.

    >>> model = rp.add_importance(keras.applications.ResNet50(weights=None))
    >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    >>> result = rp.prune_and_retrain(
    ...     model,
    ...     rp.FitData(train=(images, labels), validation=(new_images, new_labels)),
    ...     rp.FitRecipe(epochs=10),
    ...     target=rp.Target(macs=0.7),
    ...     tolerance=0.005,
    ...     run_dir="runs/mine",
    ... )
    >>> result.model.evaluate(new_images, new_labels)
    """
    strategy = strategy or Strategy()
    if run_dir is not None and strategy.is_chief:
        check_run_dir(run_dir)
    settings = {
        "recipe": recipe,
        "retrain_recipe": retrain_recipe,
        "units_per_round": units_per_round,
        "target": target,
        "units": units,
        "max_rounds": max_rounds,
        "stop_on_drop": stop_on_drop,
        "tolerance": tolerance,
        "monitor": monitor,
        "mode": mode,
        "select_on": select_on,
        "criterion": criterion,
        "guidance": guidance,
        "protected": protected,
        "seed": seed,
    }
    settings["mode"], compiled = check_run(
        model, dataset, teacher, strategy, **settings
    )
    plan = Plan.check(model, **settings)
    teacher = load_teacher(teacher, model, plan.guidance)
    with contextlib.ExitStack() as stack:
        folder = run_dir
        if run_dir is None or not strategy.is_chief:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
        recorded = {
            "dataset": {
                "name": dataset.name,
                **dataset.sizes,
                "fingerprint": dataset.fingerprint,
            },
            **plan.settings(),
            **compiled,
            "teacher": teacher and f"{checksum(teacher.get_weights()):08x}",
            "strategy": {"name": strategy.name, "replicas": strategy.replicas},
            "model": model_identity(model),
        }
        begun = read_rounds(run_dir or folder)
        if start_from is not None and not begun:
            start = {k: v for k, v in recorded.items() if k != "criterion_code"}
            check_same_start(start_from, comparable(start_from, start))
            check_history(start_from)
            check_run_model(pathlib.Path(start_from) / model_name(0))
        files = stack.enter_context(RunDirectory(folder))
        strategy.follow(run_dir, files.path)
        check_files(files.path)
        strategy.check_equal(
            model.get_weights(),
            settings=recorded,
            rounds=len(files.rounds),
            state=checkpoint.read_meta(files.path / "state.npz"),
        )
        files.claim(comparable(files.path, recorded))
        if flags:
            write_text(files.path / "flags.txt", flags)
        progress = None
        if verbose and strategy.is_chief:
            progress = Progress(monitor=plan.monitor)
        agree = strategy.agree if strategy.workers > 1 else None
        stop = StopCheck(should_stop, deadline, agree)
        run = Run(files, plan, dataset, progress, stop, strategy, teacher, model)
        if start_from is not None and not run.rounds:
            run.take_over(start_from)
        final = run.to_the_end(model, note)
        selected = run.rounds[final["selected_round"]]
        chosen = run.load(selected.model)
        if isinstance(dataset, FitData):
            compile_as(chosen, model, plan.retrain_recipe.compile_fn)
        return PruningResult(chosen, tuple(run.rounds), selected, final)
