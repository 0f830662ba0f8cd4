"""Algorithm 1: train, score, remove, retrain, repeat; every round on record."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import tempfile
from typing import Any

import keras

from resprune_tf import criteria, graph
from resprune_tf.criteria.by_name import check_trained, usual_criterion
from resprune_tf.pruning.deletion import LayerDeletion
from resprune_tf.pruning.identity import model_identity
from resprune_tf.pruning.options import Removal, RunOptions
from resprune_tf.pruning.plan import Plan
from resprune_tf.pruning.preflight import check_run
from resprune_tf.pruning.rounds import PruningRun
from resprune_tf.pruning.run_check import (
    check_files,
    check_history,
    check_run_model,
    comparable,
)
from resprune_tf.runs import checkpoint
from resprune_tf.runs.callbacks import Progress, StopCheck
from resprune_tf.runs.judging import format_value, is_accuracy, points
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
from resprune_tf.training.distillation import Guidance, load_teacher, usual_guidance
from resprune_tf.training.recipe import TrainingRecipe
from resprune_tf.units.table import aligned


@dataclasses.dataclass(frozen=True)
class PruningResult:
    """Outcome of `prune_and_retrain`. Prints as a table of the rounds.

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

    def __repr__(self):
        return (
            f"<PruningResult: round {self.selected.round} of {len(self.rounds) - 1} "
            f"is selected, {self.selected.layers} layers, {self._measured()}>"
        )

    def __str__(self):
        monitor, split = self._judged()
        head = ("round", "layers", "parameters", "MACs", f"{split} {monitor}")
        rows = [
            (
                f"{each.round}{' *' if each.round == self.selected.round else ''}",
                f"{each.layers}",
                f"{each.parameters:,}",
                f"{each.macs:,}",
                format_value(monitor, each.measure(split, monitor)),
                ", ".join(each.removed) or "-",
            )
            for each in self.rounds
        ]
        tolerance = self.final["tolerance"]
        worse = f"{tolerance:g} worse than in"
        if is_accuracy(monitor):
            worse = f"{points(tolerance)} below"
        return "\n".join(
            [
                *aligned((*head, "removed"), *rows),
                f"* selected: the smallest model whose {split} {monitor} is at most "
                f"{worse} round 0. Stopped: {self.final['stop_reason']}.",
            ]
        )

    def _judged(self):
        """The measure by which rounds were judged, and its split."""
        split = self.final.get("select_on", "validation")
        return self.final.get("monitor", "accuracy"), split

    def _measured(self):
        monitor, split = self._judged()
        value = format_value(monitor, self.selected.measure(split, monitor))
        return f"{split} {monitor} {value}"


