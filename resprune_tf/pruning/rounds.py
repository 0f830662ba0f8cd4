"""A run, round by round: delete, have trained, measure, record."""

import dataclasses
import math
import pathlib
import time
import warnings

import keras
import numpy as np

from resprune_tf.graph.cost import cost
from resprune_tf.pruning.options import ALL
from resprune_tf.pruning.run_check import load_run_model
from resprune_tf.runs import checkpoint
from resprune_tf.runs.callbacks import Checkpoint, TrainingDiverged
from resprune_tf.runs.environment import environment
from resprune_tf.runs.judging import AUTO, format_value, within_tolerance
from resprune_tf.runs.records import INITIAL, TEACHER, RunDirectory
from resprune_tf.runs.status import Status
from resprune_tf.system.advice import advice
from resprune_tf.system.memory import Release
from resprune_tf.system.progress import say
from resprune_tf.system.whole_files import atomic_file, read_lines, write_json
from resprune_tf.system.wording import busy_note, counted
from resprune_tf.targets.target import LOAD
from resprune_tf.training.divergence import broken
from resprune_tf.training.recalibration import has_statistics, training_batches

# An accuracy that a model rarely has on examples that it was not trained on.
_ALL_BUT_PERFECT = 0.995
# Training examples by which a search for several units estimates statistics.
_SEARCH = 2048


