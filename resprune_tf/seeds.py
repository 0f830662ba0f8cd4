"""`prune_and_retrain` for several seeds at once, in one compiled program (JAX)."""

import contextlib
import inspect

from resprune_tf.callbacks import TrainingDiverged
from resprune_tf.dataset import Split
from resprune_tf.fit_data import FitData
from resprune_tf.loop import prune_and_retrain, run_steps
from resprune_tf.side_by_side import SideBySide, check_side_by_side, program_key
from resprune_tf.strategy import Strategy


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
            When one run stops, all do; a round that diverges ends its own run alone.
    """
    if not runs:
        raise ValueError("There is no run.")
    if isinstance(dataset, FitData):
        raise ValueError(
            "Seeds side by side share a program of our own, which trains a Dataset by "
            "a Recipe. Train FitData one seed after another."
        )
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
            steps.append(run_steps(**bound.arguments))
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
    """Drives several runs; what they want trained at a time is trained at once."""
    programs, results, measures = {}, [None] * len(runs), [None] * len(runs)

    def wanted(number):
        """What a run wants trained next; None, and its result is kept, if nothing."""
        try:
            if isinstance(measures[number], TrainingDiverged):
                return runs[number].throw(measures[number])
            return runs[number].send(measures[number])
        except StopIteration as end:
            results[number] = end.value

    def train(key, members):
        trainers = [member.trainer for member in members.values()]
        if key not in programs:
            programs[key] = SideBySide.like(core, trainers[0])
        diverged = {}
        programs[key].fit(list(members.values()), diverged)
        cores = [trainer.core for trainer in trainers]
        on_splits = [
            programs[key].evaluate(cores, split)
            for split in (dataset.validation, dataset.test)
        ]
        of_members = zip(members, zip(*on_splits, strict=True), strict=True)
        for place, (number, measured) in enumerate(of_members):
            measures[number] = diverged.get(place, measured)

    # Functions, whose variables keep no net while those of the next round are made.
    def train_all():
        groups = {}
        for number in range(len(runs)):
            if results[number] is None and (member := wanted(number)) is not None:
                key = program_key(member.trainer)
                groups.setdefault(key, {})[number] = member
        for key, members in groups.items():
            train(key, members)

    while None in results:
        train_all()
    return results