def prune_and_retrain(
    model: keras.Model,
    data: Any,
    recipe: TrainingRecipe,
    *,
    retrain_recipe: TrainingRecipe | None = None,
    initial: str = "train",
    guidance: Guidance | str | None = "auto",
    removal: Removal | None = None,
    run: RunOptions | None = None,
) -> PruningResult:
    """Shortens a residual network without losing accuracy (Algorithm 1 of the paper).

    Round 0 trains the model, or takes it as it is (`initial`). In every further round
    `LayerDeletion` removes the units with the smallest scores. The remaining model
    keeps its weights and is retrained from the initial learning rate with a new
    optimizer.

    A run in a directory continues where it was stopped, from the last whole epoch,
    and ends with the same weights as an unbroken one: to the last bit after
    `make_repeatable`, else to within the rounding of every step.

    Args:
        model: functional `keras.Model`, with an `ImportanceScale` on each unit that
            may go (see `add_importance`). It is not changed. For a `Dataset` it goes
            from pixels (0 to 255) to logits; for `FitData` it may have any inputs and
            outputs and is compiled, with whatever loss, metrics and optimizer.
        data: a `Dataset` of labelled images, or `FitData`.
        recipe: `Recipe` of the initial training; a `FitRecipe` for `FitData`.
        retrain_recipe: `Recipe` of each retraining, such as
            `recipe.replace(epochs=60)`; by default `recipe`.
        initial: `"train"` to train the model first, as in the paper, or `"as_given"`
            for a model that is trained already: round 0 is then the model as it is,
            measured, by which all others are judged. What a `FitRecipe` leaves open is
            then chosen for a trained model, see there.
        guidance: `Guidance` to train with a teacher: the trained initial model, or
            another one; None to use the labels alone, as the paper does. By default
            there is a teacher where a run begins with a trained classifier: the model
            as it was given.
        removal: `Removal`: which units are removed, and how models are judged. By
            default one unit per round, until no removable unit is left.
        run: `RunOptions`: directory of the records, seed, devices, and when to stop.

    Returns:
        `PruningResult`: every round, and the smallest net that held the initial
        accuracy.

    Raises:
        ValueError: if an argument is out of range, before any work.
        RunDirectoryError: if the run directory holds another run, cannot be written or
            another process has it; or if `start_from` is no such run.
        DiskFullError: if there is no space left for a file; the same call continues.
        RunInterrupted: when stopped; the same call continues.
        TrainingDiverged: if the initial training's loss or weights become NaN or
            infinite. A later round that diverges ends the run instead: a warning says
            so, `final["diverged"]` keeps why, and the net is chosen among the rounds
            before. The same call gives the same result; to train that round again,
            delete `diverged.json` in the run directory.
        TypeError: if the model is not functional, or data and recipe do not belong
            together.

    >>> model = rp.add_importance(keras.applications.ResNet50(weights=None))
    >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    >>> result = rp.prune_and_retrain(
    ...     model,
    ...     rp.FitData(train=(images, labels), validation=(new_images, new_labels)),
    ...     rp.FitRecipe(epochs=10),
    ...     removal=rp.Removal(target=rp.Target(macs=0.7), tolerance=0.005),
    ...     run=rp.RunOptions("runs/mine"),
    ... )
    >>> result.model.evaluate(new_images, new_labels)
    """
    removal, run = removal or Removal(), run or RunOptions()
    strategy = run.strategy
    if run.directory is not None and strategy.is_chief:
        check_run_dir(run.directory)
    graph.check_functional(model, "prune_and_retrain")
    recipe, retrain_recipe = _recipes(model, data, recipe, retrain_recipe, initial)
    if guidance == "auto":
        loss = recipe.loss(model) if initial == "as_given" else None
        guidance = usual_guidance(model, loss)
    if removal.criterion is None:
        trained = initial == "as_given"
        removal = removal.replace(
            criterion=usual_criterion(model, data, trained)
            if removal.removes
            else criteria.importance
        )
    if initial == "as_given" and removal.removes and removal.by_importance:
        check_trained(model)
    removal, checked = check_run(model, data, recipe, retrain_recipe, removal, strategy)
    plan = Plan.check(model, removal)
    plan = plan.judging(recipe.examples_judged(data, removal.select_on))
    teacher = load_teacher(guidance, model)
    settings = {
        "dataset": {
            "name": data.name,
            **data.sizes,
            "fingerprint": data.fingerprint,
        },
        **plan.settings(),
        "recipe": recipe.settings(),
        "retrain_recipe": retrain_recipe.settings(),
        **checked,
        "guidance": guidance and guidance.settings(),
        "teacher": teacher and f"{checksum(teacher.get_weights()):08x}",
        "seed": run.seed,
        "backend": keras.backend.backend(),
        "strategy": {"name": strategy.name, "replicas": strategy.replicas},
        "model": model_identity(model),
    }
    with contextlib.ExitStack() as stack:
        files = _open(stack, run, model, settings)
        deletion = LayerDeletion.of_run(plan, files.rounds)
        rounds = PruningRun(
            files,
            deletion,
            data,
            recipe,
            retrain_recipe,
            guidance=guidance,
            teacher=teacher,
            template=model,
            seed=run.seed,
            strategy=strategy,
            stop=_stop_check(run),
            progress=_progress(run, removal),
            watched={k: checked[k] for k in ("monitor", "mode") if k in checked},
        )
        if run.start_from is not None and not files.rounds:
            rounds.take_over(run.start_from)
        final = rounds.to_the_end(model, run.note)
        selected = deletion.rounds[final["selected_round"]]
        chosen = retrain_recipe.finish(rounds.load(selected.model), model)
        return PruningResult(chosen, tuple(deletion.rounds), selected, final)


def _recipes(model, data, recipe, retrain_recipe, initial):
    """The recipes of the initial training and of each retraining."""
    if initial not in ("train", "as_given"):
        raise ValueError(
            '`initial` must be "train", or "as_given" for a model that is trained '
            f"already. Received: {initial!r}."
        )
    retrain_recipe = retrain_recipe or recipe
    for each in (recipe, retrain_recipe):
        each.check_data(data)
    if initial == "as_given":
        retrain_recipe = retrain_recipe.for_trained(model)
        recipe = retrain_recipe.replace(epochs=0)
    if retrain_recipe.epochs < 1:
        raise ValueError(
            "A retraining needs `epochs` of 1 or more. Received: "
            f"{retrain_recipe.epochs} in the recipe of each retraining. To begin with "
            'a model as it is, give `initial="as_given"`; to remove units without '
            "retraining, call `remove_units` and `recalibrate`."
        )
    return recipe, retrain_recipe


def _open(stack, run, model, settings):
    """The run directory, held by this process, and known to hold this run or none."""
    strategy, folder = run.strategy, run.directory
    if folder is None or not strategy.is_chief:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
    begun = read_rounds(run.directory or folder)
    if run.start_from is not None and not begun:
        start = {k: v for k, v in settings.items() if k != "criterion_code"}
        check_same_start(run.start_from, comparable(run.start_from, start))
        check_history(run.start_from)
        check_run_model(pathlib.Path(run.start_from) / model_name(0))
    files = stack.enter_context(RunDirectory(folder))
    strategy.follow(run.directory, files.path)
    check_files(files.path)
    strategy.check_equal(
        model.get_weights(),
        settings=settings,
        rounds=len(files.rounds),
        state=checkpoint.read_meta(files.path / "state.npz"),
    )
    files.claim(comparable(files.path, settings))
    if run.flags:
        write_text(files.path / "flags.txt", run.flags)
    return files


def _stop_check(run):
    agree = run.strategy.agree if run.strategy.workers > 1 else None
    return StopCheck(run.should_stop, run.deadline, agree)


def _progress(run, removal):
    if run.verbose and run.strategy.is_chief:
        return Progress(monitor=removal.monitor)
    return None