class PruningRun:
    """One process's work on a run: what lies around the trainings and the deletions.

    Args:
        files: the `RunDirectory`, held by this process.
        deletion: the `LayerDeletion` that decides what goes, and deletes it.
        data: a `Dataset` or `FitData`.
        recipe: of the initial training.
        retrain_recipe: of each retraining.
        guidance: a `Guidance`, or None.
        teacher: a model that teaches in every round, or None.
        template: the model as its user compiled it.
        seed: int.
        strategy: a `Strategy`.
        stop: a `StopCheck`.
        progress: a `Progress`, or None.
        watched: what the outcome says of the monitored value, a dict.
    """

    def __init__(
        self,
        files,
        deletion,
        data,
        recipe,
        retrain_recipe,
        *,
        guidance,
        teacher,
        template,
        seed,
        strategy,
        stop,
        progress,
        watched,
    ):
        self.files, self.deletion, self.data = files, deletion, data
        self.plan, self.rounds = deletion.plan, deletion.rounds
        self.recipe, self.retrain_recipe = recipe, retrain_recipe
        self.guidance, self.teacher, self.template = guidance, teacher, template
        self.seed, self.strategy, self.stop = seed, strategy, stop
        self.progress, self.status = progress, Status(files.path)
        self.watched = watched
        self._free = Release()

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
        for watcher in filter(None, (self.progress, self.status, self.deletion)):
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
        scores = self.deletion.score(model)
        record = self.deletion.record(model, self._size(model), scores=scores)
        shared = {"scores": scores, "measured": record.measured, "kept": record.kept}
        record = dataclasses.replace(first, **self.strategy.share(shared))
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
        """Deletes, trains, measures and records; None if the training diverged."""
        begun = time.monotonic()
        net, removed, recipe = self._next_net(number)
        infinite = broken(net)
        size = self._size(net)
        self._announce(number, size, removed, recipe)
        trainer, callbacks, history, spent = self._training(
            number, net, recipe, removed
        )
        try:
            trainer.fit(len(history), callbacks)
        except TrainingDiverged as error:
            return self._diverge(number, removed, recipe, str(error))
        if spoiled := sorted(broken(net) - infinite):
            # A last step may spoil weights whose loss was still finite.
            told = f"After round {number}, '{spoiled[0]}' holds NaN or infinite values."
            return self._diverge(number, removed, recipe, told)
        self._say(f"round {number}: measuring {self.plan.removal.monitor}")
        on_splits = trainer.measures()
        if number == 0 and "file_bytes" in size:
            size = self._size(net)  # an untrained net, with its zeros, packs smaller
        record = self.deletion.record(
            net, size, removed=removed, correct=trainer.correct, **on_splits
        )
        # What is decided by, from one worker, as another's may round otherwise.
        decisive = ("importances", "validation", "test", "measured", "correct")
        shared = {name: getattr(record, name) for name in decisive}
        shared = self.strategy.share({"scores": self._scores(net, number), **shared})
        self._save(net, self.files.path / record.model)
        record = dataclasses.replace(
            record,
            **shared,
            epochs=len(history) // recipe.parts,
            train={
                name: history[-1][name]
                for name in record.validation
                if history and name in history[-1]
            },
            recalibrated=trainer.recalibrated,
            seconds=round(time.monotonic() - begun + spent, 1),
        )
        value, removal = self.plan.value(record), self.plan.removal
        what = f"{removal.select_on} {removal.monitor}"
        if number == 0 and not math.isfinite(value):
            raise TrainingDiverged(
                f"The {what} is {value} after the initial training: no shorter net can "
                "be compared with it."
            )
        seen = removal.monitor.endswith("accuracy") and value >= _ALL_BUT_PERFECT
        if number == 0 and recipe.epochs == 0 and seen:
            self._say(
                f"NOTE: the model is right on {value:.2%} of the {removal.select_on} "
                "examples. If it was trained on them, they do not tell how well "
                "shorter models do on new ones: give examples that it has not seen."
            )
        self.files.add_round(record, history)
        (self.files.path / "state.npz").unlink(missing_ok=True)
        told = format_value(self.plan.removal.monitor, value)
        layers = counted(size["layers"], "layer")
        self._say(f"round {number}: {layers}, {what} {told}")
        if number == 0 and (told := self.plan.tolerance_told([record])):
            self._say(f"round 0: {told}")
        return record

    def _diverge(self, number, removed, recipe, told):
        """Ends a run whose training diverged; raises if nothing came before it."""
        told = f"{told} {recipe.divergence_reason(self.data)}"
        if number == 0:
            again = advice("start a new run", "repeat the command with another --out")
            raise TrainingDiverged(f"{told} Then {again}.")
        write_json(
            self.files.path / "diverged.json",
            {"round": number, "removed": removed, "reason": told},
        )
        (self.files.path / "state.npz").unlink(missing_ok=True)

    def _scores(self, net, number):
        """The scores of a net that has been trained, which an error says."""
        say("Scoring the removable units ...")
        try:
            return self.deletion.score(net)
        except (TypeError, ValueError) as error:
            self.files.release_criterion()
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(
                f"{error} The training of round {number} is done: in a directory it is "
                "kept, and the same call goes on from there once the criterion is "
                "mended."
            ) from error

    def _size(self, net):
        """What a net measures of all that the target limits, beside the initial net."""
        if not self.rounds or not self.plan.in_turns:
            return self.deletion.measure(net)
        first = self.rounds[0]
        return self.deletion.measure(
            net, self.load(first.model), first.measured.get("latency_ms")
        )

    def _next_net(self, number):
        """The net of a round before its training, what it lost, and its recipe."""
        if number == 0:
            return self.load(INITIAL), (), self.recipe
        # Loaded although the last round's net may be in memory: an unbroken run goes
        # the very way that a continued one goes.
        last = self.rounds[-1]
        net = self.load(last.model)
        removed = self._select(number, last.scores, net)
        return self.deletion.delete(net, removed), removed, self.retrain_recipe

    def _select(self, number, scores, net):
        """Names of the units that go before a round is trained."""
        if self.plan.removal.units_per_round != ALL:
            return self.deletion.select(scores, net)
        meta = checkpoint.read_meta(self.files.path / "state.npz")
        if meta is not None and meta["round"] == number and "removed" in meta:
            return tuple(meta["removed"])  # a search may end otherwise a second time
        self._say(f"round {number}: choosing the units to remove")
        images = None
        if not self.plan.removal.by_importance and has_statistics(net):
            inputs = training_batches(self.data, examples=_SEARCH, seed=self.seed)
            images = keras.tree.map_structure(
                lambda *each: np.concatenate(each), *map(_arrays, inputs)
            )
        removed = self.deletion.select(
            scores,
            net,
            images,
            lambda step: self._say(f"  {step.unit} (score {step.score:.4g})"),
        )
        return tuple(self.strategy.share({"removed": removed})["removed"])

    def _training(self, number, net, recipe, removed):
        """What is to be trained, from the saved state on if there is one.

        Returns:
            The trainer, its callbacks, the history that they will go on with, and the
            seconds that earlier processes spent on it.
        """
        seed = int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0])
        teacher = self.teacher
        if teacher is None and self.guidance is not None and number > 0:
            teacher = self.load(self.rounds[0].model)
        trainer = recipe.trainer(
            net,
            self.data,
            seed,
            template=self.template,
            teacher=teacher,
            guidance=self.guidance if teacher is not None else None,
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
        kept = {"round": number, "removed": list(removed)}
        checkpoint_after = Checkpoint(path, kept, history, self.stop, recipe.parts)
        # The deletion before what would save a diverged epoch; the checkpoint last, so
        # that an interrupted epoch is still shown.
        watchers = [*filter(None, (self.progress, self.status))]
        self.deletion.parts = recipe.parts
        callbacks = [*watchers, self.deletion, checkpoint_after]
        return trainer, callbacks, history, spent

    def _finish(self, outcome, note):
        """Chooses the smallest net that held, and records the outcome."""
        plan, first, monitor = self.plan, self.rounds[0], self.plan.removal.monitor
        judged, diverged = plan.judged(self.rounds), self.files.diverged
        selected = [record for record in judged if plan.accepts(record, judged)][-1]
        given = self._given()
        final = {
            "selected_round": selected.round,
            "select_on": plan.removal.select_on,
            "tolerance": plan.tolerance(self.rounds),
            **({"tolerance_rule": AUTO} if plan.removal.tolerance == AUTO else {}),
            **self.watched,
            "stop_reason": outcome,
            "target_reached": plan.target_reached(judged[-1]),
            f"initial_{monitor}": plan.value(first),
            f"selected_{monitor}": plan.value(selected),
            f"initial_test_{monitor}": first.test.get(monitor),
            f"selected_test_{monitor}": selected.test.get(monitor),
            "selection_examples": self.data.sizes[plan.removal.select_on],
            "test_examples": self.data.sizes["test"],
            "total_epochs": sum(record.epochs for record in self.rounds),
            "total_seconds": round(sum(record.seconds for record in self.rounds), 1),
            **({"diverged": diverged} if diverged else {}),
            **({"note": note} if note else {}),
        }
        write_json(self.files.path / "final.json", final)
        if diverged:
            self._warn(f"{diverged['reason']} The result is of the rounds before it.")
        self._compare(given, plan.value(selected))
        self.status.path.unlink(missing_ok=True)
        return final

    def _given(self):
        """What the model measured that a run trains first; None if it was untrained."""
        if self.recipe.epochs == 0 or not (self.files.path / INITIAL).exists():
            return None
        net = self.load(INITIAL)
        if not has_statistics(net):
            return None
        trainer = self.recipe.replace(epochs=0).trainer(
            net,
            self.data,
            self.seed,
            template=self.template,
            teacher=None,
            guidance=None,
            strategy=self.strategy,
        )
        removal = self.plan.removal
        return trainer.measures()[removal.select_on][removal.monitor]

    def _compare(self, given, selected):
        """Says so if the result is worse than the model that was given."""
        removal, noise = self.plan.removal, 0.0
        if removal.monitor.endswith("accuracy") and 0 < (given or 0) < 1:
            # Two standard errors of the difference: few examples tell little.
            count = self.data.sizes[removal.select_on] or math.inf
            noise = 2 * math.sqrt(2 * given * (1 - given) / count)
        rule = self.plan.tolerance(self.rounds) + noise, removal.mode
        if given is None or within_tolerance(given, selected, *rule):
            return
        before, after = (format_value(removal.monitor, v) for v in (given, selected))
        self._warn(
            f"The result is worse than the model that was given: {removal.select_on} "
            f"{removal.monitor} {after} instead of {before}. Round 0 trained it again; "
            'to begin with a trained model as it is, give `initial="as_given"`.'
        )

    def _warn(self, text):
        if self.progress:
            self._say(f"WARNING: {text}")
        else:
            warnings.warn(text, stacklevel=3)

    def _announce(self, number, size, removed, recipe):
        self._say(
            f"round {number}: {counted(size['layers'], 'layer')}, "
            f"{size['parameters']:,} parameters, {_macs(size['macs'])}"
            + (f", {size['latency_ms']:.4g} ms" if "latency_ms" in size else "")
            + (f"; removed {', '.join(removed)}" if removed else "")
        )
        if note := busy_note(size.get(LOAD)):
            self._say(f"round {number}: {note}")
        rounds = self.plan.later_rounds(number, size)
        images = self.data.sizes.get("train")
        self.status.place(number, number + rounds, images)
        later = rounds * self.retrain_recipe.epochs
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


def _arrays(inputs):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, inputs)


def _macs(number):
    return f"{number:,} MACs" if number < 1e6 else f"{number / 1e6:,.2f} M MACs"
