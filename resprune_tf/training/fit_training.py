"""Nets that are trained and measured by Keras's `fit` on one's own terms."""

import keras

from resprune_tf import graph
from resprune_tf.graph.compilation import compile_like
from resprune_tf.graph.transfer import copy_values
from resprune_tf.runs.callbacks import scalars
from resprune_tf.training.distillation import guided_model
from resprune_tf.training.strategy import Strategy


class FitTrainer:
    """Trains a model as its user compiled it; beside `Trainer`.

    Args:
        core: functional model, not compiled. It holds the trained values once `fit`
            has come to its end, and is as it was till then.
        data: a `FitData`.
        recipe: a `FitRecipe`.
        seed: int; of the order of arrays.
        template: the user's model, whose compile settings are repeated.
        teacher: a model whose outputs are to be approached, or None.
        guidance: `Guidance`: how much; needs `teacher`.
        strategy: a `Strategy` that shares each batch among devices.

    Attributes:
        model: the compiled copy that is trained: what a state file keeps.
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
        self.strategy = strategy or Strategy()
        with self.strategy.scope():
            self.model = compiled_copy(
                core, template, recipe.compile_fn, teacher, guidance
            )
            self._average = self.strategy.averaging(self.model)

    def fit(self, initial_epoch=0, callbacks=()):
        """Trains to the end of the recipe.

        Args:
            initial_epoch: epochs that are already done.
            callbacks: Keras callbacks, called after the recipe's own. The model they
                see is `model`.
        """
        options = dict(self.recipe.fit_options)
        shuffle = options.pop("shuffle", True)
        train, validation = (self.data.splits[s] for s in ("train", "validation"))
        arguments, orders = train.training(self.seed, initial_epoch, shuffle)
        # First, as the others may save what it averages.
        average = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: self._average()
        )
        # Also where all epochs are done: Keras finishes a training after the last,
        # and sets averaged weights then.
        with self.strategy.scope():
            self.model.fit(
                **{
                    **arguments,
                    **validation.validating(),
                    **options,
                },
                epochs=self.recipe.epochs,
                initial_epoch=initial_epoch,
                verbose=0,
                callbacks=[average, *orders, *self.recipe.make_callbacks(), *callbacks],
            )
        copy_values(self.model, graph.as_functional(self.core, "FitTrainer"))

    def measures(self):
        """What the compiled model measures on each split but the training's.

        Of the validation data these are the batches that `fit` measures, too: the first
        `validation_steps`, if the recipe says so.

        Returns:
            dict from `"validation"`, and `"test"` if there is one, to a dict from the
            name of a measure to its value.
        """
        measured = {}
        for name, split in self.data.splits.items():
            if name != "train":
                steps = self.recipe.validation_steps if name == "validation" else None
                with self.strategy.scope():
                    logs = self.model.evaluate(
                        **split.measuring(), steps=steps, return_dict=True, verbose=0
                    )
                measured[name] = scalars(logs)
        return measured


def compiled_copy(core, template, compile_fn=None, teacher=None, guidance=None):
    """A copy of a model that shares nothing with it, compiled as another is.

    Args:
        core: a functional `keras.Model`.
        template, compile_fn: as for `compile_as`.
        teacher, guidance: as for `guided_model`; None for training by the labels alone.
    """
    copy = graph.rebuild(graph.as_functional(core, "prune_and_retrain"))
    if guidance is not None:
        copy = guided_model(copy, teacher, guidance)
    return compile_as(copy, template, compile_fn)


def compile_as(model, template, compile_fn=None):
    """Compiles a model afresh as another one is compiled, and returns it.

    Args:
        model: a functional `keras.Model`.
        template: a compiled `keras.Model`; it is only read.
        compile_fn: function that compiles a model, instead of the template's settings.
    """
    # A model that was loaded lost it; compile() would then leave out loss scaling.
    model.dtype_policy = template.dtype_policy
    if compile_fn is None:
        compile_like(model, template)
    else:
        compile_fn(model)
    return model
