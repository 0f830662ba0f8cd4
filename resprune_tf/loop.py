"""Algorithm 1: train, score, remove, retrain, repeat; every round on record."""

import contextlib
import dataclasses
import inspect
import math
import pathlib
import tempfile

import keras

from resprune_tf import checkpoint, criteria
from resprune_tf.callbacks import Progress, StopCheck
from resprune_tf.checksum import checksum
from resprune_tf.dataset import Split
from resprune_tf.distillation import load_teacher
from resprune_tf.plan import Plan
from resprune_tf.records import (
    Round,
    RunDirectory,
    check_same_start,
    read_lines,
    write_text,
)
from resprune_tf.rounds import Run
from resprune_tf.side_by_side import SideBySide, check_side_by_side, program_key
from resprune_tf.strategy import Strategy
from resprune_tf.training import check_batches


@dataclasses.dataclass(frozen=True)
class PruningResult:
    """Outcome of `prune_and_retrain`.

    Attributes:
        model: the smallest net that held the initial accuracy.
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
    max_rounds=None,
    retrain_recipe=None,
    stop_on_drop=False,
    tolerance=0.0,
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
        model: functional `keras.Model` from pixels (0 to 255) to logits, with an
            `ImportanceScale` on each unit that may go. It is not changed.
        dataset: a `Dataset`.
        recipe: `Recipe` of the initial training.
        units_per_round: units to remove before each retraining (k in the paper).
        target: `Target` to stop at; by default all units that may go are removed.
        max_rounds: most rounds after the initial training; 0 only trains, for which
            no unit needs to be removable.
        retrain_recipe: `Recipe` of each retraining, such as
            `recipe.replace(epochs=60)`; by default `recipe`.
        stop_on_drop: stop at the first round below the initial accuracy.
        tolerance: accuracy (a fraction) that may be lost and still counts as held.
        select_on: `"validation"` (held out of the training images) or `"test"`, as
            the paper did; what rounds are judged by.
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
        verbose: whether to show progress; a text to show before each line of it.

    Returns:
        `PruningResult`: every round, and the smallest net that held the initial
        accuracy.

    Raises:
        ValueError: if an argument is out of range, before any work.
        RunDirectoryError: if `run_dir` holds another run or another process has it;
            or if `start_from` is no such run.
        RunInterrupted: when stopped; the same call continues.
        TrainingDiverged: if a training loss is not finite.
    """
    with contextlib.closing(_steps(**locals())) as steps:
        while True:
            try:
                member = next(steps)
            except StopIteration as end:
                return end.value
            member.trainer.fit(member.initial_epoch, member.callbacks)


def prune_side_by_side(runs, dataset, **settings):
    """`prune_and_retrain` for several seeds at once, in one compiled program (JAX).

    The nets of all runs and all their rounds share the program that trains them: a
    lost unit is one whose importance is held at 0 (see `SideBySide`). Each run has
    its own directory and comes to what it would come to alone, but for rounding; it
    may be continued alone, and one that was begun alone may be continued here.

    Args:
        runs: for each run a dict of those arguments of `prune_and_retrain` that are
            its own: `model`, and as a rule `seed`, `run_dir` and `flags`. Models must
            be of one architecture, and recipes must differ in epochs and learning
            rates only.
        dataset: of all runs.
        **settings: further arguments of `prune_and_retrain`, of all runs.

    Returns:
        list of `PruningResult`.

    Raises:
        ValueError: if there is no run, an argument is out of range, or Keras's
            backend is not JAX.
        RunDirectoryError, RunInterrupted, TrainingDiverged: as `prune_and_retrain`.
            When one run stops, all do.
    """
    if not runs:
        raise ValueError("There is no run.")
    shared = settings.get("strategy") or Strategy()
    check_side_by_side(shared.name)
    if not isinstance(dataset.train, Split):
        raise ValueError(
            "Seeds side by side need their images in memory. Received: the streamed "
            f"{dataset.name}. Run them one after another."
        )
    signature = inspect.signature(prune_and_retrain)
    with contextlib.ExitStack() as stack:
        steps = []
        for run in runs:
            bound = signature.bind(dataset=dataset, **settings, **run)
            bound.apply_defaults()
            _check_beside(bound.arguments, runs[0]["model"])
            if bound.arguments["verbose"] is True:
                bound.arguments["verbose"] = f"seed {bound.arguments['seed']}"
            steps.append(_steps(**bound.arguments))
            stack.enter_context(contextlib.closing(steps[-1]))
        return _train_together(steps, runs[0]["model"], dataset)


