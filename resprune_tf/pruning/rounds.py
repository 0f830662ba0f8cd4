"""A run, round by round: remove, have trained, measure, record."""

import dataclasses
import math
import pathlib
import time
import warnings

import numpy as np

from resprune_tf.graph.cost import cost
from resprune_tf.pruning.run_check import load_run_model
from resprune_tf.runs import checkpoint
from resprune_tf.runs.callbacks import Checkpoint, TrainingDiverged
from resprune_tf.runs.environment import environment
from resprune_tf.runs.judging import shown
from resprune_tf.runs.records import INITIAL, TEACHER, Round, RunDirectory, model_name
from resprune_tf.runs.status import Status
from resprune_tf.system.memory import Release
from resprune_tf.system.whole_files import atomic_file, read_lines, write_json
from resprune_tf.targets.measures import measures
from resprune_tf.targets.target import COUNTED
from resprune_tf.training.divergence import broken, reason
from resprune_tf.training.fit_recipe import FitRecipe
from resprune_tf.training.fit_training import FitTrainer
from resprune_tf.training.trainer import Trainer, evaluate
from resprune_tf.units.finding import find_units
from resprune_tf.units.importances import importances
from resprune_tf.units.removal import remove_units


class Run:
    """One process's work on a run, but for the training itself.

    Args:
        files: the `RunDirectory`, held by this process.
        plan: a `Plan`.
        dataset: a `Dataset` or `FitData`.
        progress: a `Progress`, or None.
        stop: a `StopCheck`.
        strategy: a `Strategy`.
        teacher: a model that teaches in every round, or None.

        template: the model as its user compiled it, for `FitData`.

    Attributes:
        rounds: the finished `Round`s.
    """

    def __init__(
        self,
        files,
        plan,
        dataset,
        progress,
        stop,
        strategy,
        teacher=None,
        template=None,
    ):
        self.files, self.plan, self.dataset = files, plan, dataset
        self.progress, self.stop, self.strategy = progress, stop, strategy
        self.teacher, self.template = teacher, template
        self.status = Status(files.path)
        self.rounds, self._free = files.rounds, Release()

    def to_the_end(self, model, note):
        """Does all rounds that are left; returns the outcome, as in `final.json`."""
        if self._outcome() is None:
            self._begin(model)
        while (outcome := self._outcome()) is None:
            self.stop.check()
            record = self._round(len(self.rounds))
            if record is not None:
                self.rounds.append(record)
            self._release()
        return self._finish(outcome, note)

    def _release(self):
        """Lets the nets of a round go before those of the next one are made."""
        for watcher in filter(None, (self.progress, self.status)):
            watcher.set_model(None)
        self._free()

    def _outcome(self):
        """Why no further round is to run, or None."""
        outcome, diverged = self.plan.stop_reason(self.rounds), self.files.diverged
        if outcome is None and diverged:
            return f"round {diverged['round']} diverged"
        return outcome

    def take_over(self, source):
        """Makes the first round of another run the first of this one."""
        first = RunDirectory(source).rounds[0]
        model = load_run_model(pathlib.Path(source) / first.model, first)
        self._save(model, self.files.path / first.model)
        history = [
            {name: value for name, value in line.items() if name != "round"}
            for line in read_lines(pathlib.Path(source) / "history.jsonl")
            if line["round"] == 0
        ]
        scores = self.strategy.share(self.plan.scores(model))
        measured = self.strategy.share(_beyond_counts(self._size(model)))
        record = dataclasses.replace(first, scores=scores, measured=measured)
        self.files.add_round(record, history)
        self.rounds.append(record)
        self._say(f"round 0: taken over from {source}")

    def _begin(self, model):
        """Notes who works here from where on, and keeps the net as it was given."""
        found = environment()
        number = len(self.rounds)
        epoch = checkpoint.epochs_done(self.files.path / "state.npz", number)
        self.files.add_session(round=number, epoch=epoch, **found)
        write_json(self.files.path / "environment.json", found)
        if uncounted := cost(model).uncounted:
            self._say(f"MACs leave out what cannot be counted: {', '.join(uncounted)}")
        first = self.files.path / INITIAL
        if not self.rounds and not first.exists():
            self._save(model, first)
        teacher = self.files.path / TEACHER
        if self.teacher is not None and not teacher.exists():
            self._save(self.teacher, teacher)

    def _round(self, number):
        """Removes, trains, measures and records; None if the training diverged."""
        begun = time.monotonic()
        core, removed, recipe = self._next_net(number)
        infinite = broken(core)
        size = self._size(core)
        self._announce(number, size, removed, recipe)
        trainer, callbacks, history, spent = self._training(number, core, recipe)
        try:
            trainer.fit(len(history), callbacks)
        except TrainingDiverged as error:
            return self._diverge(number, removed, recipe, str(error))
        if spoiled := sorted(broken(core) - infinite):
            # A last step may spoil weights whose loss was still finite.
            told = f"After round {number}, '{spoiled[0]}' holds NaN or infinite values."
            return self._diverge(number, removed, recipe, told)
        self._say(f"round {number}: measuring {self.plan.monitor}")
        if isinstance(trainer, FitTrainer):
            on_splits = trainer.measures()
        else:
            on_splits = self._loss_and_accuracy(core)
        if number == 0 and "file_bytes" in size:
            size = self._size(core)  # an untrained net, with its zeros, packs smaller
        # What is decided by, from one worker, as another's may round otherwise.
        measured = self.strategy.share(
            {
                "importances": importances(core),
                "scores": self._scores(core, number),
                "validation": on_splits["validation"],
                "test": on_splits.get("test", {}),
                "measured": _beyond_counts(size),
            }
        )
        name = model_name(number)
        self._save(core, self.files.path / name)
        record = Round(
            round=number,
            removed=removed,
            units=tuple(unit.name for unit in find_units(core)),
            layers=size["layers"],
            parameters=size["parameters"],
            macs=size["macs"],
            epochs=len(history) // recipe.parts,
            train={
                name: history[-1][name]
                for name in on_splits["validation"]
                if name in history[-1]
            },
            **measured,
            seconds=round(time.monotonic() - begun + spent, 1),
            model=name,
        )
        what = f"{self.plan.select_on} {self.plan.monitor}"
        if number == 0 and not math.isfinite(self.plan.value(record)):
            raise TrainingDiverged(
                f"The {what} is {self.plan.value(record)} after the initial training: "
                "no shorter net can be compared with it."
            )
        self.files.add_round(record, history)
        (self.files.path / "state.npz").unlink(missing_ok=True)
        value = shown(self.plan.monitor, self.plan.value(record))
        self._say(f"round {number}: {size['layers']} layers, {what} {value}")
        return record

    def _diverge(self, number, removed, recipe, told):
        """Ends a run whose training diverged; raises if nothing came before it."""
        data, steps = None, None
        if isinstance(recipe, FitRecipe):
            data = self.dataset.splits["train"]
            steps = recipe.fit_options.get("steps_per_epoch")
        told = f"{told} {reason(data, steps)}"
        if number == 0:
            raise TrainingDiverged(f"{told} Then start a new run.")
        write_json(
            self.files.path / "diverged.json",
            {"round": number, "removed": removed, "reason": told},
        )
        (self.files.path / "state.npz").unlink(missing_ok=True)

    def _scores(self, core, number):
        """The scores of a net that has been trained, which an error says."""
        try:
            return self.plan.scores(core)
        except (TypeError, ValueError) as error:
            self.files.release_criterion()
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(
                f"{error} The training of round {number} is done: in a `run_dir` it is "
                "kept, and the same call goes on from there once the criterion is "
                "mended."
            ) from error

    def _size(self, core):
        """What a net measures of all that the target limits, beside the initial net."""
        target = self.plan.target
        if not self.rounds or target is None or not target.conditions:
            return measures([core], target)[0]
        first = self.rounds[0]
        nets = [self.load(first.model), core]
        return measures(nets, target, first.measured.get("latency_ms"))[1]

    def _loss_and_accuracy(self, core):
        """Measures of both splits."""
        splits = {"validation": self.dataset.validation, "test": self.dataset.test}
        return {
            name: dict(zip(("loss", "accuracy"), evaluate(core, split), strict=True))
            for name, split in splits.items()
        }

    def _next_net(self, number):
        """The net of a round before its training, what it lost, and its recipe."""
        if number == 0:
            return self.load(INITIAL), (), self.plan.recipe
        # Loaded although the last round's net may be in memory: an unbroken run goes
        # the very way that a continued one goes.
        last = self.rounds[-1]
        removed = self.plan.next_units(last.scores)
        core = self.load(last.model)
        if removed:
            core = remove_units(core, removed)
        return core, removed, self.plan.retrain_recipe

    def _training(self, number, core, recipe):
        """What is to be trained, from the saved state on if there is one.

        Returns:
            The trainer, its callbacks, the history that they will go on with, and the
            seconds that earlier processes spent on it.
        """
        seed = int(
            np.random.SeedSequence((self.plan.seed, number)).generate_state(1)[0]
        )
        teacher = self.teacher
        if teacher is None and self.plan.guidance is not None and number > 0:
            teacher = self.load(self.rounds[0].model)
        if isinstance(recipe, FitRecipe):
            trainer = FitTrainer(core, self.dataset, recipe, seed, self.template)
        else:
            trainer = Trainer(
                core,
                self.dataset,
                recipe,
                seed,
                teacher=teacher,
                guidance=self.plan.guidance if teacher is not None else None,
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
            done = len(history) / recipe.parts
            self._say(f"round {number}: continuing after epoch {done:g}")
        checkpoint_after = Checkpoint(
            path, {"round": number}, history, self.stop, recipe.parts
        )
        # The last one, so that an interrupted epoch is still shown.
        callbacks = [*filter(None, (self.progress, self.status)), checkpoint_after]
        return trainer, callbacks, history, spent

    def _finish(self, outcome, note):
        """Chooses the smallest net that held, and records the outcome."""
        plan, first, monitor = self.plan, self.rounds[0], self.plan.monitor
        judged, diverged = plan.judged(self.rounds), self.files.diverged
        selected = [record for record in judged if plan.held(record, judged)][-1]
        final = {
            "selected_round": selected.round,
            "select_on": plan.select_on,
            "tolerance": plan.tolerance,
            **plan.watched,
            "stop_reason": outcome,
            "target_reached": plan.target_reached(judged[-1]),
            f"initial_{monitor}": plan.value(first),
            f"selected_{monitor}": plan.value(selected),
            f"initial_test_{monitor}": first.test.get(monitor),
            f"selected_test_{monitor}": selected.test.get(monitor),
            "selection_examples": self.dataset.sizes[plan.select_on],
            "test_examples": self.dataset.sizes["test"],
            "total_epochs": sum(record.epochs for record in self.rounds),
            "total_seconds": round(sum(record.seconds for record in self.rounds), 1),
            **({"diverged": diverged} if diverged else {}),
            **({"note": note} if note else {}),
        }
        write_json(self.files.path / "final.json", final)
        if diverged:
            told = f"{diverged['reason']} The result is of the rounds before it."
            if self.progress:
                self._say(f"WARNING: {told}")
            else:
                warnings.warn(told, stacklevel=2)
        self.status.path.unlink(missing_ok=True)
        return final

    def _announce(self, number, size, removed, recipe):
        self._say(
            f"round {number}: {size['layers']} layers, {size['parameters']:,} "
            f"parameters, {_macs(size['macs'])}"
            + (f", {size['latency_ms']:.4g} ms" if "latency_ms" in size else "")
            + (f"; removed {', '.join(removed)}" if removed else "")
        )
        rounds = self.plan.later_rounds(number, size)
        images = self.dataset.sizes.get("train")
        self.status.place(number, number + rounds, images)
        later = rounds * self.plan.retrain_recipe.epochs
        for watcher in filter(None, (self.progress, self.status)):
            watcher.start_round(f"round {number}", recipe.epochs, later, recipe.parts)

    def _say(self, text):
        if self.progress:
            self.progress.say(text)

    def _save(self, model, path):
        with atomic_file(path) as temporary:
            model.save(temporary)

    def load(self, name):
        """A model of the run directory."""
        record = next((each for each in self.rounds if each.model == name), None)
        return load_run_model(self.files.path / name, record)


def _macs(number):
    return f"{number:,} MACs" if number < 1e6 else f"{number / 1e6:,.2f} M MACs"


def _beyond_counts(size):
    return {name: value for name, value in size.items() if name not in COUNTED}
