"""The rounds of a run: each removes units, trains, measures and records."""

import dataclasses
import functools
import math
import pathlib
import time
import warnings

import keras
import numpy as np

from resprune_tf import graph
from resprune_tf.data.examples import concatenated
from resprune_tf.graph.cost import cost
from resprune_tf.graph.transfer import copy_unsaved, copy_unsaved_by_place
from resprune_tf.pruning.options import ALL
from resprune_tf.pruning.run_check import load_run_model
from resprune_tf.runs import checkpoint
from resprune_tf.runs.callbacks import Checkpoint, DivergenceCheck, TrainingDiverged
from resprune_tf.runs.environment import environment
from resprune_tf.runs.judging import (
    AUTO,
    format_value,
    is_accuracy,
    is_suspicious,
    within_tolerance,
)
from resprune_tf.runs.records import INITIAL, TEACHER, RunDirectory
from resprune_tf.runs.status import Status
from resprune_tf.system.advice import advice
from resprune_tf.system.memory import Release
from resprune_tf.system.progress import say
from resprune_tf.system.whole_files import atomic_file, read_lines, write_json
from resprune_tf.system.wording import busy_note, counted, in_words
from resprune_tf.targets.measures import file_bytes, measure
from resprune_tf.targets.target import LOAD
from resprune_tf.training.divergence import broken
from resprune_tf.training.recalibration import has_statistics, training_batches
from resprune_tf.units.removal import remove_units

# Training examples from which a search for several units re-estimates statistics.
_SEARCH_EXAMPLES = 2048
_SEARCH_BYTES = 2**32  # no further batch is added to more than this


