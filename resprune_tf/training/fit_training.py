"""Trains and evaluates the models of a run on `FitData`, by Keras's `fit`."""

import functools

import keras

from resprune_tf import graph
from resprune_tf.data.fit_data import ArraySplit
from resprune_tf.graph.compilation import (
    compile_like,
    create_state,
    inner_optimizer,
)
from resprune_tf.graph.outputs import decides
from resprune_tf.graph.transfer import copy_values
from resprune_tf.runs.callbacks import EvaluationProgress, scalars
from resprune_tf.system.advice import advice
from resprune_tf.system.progress import say
from resprune_tf.training.distillation import guided_model
from resprune_tf.training.fast_copy import exact_copy, fast_copy
from resprune_tf.training.labels import classified
from resprune_tf.training.recalibration import MIN_BATCH, refresh_statistics
from resprune_tf.training.recipe import StepSchedule
from resprune_tf.training.schedules import PER_STEP, SCHEDULES
from resprune_tf.training.strategy import Strategy


class _NoEmptyEpoch(keras.callbacks.Callback):
    """Raises an error after an epoch without a batch, of which Keras only warns."""

    async_safe = True  # on JAX, Keras need not wait for the metrics of each step

    def on_epoch_begin(self, epoch, logs=None):
        self._batches = 0

    def on_train_batch_end(self, batch, logs=None):
        self._batches += 1

    def on_epoch_end(self, epoch, logs=None):
        if not self._batches:
            raise ValueError(
                f"Epoch {epoch + 1} did not get any batch: `train` cannot be read a "
                "second time. Create a Python generator inside the function that is "
                "passed to `from_generator`, so that every reading begins a new one."
            )


class FitTrainer:
    """Trains a model as its user compiled it; the counterpart of `Trainer`.

    Args:
        core: functional model, not compiled. `fit` writes the trained values into it at
            its end, and not before.
        data: a `FitData`.
        recipe: a `FitRecipe`.
        seed: int, seed of the order of arrays.
        template: the user's model, whose compile settings are repeated.
        teacher: a teacher model, or None.
        guidance: a `Guidance`; needs `teacher`.
        strategy: a `Strategy` that divides each batch among devices.

    Attributes:
        model: the compiled copy that is trained. Its state is what a state file stores.
        recalibrated: number of training examples from which the statistics were
            re-estimated after `fit`; 0 if the moving averages were kept.
        correct: dict from split to the examples that `measures` found to be classified
            correctly, as in `Round.correct`.
    """

    def __init__(
        self,
        core,
        data,
        recipe,
        seed,
        template,
        teacher=None,
        guidance=None,
        strategy=None,
    ):
        self.core, self.data, self.recipe, self.seed = core, data, recipe, seed
        self.template, self.strategy = template, strategy or Strategy()
        self.recalibrated, self.correct = 0, {}
        self._precision = recipe.precision if recipe.epochs else "float32"
        with self.strategy.scope():
            self.model = compiled_copy(
                core, template, recipe.compile_fn, teacher, guidance, self._precision
            )
            if recipe.learning_rate or recipe.schedule in PER_STEP:
                rate = self._learning_rate()
                self.model.optimizer = with_learning_rate(self.model.optimizer, rate)
            # Taken here, because a saved state contains the rate of its epoch.
            self._rate_callbacks = self._schedule()
            self._average = self.strategy.averaging(self.model)

    def _learning_rate(self):
        recipe = self.recipe
        rate = recipe.learning_rate
        if rate is None:
            rate = initial_rate(self.model.optimizer)
        if recipe.schedule in PER_STEP and recipe.epochs:
            return StepSchedule(recipe.schedule, rate, recipe.steps(self.data))
        return rate

    def _schedule(self):
        """The callbacks that change the learning rate from epoch to epoch."""
        recipe = self.recipe
        if recipe.schedule in (None, "constant", *PER_STEP):
            return []
        rate = initial_rate(self.model.optimizer)
        factor = SCHEDULES[recipe.schedule]
        return [
            keras.callbacks.LearningRateScheduler(
                lambda epoch, _: rate * factor(recipe, epoch)
            )
        ]

    def fit(self, initial_epoch=0, callbacks=()):
        """Trains to the end of the recipe.

        Args:
            initial_epoch: number of epochs that are already done.
            callbacks: Keras callbacks, called after those of the recipe. Their model
                is `model`.
        """
        if self.recipe.epochs == 0:
            return
        options = dict(self.recipe.fit_options)
        shuffle = options.pop("shuffle", True)
        train, validation = (self.data.splits[s] for s in ("train", "validation"))
        arguments, orders = train.training(
            self.seed, initial_epoch, shuffle, options.get("steps_per_epoch")
        )

        if initial_epoch < self.recipe.epochs:
            say("Compiling the training step (up to a minute) ...")
            create_state(self.model, validation.first_batch())
        # Called even if all epochs are done, because Keras sets averaged weights at
        # the end of `fit`.
        with self.strategy.scope():
            self.model.fit(
                **arguments,
                **validation.validating(),
                **options,
                epochs=self.recipe.epochs,
                initial_epoch=initial_epoch,
                verbose=0,
                callbacks=[
                    # First, because other callbacks may save the averaged statistics.
                    keras.callbacks.LambdaCallback(
                        on_epoch_end=lambda epoch, logs: self._average()
                    ),
                    _NoEmptyEpoch(),
                    *orders,
                    *self._rate_callbacks,
                    *self.recipe.make_callbacks(),
                    *callbacks,
                ],
            )
        self._hand_over()

    def _hand_over(self):
        """Copies the trained values to the core, and refreshes its statistics."""
        core = graph.as_functional(self.core, "FitTrainer")
        copy_values(self.model, core)
        optimizer = inner_optimizer(self.model.optimizer)
        with self.strategy.scope():
            # Batches, each of which updates the statistics; `iterations` would be the
            # updates of the weights, which accumulated gradients make fewer.
            steps = int(keras.ops.convert_to_numpy(optimizer._iterations))
        self.recalibrated = refresh_statistics(
            core,
            self.data,
            steps,
            self._recalibration_batch(core),
            self.seed,
        )
        if self.recalibrated:
            copy_values(core, self.model)

    def _recalibration_batch(self, core):
        train = self.data.splits["train"]
        most = max(MIN_BATCH, self.data.batch_size)
        if not isinstance(train, ArraySplit):
            return most  # not used: pipelines keep their own batches
        return graph.fitting_batch(core, train.arrays[0], most, train.batch_size)

    def measures(self):
        """Evaluates the compiled model on the validation and test splits.

        If the recipe sets `validation_steps`, only that many validation batches are
        used, as in `fit`.

        Returns:
            dict from `"validation"`, and `"test"` if there is one, to a dict from the
            name of a measure to its value.
        """
        measured, model = {}, self.model
        if self._precision != "float32":  # the saved model computes in float32
            with self.strategy.scope():
                model = compiled_copy(self.core, self.template, self.recipe.compile_fn)
        for name, split in self.data.splits.items():
            if name != "train":
                steps = self.recipe.validation_steps if name == "validation" else None
                shown = EvaluationProgress(f"Measuring on the {name} data, batch")
                with self.strategy.scope():
                    logs = model.evaluate(
                        **split.measuring(),
                        steps=steps,
                        callbacks=[shown],
                        return_dict=True,
                        verbose=0,
                    )
                measured[name] = scalars(logs)
                if steps is None and (found := self._classified(split, measured[name])):
                    self.correct[name] = found
        return measured

    def _classified(self, split, measured):
        """Which examples of a split are classified correctly; None if unknown."""
        known = isinstance(split, ArraySplit) and "accuracy" in measured
        if not known or self.strategy.replicas > 1 or not decides(self.model):
            return None
        x, y = split.arrays[:2]
        core = graph.as_functional(self.core, "FitTrainer")
        return classified(core, x, y, measured["accuracy"], split.batch_size)