def _check_beside(run, model):
    """Raises a ValueError if a run cannot share a program with one of `model`."""
    for recipe in (run["recipe"], run["retrain_recipe"]):
        if recipe is not None and recipe.parts > 1:
            raise ValueError(
                "Seeds side by side train whole epochs. "
                f"Received: a recipe of parts={recipe.parts}."
            )
    if run["teacher"] is not None:
        raise ValueError(
            "Seeds side by side have no teacher from elsewhere: their own initial nets "
            "may teach. Run them one after another."
        )
    names = [[layer.name for layer in each.layers] for each in (run["model"], model)]
    if names[0] != names[1]:
        raise ValueError(
            "Seeds side by side begin with one and the same net. Received: nets of "
            f"different layers, such as {sorted({*names[0]} ^ {*names[1]})[:1]}. Run "
            "them one after another."
        )


def _train_together(runs, core, dataset):
    """Drives several `_steps`; what they want trained at a time is trained at once."""
    programs, results, measures = {}, [None] * len(runs), [None] * len(runs)
    while None in results:
        groups = {}
        for number, steps in enumerate(runs):
            if results[number] is not None:
                continue
            try:
                member = steps.send(measures[number])
            except StopIteration as end:
                results[number] = end.value
                continue
            key = program_key(member.trainer)
            groups.setdefault(key, {})[number] = member
        for key, members in groups.items():
            trainers = [member.trainer for member in members.values()]
            if key not in programs:
                programs[key] = SideBySide.like(core, trainers[0])
            programs[key].fit(list(members.values()))
            cores = [trainer.core for trainer in trainers]
            on_splits = [
                programs[key].evaluate(cores, split)
                for split in (dataset.validation, dataset.test)
            ]
            measures_of = zip(members, zip(*on_splits, strict=True), strict=True)
            for number, measured in measures_of:
                measures[number] = measured
    return results


def _steps(
    model,
    dataset,
    *,
    teacher,
    strategy,
    run_dir,
    start_from,
    flags,
    note,
    deadline,
    should_stop,
    verbose,
    **settings,
):
    """A run as a generator of what is to be trained; returns a `PruningResult`."""
    plan = Plan.check(model, **settings)
    teacher = load_teacher(teacher, model, plan.guidance)
    strategy = strategy or Strategy()
    for each in (plan.recipe, plan.retrain_recipe):
        check_batches(dataset.train, each, strategy.replicas)
    with contextlib.ExitStack() as stack:
        folder = run_dir
        if run_dir is None or not strategy.is_chief:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
        settings = {
            "dataset": {
                "name": dataset.name,
                **dataset.sizes,
                "fingerprint": dataset.fingerprint,
            },
            **plan.settings(),
            "teacher": teacher and f"{checksum(teacher.get_weights()):08x}",
            "strategy": {"name": strategy.name, "replicas": strategy.replicas},
        }
        begun = read_lines(pathlib.Path(run_dir or folder) / "rounds.jsonl")
        if start_from is not None and not begun:
            check_same_start(start_from, settings)
        files = stack.enter_context(RunDirectory(folder))
        strategy.follow(run_dir, files.path)
        strategy.check_equal(
            model.get_weights(),
            settings=settings,
            rounds=len(files.rounds),
            state=checkpoint.read_meta(files.path / "state.npz"),
        )
        files.claim(settings)
        if flags:
            write_text(files.path / "flags.txt", flags)
        progress = None
        if verbose and strategy.is_chief:
            progress = Progress(name="" if verbose is True else verbose)
        agree = strategy.agree if strategy.workers > 1 else None
        stop = StopCheck(should_stop, deadline, agree)
        run = Run(files, plan, dataset, progress, stop, strategy, teacher)
        if start_from is not None and not run.rounds:
            run.take_over(start_from)
        final = yield from run.to_the_end(model, note)
        selected = run.rounds[final["selected_round"]]
        return PruningResult(
            run.load(selected.model), tuple(run.rounds), selected, final
        )
