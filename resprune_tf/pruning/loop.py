"""Algorithm 1: trains, scores, removes and retrains in rounds, with records."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import tempfile
from typing import Any

import keras

from resprune_tf import criteria, graph
from resprune_tf.criteria.by_name import check_trained, usual_criterion
from resprune_tf.pruning.identity import model_identity
from resprune_tf.pruning.options import Removal, RunOptions
from resprune_tf.pruning.plan import Plan
from resprune_tf.pruning.preflight import check_kinds, check_run
from resprune_tf.pruning.rounds import PruningRun
from resprune_tf.pruning.run_check import check_files, check_history, check_run_model
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
from resprune_tf.targets.target import LOAD, format_measure
from resprune_tf.training.distillation import Guidance, load_teacher, usual_guidance
from resprune_tf.training.recipe import TrainingRecipe
from resprune_tf.units.table import aligned


@dataclasses.dataclass(frozen=True)
class PruningResult:
    """Result of `prune_and_retrain`. Prints as a table of the rounds.

    Attributes:
        model: the smallest `keras.Model` whose monitored value is within the tolerance
            of round 0. If no pruned model is, this is the model of round 0. For
            `FitData` it is compiled like the model that was passed.
        rounds: tuple of `Round`; the initial training is the first.
        selected: the `Round` of `model`.
        final: dict, the record of the outcome as in `final.json`: among others
            `"stop_reason"`, `"target_reached"` (whether the last round that counts
            meets the target), `"tolerance"` as a number, the initial and the selected
            value of the monitored measure, `"total_epochs"`, `"total_seconds"`, and
            `"diverged"` if a round did.
    """

    model: keras.Model
    rounds: tuple[Round, ...]
    selected: Round
    final: dict

    def __repr__(self):
        return (
            f"<PruningResult: selected round {self.selected.round} of "
            f"{len(self.rounds) - 1}, {self.selected.layers} layers, "
            f"{self._measured()}>"
        )

    def __str__(self):
        monitor, split = self._judged()
        limited = [name for name in self.rounds[0].measured if name != LOAD]
        head = ("round", "layers", "parameters", "MACs", *limited, f"{split} {monitor}")
        rows = [
            (
                f"{each.round}{' *' if each.round == self.selected.round else ''}",
                f"{each.layers}",
                f"{each.parameters:,}",
                f"{each.macs:,}",
                *(format_measure(name, each.measured[name]) for name in limited),
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
        """`(monitor, split)`: the measure that judged the rounds, and its split."""
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
    """Prunes whole units of a residual network and retrains it, round by round.

    Round 0 trains the model, or measures it as it is (`initial`). In every further
    round the units with the smallest scores are removed. The remaining model keeps its
    weights and is retrained from the initial learning rate with a new optimizer. The
    smallest model that maintains accuracy is selected.

    A run with a directory continues from the last saved epoch if the call is repeated.
    It ends with the same weights as an uninterrupted run: to the last bit after
    `make_repeatable`, otherwise to within rounding errors.

    Args:
        model: a functional `keras.Model`; it is not changed. To score by ω, it needs an
            `ImportanceScale` on each removable unit (see `add_importance`). For a
            `Dataset` it maps pixels (0 to 255) to logits. For `FitData` it may have any
            inputs and outputs, and must be compiled.
        data: a `Dataset` of labelled images, or `FitData`.
        recipe: `Recipe` of the initial training; a `FitRecipe` for `FitData`.
        retrain_recipe: recipe of each retraining, such as `recipe.replace(epochs=60)`.
            Defaults to `recipe`.
        initial: `"train"` to train the model first, as in the paper, or `"as_given"`
            for a trained model. Round 0 then measures it, and the fields that a
            `FitRecipe` leaves open get the defaults for a trained model.
        guidance: `Guidance` to retrain with a teacher, which is the trained initial
            model or another one; None to use only the labels, as in the paper. By
            default, `initial="as_given"` with a classifier uses that model as teacher.
        removal: `Removal`, which units are removed and how models are judged. By
            default one unit per round is removed until no removable unit is left.
        run: `RunOptions`, directory of the records, seed, devices, and when to stop.

    Returns:
        `PruningResult`, with the record of every round and the selected model.

    Raises:
        ValueError: if an argument is out of range; before any work.
        TypeError: if the model is not functional, if an argument has another class, or
            if data and recipe do not fit.
        RunDirectoryError: if the run directory contains another run, cannot be written
            or is locked by another process; or if `start_from` is not a run with the
            same initial training.
        DiskFullError: if there is no space left for a file. The same call continues.
        RunInterrupted: if the run was stopped. The same call continues.
        TrainingDiverged: if the loss or the weights of the initial training become NaN
            or infinite. If a later round diverges, the run ends with a warning,
            `final["diverged"]` states the reason, and the model is selected among the
            earlier rounds. To train that round again, delete `diverged.json` in the run
            directory and repeat the call.

    Reference: Ida and Fujiwara, Network Implosion, arXiv:1906.03826, Algorithm 1.

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
    check_kinds(recipe, retrain_recipe, guidance, removal, run)
    removal, run = removal or Removal(), run or RunOptions()
    strategy = run.strategy
    if run.directory is not None and strategy.is_chief:
        check_run_dir(run.directory)
    graph.check_functional(model, "prune_and_retrain")
    recipe, retrain_recipe = _recipes(model, data, recipe, retrain_recipe, initial)
    if guidance == "auto":
        loss = recipe.loss(model) if initial == "as_given" else None
        guidance = usual_guidance(model, loss)
    removal, checked, unsaved = check_run(
        model, data, recipe, retrain_recipe, removal, strategy
    )
    if removal.criterion is None:
        trained = initial == "as_given"
        removal = removal.replace(
            criterion=usual_criterion(model, data, trained)
            if removal.removes
            else criteria.importance
        )
    if initial == "as_given" and removal.removes and removal.by_importance:
        check_trained(model)
    plan = Plan.check(model, removal, initial_ms=_initial_ms(run.directory))
    plan = plan.with_examples(recipe.examples_judged(data, removal.select_on))
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
        "model": {
            **model_identity(model),
            **({"unsaved": unsaved} if unsaved else {}),
        },
    }
    with contextlib.ExitStack() as stack:
        files = _open(stack, run, model, settings)
        rounds = PruningRun(
            files,
            plan,
            data,
            recipe,
            retrain_recipe,
            guidance=guidance,
            teacher=teacher,
            template=model,
            unsaved=bool(unsaved),
            seed=run.seed,
            strategy=strategy,
            stop=_stop_check(run),
            progress=_progress(run, removal),
            monitored={k: checked[k] for k in ("monitor", "mode") if k in checked},
        )
        if run.start_from is not None and not files.rounds:
            rounds.take_over(run.start_from)
        final = rounds.complete(model, run.note)
        selected = rounds.rounds[final["selected_round"]]
        chosen = retrain_recipe.finish(rounds.load(selected.model), model)
        return PruningResult(chosen, tuple(rounds.rounds), selected, final)


