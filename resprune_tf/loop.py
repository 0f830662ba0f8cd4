"""Algorithm 1: train, score, remove, retrain, repeat; every round on record."""

import contextlib
import dataclasses
import math
import pathlib
import tempfile
import time

import keras
import numpy as np

from resprune_tf import checkpoint, criteria
from resprune_tf.callbacks import Checkpoint, Progress, StopCheck
from resprune_tf.environment import environment
from resprune_tf.importance import importances
from resprune_tf.plan import Plan, measure
from resprune_tf.records import (
    Round,
    RunDirectory,
    atomic_file,
    check_same_start,
    read_lines,
    write_json,
    write_text,
)
from resprune_tf.removal import remove_units
from resprune_tf.strategy import Strategy
from resprune_tf.training import Trainer, check_batches, evaluate
from resprune_tf.units import find_units


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
        RunDirectoryError: if `run_dir` holds another run or another process has it;
            or if `start_from` is no such run.
        RunInterrupted: when stopped; the same call continues.
        TrainingDiverged: if a training loss is not finite.
    """
    plan = Plan.check(
        model,
        recipe=recipe,
        units_per_round=units_per_round,
        target=target,
        max_rounds=max_rounds,
        retrain_recipe=retrain_recipe,
        stop_on_drop=stop_on_drop,
        tolerance=tolerance,
        select_on=select_on,
        criterion=criterion,
        guidance=guidance,
        protected=protected,
        seed=seed,
    )
    strategy = strategy or Strategy()
    for each in (plan.recipe, plan.retrain_recipe):
        check_batches(dataset.train, each, strategy.replicas)
    with contextlib.ExitStack() as stack:
        folder = run_dir
        if run_dir is None or not strategy.is_chief:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
        settings = {
            "dataset": {"name": dataset.name, **dataset.sizes},
            **plan.settings(),
            "strategy": {"name": strategy.name, "replicas": strategy.replicas},
        }
        begun = read_lines(pathlib.Path(run_dir or folder) / "rounds.jsonl")
        if start_from is not None and not begun:
            check_same_start(start_from, settings)
        files = stack.enter_context(RunDirectory(folder))
        strategy.follow(run_dir, files.path)
        strategy.check_equal(
            [*model.get_weights(), dataset.train.images, dataset.train.labels],
            settings=settings,
            rounds=len(files.rounds),
            state=checkpoint.read_meta(files.path / "state.npz"),
        )
        files.claim(settings)
        if flags:
            write_text(files.path / "flags.txt", flags)
        progress = Progress() if verbose and strategy.is_chief else None
        agree = strategy.agree if strategy.workers > 1 else None
        stop = StopCheck(should_stop, deadline, agree)
        run = _Run(files, plan, dataset, progress, stop, strategy)
        if start_from is not None and not run.rounds:
            run.take_over(start_from)
        return run.to_the_end(model, note)


class _Run:
    """One process's work on a run."""

    def __init__(self, files, plan, dataset, progress, stop, strategy):
        self.files, self.plan, self.dataset = files, plan, dataset
        self.progress, self.stop, self.strategy = progress, stop, strategy
        self.rounds = files.rounds

    def to_the_end(self, model, note):
        if self.plan.stop_reason(self.rounds) is None:
            self._begin(model)
        while (outcome := self.plan.stop_reason(self.rounds)) is None:
            self.stop.check()
            self.rounds.append(self._round(len(self.rounds)))
        final = self._finish(outcome, note)
        selected = self.rounds[final["selected_round"]]
        return PruningResult(
            self._load(selected.model), tuple(self.rounds), selected, final
        )

    def take_over(self, source):
        """Makes the first round of another run the first of this one."""
        first = RunDirectory(source).rounds[0]
        model = keras.saving.load_model(
            pathlib.Path(source) / first.model, compile=False
        )
        self._save(model, self.files.path / first.model)
        history = [
            {name: value for name, value in line.items() if name != "round"}
            for line in read_lines(pathlib.Path(source) / "history.jsonl")
            if line["round"] == 0
        ]
        scores = self.strategy.share(self.plan.scores(model))
        record = dataclasses.replace(first, scores=scores)
        self.files.add_round(record, history)
        self.rounds.append(record)
        self._say(f"round 0: taken over from {source}")

    def _begin(self, model):
        """Notes who works here from where on, and keeps the net as it was given."""
        found = environment()
        meta = checkpoint.read_meta(self.files.path / "state.npz") or {}
        number = len(self.rounds)
        epoch = meta["epoch"] if meta.get("round") == number else 0
        self.files.add_session(round=number, epoch=epoch, **found)
        write_json(self.files.path / "environment.json", found)
        first = self.files.path / "models" / "initial.keras"
        if not self.rounds and not first.exists():
            self._save(model, first)

    def _round(self, number):
        """Removes, trains, measures and records."""
        begun = time.monotonic()
        core, removed, recipe = self._next_net(number)
        size = measure(core)
        self._announce(number, size, removed, recipe)
        history, spent = self._train(number, core, recipe)
        self._say(f"round {number}: measuring accuracy")
        validation_loss, validation_accuracy = evaluate(core, self.dataset.validation)
        test_loss, test_accuracy = evaluate(core, self.dataset.test)
        # What is decided by, from one worker, as another's may round otherwise.
        measured = self.strategy.share(
            {
                "importances": importances(core),
                "scores": self.plan.scores(core),
                "validation_loss": validation_loss,
                "validation_accuracy": validation_accuracy,
                "test_loss": test_loss,
                "test_accuracy": test_accuracy,
            }
        )
        name = f"models/round-{number:02}.keras"
        self._save(core, self.files.path / name)
        record = Round(
            round=number,
            removed=removed,
            units=tuple(unit.name for unit in find_units(core)),
            layers=size["layers"],
            parameters=size["parameters"],
            macs=size["macs"],
            epochs=recipe.epochs,
            train_loss=history[-1]["loss"],
            train_accuracy=history[-1]["accuracy"],
            **measured,
            seconds=round(time.monotonic() - begun + spent, 1),
            model=name,
        )
        self.files.add_round(record, history)
        (self.files.path / "state.npz").unlink(missing_ok=True)
        self._say(
            f"round {number}: {size['layers']} layers, {self.plan.select_on} accuracy "
            f"{record.accuracy(self.plan.select_on):.2%}"
        )
        return record

    def _next_net(self, number):
        """The net of a round before its training, what it lost, and its recipe."""
        if number == 0:
            return self._load("models/initial.keras"), (), self.plan.recipe
        # Loaded although the last round's net may be in memory: an unbroken run goes
        # the very way that a continued one goes.
        last = self.rounds[-1]
        removed = self.plan.next_units(last.scores)
        core = remove_units(self._load(last.model), removed)
        return core, removed, self.plan.retrain_recipe

    def _train(self, number, core, recipe):
        """Trains to the recipe's end, from the saved state if there is one.

        Returns:
            The history, and the seconds that earlier processes spent on it.
        """
        seed = int(
            np.random.SeedSequence((self.plan.seed, number)).generate_state(1)[0]
        )
        taught = self.plan.guidance is not None and number > 0
        trainer = Trainer(
            core,
            self.dataset,
            recipe,
            seed,
            teacher=self._load(self.rounds[0].model) if taught else None,
            guidance=self.plan.guidance if taught else None,
            strategy=self.strategy,
        )
        path = self.files.path / "state.npz"
        meta = checkpoint.read_meta(path)
        history, spent = [], 0.0
        if meta is not None and meta["round"] == number:
            with self.strategy.scope():
                checkpoint.load_state(path, trainer.model)
            history = meta["history"]
            spent = sum(epoch["seconds"] for epoch in history)
            self._say(f"round {number}: continuing after epoch {len(history)}")
        callbacks = [Checkpoint(path, {"round": number}, history, self.stop)]
        if self.progress:
            # First, so that an interrupted epoch is still shown.
            callbacks.insert(0, self.progress)
        trainer.fit(len(history), callbacks)
        return history, spent

    def _finish(self, outcome, note):
        """Chooses the smallest net that held the accuracy, and records the outcome."""
        plan, first = self.plan, self.rounds[0]
        selected = [r for r in self.rounds if plan.held(r, self.rounds)][-1]
        final = {
            "selected_round": selected.round,
            "select_on": plan.select_on,
            "tolerance": plan.tolerance,
            "stop_reason": outcome,
            "initial_accuracy": first.accuracy(plan.select_on),
            "selected_accuracy": selected.accuracy(plan.select_on),
            "initial_test_accuracy": first.test_accuracy,
            "selected_test_accuracy": selected.test_accuracy,
            "selection_examples": self.dataset.sizes[plan.select_on],
            "test_examples": self.dataset.sizes["test"],
            "total_epochs": sum(record.epochs for record in self.rounds),
            "total_seconds": round(sum(record.seconds for record in self.rounds), 1),
            **({"note": note} if note else {}),
        }
        write_json(self.files.path / "final.json", final)
        return final

    def _announce(self, number, size, removed, recipe):
        self._say(
            f"round {number}: {size['layers']} layers, {size['parameters']:,} "
            f"parameters, {size['macs'] / 1e6:,.2f} M MACs"
            + (f"; removed {', '.join(removed)}" if removed else "")
        )
        if self.progress:
            later = (
                self.plan.later_rounds(number, size) * self.plan.retrain_recipe.epochs
            )
            self.progress.start_round(f"round {number}", recipe.epochs, later)

    def _say(self, text):
        if self.progress:
            self.progress.say(text)

    def _save(self, model, path):
        with atomic_file(path) as temporary:
            model.save(temporary)

    def _load(self, name):
        return keras.saving.load_model(self.files.path / name, compile=False)