def compiled_copy(
    core,
    template,
    compile_fn=None,
    teacher=None,
    guidance=None,
    precision="float32",
):
    """Copies a model and compiles the copy like another model.

    Args:
        core: a functional `keras.Model`; the copy shares no layer with it.
        template, compile_fn: as for `compile_as`.
        teacher, guidance: as for `guided_model`; None to train on the labels alone.
        precision: `"float32"` for an `exact_copy`, or `"bfloat16"` for a `fast_copy`.
    """
    copy = exact_copy
    if precision != "float32":
        copy = functools.partial(fast_copy, precision=precision)
    model = copy(graph.as_functional(core, "prune_and_retrain"))
    if guidance is not None:
        model = guided_model(model, teacher, guidance, copy)
    return compile_as(model, template, compile_fn)


def initial_rate(optimizer) -> float:
    """The learning rate of an optimizer before any training; 0.0 without an optimizer.

    Raises:
        ValueError: if it was created with a schedule.
    """
    optimizer = inner_optimizer(optimizer)
    rate = optimizer.get_config()["learning_rate"] if optimizer else 0.0
    if not isinstance(rate, float):
        raise ValueError(
            "The model was compiled with a learning rate schedule already. "
            + advice(
                "Pass `FitRecipe(learning_rate=...)`, or leave out its `schedule`.",
                "Give --learning-rate, or leave out --schedule.",
            )
        )
    return rate


def with_learning_rate(optimizer, learning_rate):
    """Creates an optimizer like another one, with another learning rate.

    Args:
        optimizer: a Keras optimizer.
        learning_rate: number or `LearningRateSchedule`.
    """
    config = optimizer.get_config()
    if (inner := getattr(optimizer, "inner_optimizer", None)) is not None:
        inner = with_learning_rate(inner, learning_rate)
        config["inner_optimizer"] = keras.optimizers.serialize(inner)
    else:
        schedules = keras.optimizers.schedules
        is_schedule = isinstance(learning_rate, schedules.LearningRateSchedule)
        # Keras rejects integers.
        convert = schedules.serialize if is_schedule else float
        config["learning_rate"] = convert(learning_rate)
    return type(optimizer).from_config(config)


def compile_as(model, template, compile_fn=None):
    """Compiles a model like another one, with a new optimizer, and returns it.

    Args:
        model: a functional `keras.Model`.
        template: a compiled `keras.Model`; it is not changed.
        compile_fn: function that compiles a model, instead of the template's settings.
    """
    # Loaded models lose their policy; compile() would then omit loss scaling.
    model.dtype_policy = template.dtype_policy
    if compile_fn is None:
        compile_like(model, template)
    else:
        compile_fn(model)
    return model