class PruningRun:
    """Runs the rounds of `prune_and_retrain` in one process.

    Args:
        files: the `RunDirectory`, locked by this process.
        plan: the `Plan` that decides what is removed and when the run ends.
        data: a `Dataset` or `FitData`.
        recipe: recipe of the initial training.
        retrain_recipe: recipe of each retraining.
        guidance: a `Guidance`, or None.
        teacher: a `keras.Model` that is the teacher in every round, or None.
        template: the model as the user compiled it.
        unsaved: whether it has settings that files do not record.
        seed: int.
        strategy: a `Strategy`.
        stop: a `StopCheck`.
        progress: a `Progress`, or None.
        monitored: dict with the settings of the monitored value for `final.json`.
    """

    def __init__(
        self,
        files,
        plan,
        data,
        recipe,
        retrain_recipe,
        *,
        guidance,
        teacher,
        template,
        unsaved,
        seed,
        strategy,
        stop,
        progress,
        monitored,
    ):
        self.files, self.plan, self.data = files, plan, data
        self.rounds = files.rounds
        self.recipe, self.retrain_recipe = recipe, retrain_recipe
        self.guidance, self.teacher, self.template = guidance, teacher, template
        self.unsaved = unsaved
        self.seed, self.strategy, self.stop = seed, strategy, stop
        self.progress, self.status = progress, Status(files.path)
        self.monitored = monitored
        self._release_memory = Release()

    def complete(self, model, note):
        """Runs all remaining rounds.

        Args:
            model: the initial `keras.Model`.
            note: text to store with the outcome.

        Returns:
            dict, the outcome as in `final.json`.
        """
        if self._outcome() is None:
            if self.rounds:
                finished = counted(len(self.rounds), "round")
                self._say(f"Continuing the run in {self.files.path} after {finished}.")
            self._begin(model)
        while (outcome := self._outcome()) is None:
            self.stop.check()
            record = self._round(len(self.rounds))
            if record is not None:
                self.rounds.append(record)
            self._release()
        return self._finish(outcome, note)

    def _release(self):
        """Frees the memory of the models of a round before the next round."""
        for watcher in filter(None, (self.progress, self.status)):
            watcher.set_model(None)
        self._release_memory()

    def _outcome(self):
        """The reason why no further round follows, or None."""
        outcome, diverged = self.plan.stop_reason(self.rounds), self.files.diverged
        if outcome is None and diverged:
            return f"round {diverged['round']} diverged"
        return outcome

    def take_over(self, source):
        """Copies round 0 of another run to this one and scores it again."""
        first = RunDirectory(source).rounds[0]
        model = load_run_model(pathlib.Path(source) / first.model, first)
        self._save(model, self.files.path / first.model)
        history = [
            {name: value for name, value in line.items() if name != "round"}
            for line in read_lines(pathlib.Path(source) / "history.jsonl")
            if line["round"] == 0
        ]
        scores = self.plan.scores(model)
        record = self.plan.record(0, model, self._size(model, 0), scores=scores)
        shared = {"scores": scores, "measured": record.measured, "kept": record.kept}
        record = dataclasses.replace(first, **self.strategy.share(shared))
        self.files.add_round(record, history)
        self.rounds.append(record)
        self._say(f"round 0: copied from {source}")

    def _begin(self, model):
        """Records the session, and saves the initial model and the teacher."""
        found = environment()
        number = len(self.rounds)
        epoch = checkpoint.epochs_done(self.files.path / "state.npz", number)
        self.files.add_session(round=number, epoch=epoch, **found)
        write_json(self.files.path / "environment.json", found)
        if uncounted := cost(model).uncounted:
            self._say(
                "The MACs do not include these operations, which cannot be counted: "
                f"{', '.join(uncounted)}"
            )
        initial = self.files.path / INITIAL
        if not self.rounds and not initial.exists():
            self._save(model, initial)
        teacher = self.files.path / TEACHER
        if self.teacher is not None and not teacher.exists():
            self._save(self.teacher, teacher)

    def _round(self, number):
        """Runs one round; returns its `Round`, or None if the training diverged."""
        started = time.monotonic()
        model, removed, recipe = self._next_model(number)
        broken_before = broken(model)
        size = self._size(model, number)
        self._announce(number, size, removed, recipe)
        measured = self.plan.not_counted(size)
        saved = {"round": number, "removed": list(removed), "measured": measured}
        trainer, callbacks, history, spent, done = self._training(model, recipe, saved)
        try:
            trainer.fit(done, callbacks)
        except TrainingDiverged as error:
            return self._diverge(number, removed, recipe, str(error))
        if newly_broken := sorted(broken(model) - broken_before):
            # The last step can break weights after a loss that was still finite.
            reason = (
                f"After round {number}, '{newly_broken[0]}' contains NaN or infinite "
                "values."
            )
            return self._diverge(number, removed, recipe, reason)
        self._say(f"round {number}: measuring {self.plan.removal.monitor}")
        on_splits = trainer.measures()
        if number == 0 and "file_bytes" in size:
            # The zeros of an untrained model compress better.
            size["file_bytes"] = file_bytes(model, self.plan.target.file_format)
        record = self.plan.record(
            number, model, size, removed=removed, correct=trainer.correct, **on_splits
        )
        # One worker provides the values that decide, because rounding may differ.
        decisive = ("importances", "validation", "test", "measured", "correct")
        shared = {name: getattr(record, name) for name in decisive}
        shared = self.strategy.share({"scores": self._scores(model, number), **shared})
        self._save(model, self.files.path / record.model)
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
            seconds=round(time.monotonic() - started + spent, 1),
        )
        value, removal = self.plan.value(record), self.plan.removal
        measure = f"{removal.select_on} {removal.monitor}"
        if number == 0 and not math.isfinite(value):
            raise TrainingDiverged(
                f"The {measure} is {value} after the initial training, so pruned "
                f"models cannot be compared with it. Check the {removal.select_on} "
                "data and the metric."
            )
        as_given = number == 0 and recipe.epochs == 0
        if as_given and is_suspicious(removal.monitor, value):
            self._say(
                f"NOTE: The model classifies {value:.2%} of the {removal.select_on} "
                "examples correctly. If it was trained on them, they do not show how "
                "accurate pruned models are on new examples. Use examples on which it "
                "was not trained."
            )
        self.files.add_round(record, history)
        (self.files.path / "state.npz").unlink(missing_ok=True)
        layers = counted(size["layers"], "layer")
        found = format_value(removal.monitor, value)
        self._say(f"round {number}: {layers}, {measure} {found}")
        if number == 0 and (text := self.plan.tolerance_text([record])):
            self._say(f"round 0: {text}")
        return record

    def _diverge(self, number, removed, recipe, reason):
        """Records that a round diverged, which ends the run; raises in round 0."""
        reason = f"{reason} {recipe.divergence_reason(self.data)}"
        if number == 0:
            again = advice("start a new run", "repeat the command with another --out")
            raise TrainingDiverged(f"{reason} Then {again}.")
        write_json(
            self.files.path / "diverged.json",
            {"round": number, "removed": removed, "reason": reason},
        )
        (self.files.path / "state.npz").unlink(missing_ok=True)

    def _scores(self, model, number):
        """The scores of a model. An error states that its training is not lost."""
        say("Scoring the removable units ...")
        try:
            return self.plan.scores(model)
        except Exception as error:
            self.files.release_criterion()
            kinds = (TypeError, ValueError)
            kind = next((k for k in kinds if isinstance(error, k)), RuntimeError)
            raise kind(
                f"{in_words(error)} The training of round {number} is finished and "
                "saved in the run directory, if there is one. Correct the criterion "
                "and repeat the same call, which continues from there."
            ) from error

    def _size(self, model, number):
        """Everything that the target limits, measured for the model of a round.

        File size and latency are not measured again if the round was stopped.
        """
        path = self.files.path / "state.npz"
        if measured := checkpoint.measured(path, number):
            return {**measure(model), **measured}
        if not self.rounds or not self.plan.in_turns:
            return self.plan.measure(model)
        first = self.rounds[0]
        return self.plan.measure(
            model, self.load(first.model), first.measured.get("latency_ms")
        )

    def _next_model(self, number):
        """The model to train in a round, the units removed from it, and its recipe."""
        if number == 0:
            return self.load(INITIAL), (), self.recipe
        # The model is loaded even if it is still in memory, so that an uninterrupted
        # run computes exactly what a continued run does.
        last = self.rounds[-1]
        model = self.load(last.model)
        removed = self._select(number, last.scores, model)
        pruned = remove_units(model, removed) if removed else model
        return pruned, removed, self.retrain_recipe

    def _select(self, number, scores, model):
        """Names of the units to remove before the training of a round."""
        measured = self.rounds[-1].measured
        if self.plan.removal.units_per_round != ALL:
            return self.plan.next_units(scores, model, measured=measured)
        if "removed" in (saved := self._saved(number)):
            return tuple(saved["removed"])  # a second search may select other units
        self._say(f"round {number}: choosing the units to remove")
        images = None
        if not self.plan.removal.by_importance and has_statistics(model):
            inputs = training_batches(
                self.data, examples=_SEARCH_EXAMPLES, seed=self.seed
            )
            images = concatenated(_limited(inputs, _SEARCH_BYTES))
        removed = self.plan.next_units(
            scores,
            model,
            images,
            lambda step: self._say(f"  {step.unit} (score {step.score:.4g})"),
            measured,
        )
        return tuple(self.strategy.share({"removed": removed})["removed"])

    def _saved(self, number):
        """What was saved with the state of a round that was stopped, or an empty dict.

        These are the removed units, what was measured of the model, and the history.
        """
        return checkpoint.read_round(self.files.path / "state.npz", number)

    def _training(self, model, recipe, saved):
        """Prepares the training of a round, from the saved state if there is one.

        Args:
            model: the model to train.
            recipe: its `TrainingRecipe`.
            saved: dict of JSON values to save with the state; see `_saved`.

        Returns:
            The trainer, its callbacks, the history of earlier epochs, the seconds that
            earlier processes spent on them, and the number of epochs that are done.
        """
        number = saved["round"]
        seed = int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0])
        teacher = self.teacher
        if teacher is None and self.guidance is not None and number > 0:
            teacher = self.load(self.rounds[0].model)
        trainer = recipe.trainer(
            model,
            self.data,
            seed,
            template=self.template,
            teacher=teacher,
            guidance=self.guidance if teacher is not None else None,
            strategy=self.strategy,
        )
        # Whenever Keras loads a model, it draws a seed for generators without one.
        with self.strategy.scope():
            _restart_generators(trainer.model, seed)
        path = self.files.path / "state.npz"
        history, spent, ended = [], 0.0, False
        if meta := self._saved(number):
            with self.strategy.scope():
                checkpoint.load_state(path, trainer.model)
            history, ended = meta["history"], meta.get("ended", False)
            spent = sum(epoch["seconds"] for epoch in history)
            done = len(history) / recipe.parts
            self._say(f"round {number}: continuing after epoch {done:g}")
        saving = Checkpoint(path, saved, history, self.stop, recipe.parts)
        # A diverged epoch ends before it is saved. The checkpoint comes last, so that
        # the progress of an interrupted epoch is shown.
        watchers = [*filter(None, (self.progress, self.status))]
        callbacks = [*watchers, DivergenceCheck(number, recipe.parts), saving]
        # A callback may have ended the training early.
        done = recipe.epochs * recipe.parts if ended else len(history)
        return trainer, callbacks, history, spent, done

    def _finish(self, outcome, note):
        """Selects the last accepted round and writes `final.json`."""
        plan, first, monitor = self.plan, self.rounds[0], self.plan.removal.monitor
        judged, diverged = plan.judged_rounds(self.rounds), self.files.diverged
        selected = [record for record in judged if plan.accepts(record, judged)][-1]
        before = self._value_before()
        final = {
            "selected_round": selected.round,
            "select_on": plan.removal.select_on,
            "tolerance": plan.tolerance(self.rounds),
            **({"tolerance_rule": AUTO} if plan.removal.tolerance == AUTO else {}),
            **self.monitored,
            "stop_reason": outcome,
            "target_reached": plan.target_reached(judged[-1]),
            f"initial_{monitor}": plan.value(first),
            f"selected_{monitor}": plan.value(selected),
            f"initial_test_{monitor}": first.test.get(monitor),
            f"selected_test_{monitor}": selected.test.get(monitor),
            "selection_examples": plan.examples,
            "test_examples": self.data.sizes["test"],
            "total_epochs": sum(record.epochs for record in self.rounds),
            "total_seconds": round(sum(record.seconds for record in self.rounds), 1),
            **({"diverged": diverged} if diverged else {}),
            **({"note": note} if note else {}),
        }
        write_json(self.files.path / "final.json", final)
        if diverged:
            self._warn(
                f"{diverged['reason']} The result comes from the rounds before it."
            )
        self._warn_if_worse(before, plan.value(selected))
        self.status.path.unlink(missing_ok=True)
        return final

    def _value_before(self):
        """The monitored value before round 0 trained the model; None if untrained."""
        if self.recipe.epochs == 0 or not (self.files.path / INITIAL).exists():
            return None
        model = self.load(INITIAL)
        if not has_statistics(model):
            return None
        trainer = self.recipe.replace(epochs=0).trainer(
            model,
            self.data,
            self.seed,
            template=self.template,
            teacher=None,
            guidance=None,
            strategy=self.strategy,
        )
        removal = self.plan.removal
        return trainer.measures()[removal.select_on][removal.monitor]

    def _warn_if_worse(self, before, selected):
        """Warns if the result is worse than the trained model that was passed."""
        removal, noise = self.plan.removal, 0.0
        if is_accuracy(removal.monitor) and 0 < (before or 0) < 1:
            # Smaller differences than two standard errors are not significant.
            count = self.plan.examples or math.inf
            noise = 2 * math.sqrt(2 * before * (1 - before) / count)
        rule = self.plan.tolerance(self.rounds) + noise, removal.mode
        if before is None or within_tolerance(before, selected, *rule):
            return
        values = [format_value(removal.monitor, v) for v in (selected, before)]
        self._warn(
            f"The result is worse than the model that you passed: {removal.select_on} "
            f"{removal.monitor} {' instead of '.join(values)}. Round 0 trained it "
            "again. To start from a trained model as it is, "
            + advice('pass `initial="as_given"`.', "give --initial-epochs 0.")
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
        """Loads a model of the run directory by the name of its file."""
        record = next((each for each in self.rounds if each.model == name), None)
        model = load_run_model(self.files.path / name, record)
        if self.unsaved:
            copy_unsaved(self._given, model)
        _restart_adapters(model)
        return model

    @functools.cached_property
    def _given(self):
        """The initial model with the names of its file and all settings."""
        path = self.files.path / INITIAL
        if not path.exists():  # in a directory unpacked from a state file
            path = self.files.path / self.rounds[0].model
        template, loaded = (
            graph.as_functional(each, "prune_and_retrain")
            for each in (self.template, load_run_model(path))
        )
        copy_unsaved_by_place(template, loaded)
        return loaded


def _restart_generators(model, seed):
    """Seeds the generators that were created without a seed, such as of dropout."""
    generators = (
        generator
        for layer in model._flatten_layers()
        for generator in getattr(layer, "_seed_generators", ())
    )
    for place, generator in enumerate(generators):
        if generator._initial_seed is None:
            state = np.array([seed, place << 16], generator.state.dtype)
            generator.state.assign(state)


def _restart_adapters(model):
    """Draws the first factors of LoRA layers again, as `enable_lora` does.

    A file contains the kernel with the adapter merged into it. Keras sets both factors
    to 0 when it loads them, so neither would have a gradient.
    """
    for number, layer in enumerate(model._flatten_layers()):
        if not getattr(layer, "lora_enabled", False):
            continue
        for name in ("lora_kernel_a", "lora_embeddings_a"):
            if (factor := getattr(layer, name, None)) is not None:
                initializer = keras.initializers.HeUniform(seed=number)
                factor.assign(initializer(factor.shape, factor.dtype))


def _limited(batches, most):
    """Yields batches as arrays until they have more than `most` bytes."""
    size = 0
    for batch in batches:
        arrays = keras.tree.map_structure(keras.ops.convert_to_numpy, batch)
        yield arrays
        size += sum(array.nbytes for array in keras.tree.flatten(arrays))
        if size > most:
            return


def _macs(number):
    return f"{number:,} MACs" if number < 1e6 else f"{number / 1e6:,.2f} M MACs"