def _recipes(model, data, recipe, retrain_recipe, initial):
    """The recipes of the initial training and of each retraining."""
    if initial not in ("train", "as_given"):
        raise ValueError(
            '`initial` must be "train", or "as_given" for a trained model. '
            f"Received: {initial!r}."
        )
    retrain_recipe = retrain_recipe or recipe
    for each in (recipe, retrain_recipe):
        each.check_data(data)
    if initial == "as_given":
        retrain_recipe = retrain_recipe.for_trained(model)
        recipe = retrain_recipe.replace(epochs=0)
    if retrain_recipe.epochs < 1:
        raise ValueError(
            "`epochs` of the recipe of each retraining must be >= 1. Received: "
            f"{retrain_recipe.epochs}. To start from a trained model, pass "
            '`initial="as_given"`. To remove units without retraining, call '
            "`remove_units` and `recalibrate`."
        )
    return recipe, retrain_recipe


def _initial_ms(folder):
    """Latency in ms of round 0 of a run that continues; None if there is none."""
    if folder is None:
        return None
    if rounds := read_rounds(folder):
        return rounds[0].measured.get("latency_ms")
    return checkpoint.measured(pathlib.Path(folder) / "state.npz", 0).get("latency_ms")


def _open(stack, run, model, settings):
    """The `RunDirectory`, locked and checked to contain this run or none."""
    strategy, folder = run.strategy, run.directory
    if folder is None or not strategy.is_chief:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
    finished = read_rounds(run.directory or folder)
    if run.start_from is not None and not finished:
        check_same_start(run.start_from, settings)
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
    files.claim(settings)
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
