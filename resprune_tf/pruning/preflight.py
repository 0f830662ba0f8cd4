"""Checks a model, its data and its recipes before a run does any work."""

import warnings

from keras.src.saving.serialization_lib import ObjectSharingScope

from resprune_tf import graph
from resprune_tf.deploy.registry import name_of
from resprune_tf.graph import sharing
from resprune_tf.graph.transfer import copy_unsaved_by_place
from resprune_tf.pruning.options import Removal, RunOptions
from resprune_tf.training.distillation import Guidance
from resprune_tf.training.recipe import TrainingRecipe


def check_kinds(recipe, retrain_recipe, guidance, removal, run):
    """Raises a TypeError if an argument of `prune_and_retrain` has the wrong class."""
    if guidance == "auto":
        guidance = None
    for name, value, kind, expected in (
        ("recipe", recipe, TrainingRecipe, "a Recipe or a FitRecipe"),
        ("retrain_recipe", retrain_recipe, TrainingRecipe, "a Recipe or a FitRecipe"),
        ("guidance", guidance, Guidance, 'a Guidance, such as Guidance(), or "auto"'),
        ("removal", removal, Removal, "a Removal, such as Removal(max_rounds=2)"),
        ("run", run, RunOptions, 'RunOptions, such as RunOptions("runs/mine")'),
    ):
        default = value is None and name != "recipe"
        if not (default or isinstance(value, kind)):
            raise TypeError(f"`{name}` must be {expected}. Received: {value!r}.")


def check_run(model, data, recipe, retrain_recipe, removal, strategy):
    """Checks a model, its data and its recipes against each other.

    Args:
        model, data, recipe, removal: as for `prune_and_retrain`.
        retrain_recipe: recipe of each retraining.
        strategy: a `Strategy`.

    Returns:
        `(removal, settings, unsaved)`: the `Removal` with its `mode`, a dict of the
        further settings of the recipes as JSON values, and the result of
        `check_saving`.

    Raises:
        ValueError: if they do not fit each other, if the model changes when it is saved
            and loaded, or if several workers would use one `latency_fn`.
        TypeError: if the model is not functional.
    """
    target = removal.target
    if strategy.workers > 1 and target is not None and target.latency_fn is not None:
        raise ValueError(
            f"`latency_fn={name_of(target.latency_fn)}` would be called by each of the "
            f"{strategy.workers} workers at the same time, but measures one device. "
            "Train with one worker, or use another limit than the latency."
        )
    unsaved = check_saving(model)
    checked = recipe.check(model, data, retrain_recipe, removal, strategy)
    return removal.replace(mode=checked.mode), checked.settings, unsaved


def check_saving(model):
    """Checks that Keras restores a model from its configuration without changes.

    Every round loads the model of the previous round from its file.

    Returns:
        List of texts, one for each setting that no file records, such as the flag of a
        layer inside a layer. A run has to set them again.

    Raises:
        ValueError: if Keras cannot build the model from its configuration, or changes
            names, weights or shared layers.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Keras saves files in this scope, in which not all layers stay shared.
            with ObjectSharingScope():
                config = model.get_config()
            with ObjectSharingScope():
                loaded = type(model).from_config(config)
    except Exception as error:
        raise ValueError(
            f"{_cannot_load(model)}. Register your own layers and functions with "
            "`keras.saving.register_keras_serializable()`, and replace Lambda layers "
            f"by layer classes. The error of Keras: {error}"
        ) from error
    own, restored = _by_path(model), _by_path(loaded)
    names = {operation.name for operation in restored.values()}
    renamed = [each for each in own.values() if each.name not in names]
    if renamed:
        kinds = ", ".join(sorted({type(each).__name__ for each in renamed}))
        raise ValueError(
            f"{_cannot_load(model)}: these layers of type {kinds} get other names: "
            f"{', '.join(each.name for each in renamed)}. Begin the constructor with "
            "`def __init__(self, ..., name=None, **kwargs)` and pass both on to "
            "`super().__init__`."
        )
    with_weights = _called_with_weights(model)
    if len(with_weights) > len(_called_with_weights(loaded)):
        raise ValueError(
            f"{_cannot_load(model)}: {', '.join(with_weights)} would be called with "
            "constants instead of weights. Replace each by a layer that contains its "
            "weight."
        )
    pairs = [(each, restored[path]) for path, each in own.items() if path in restored]
    if difference := sharing.untied(pairs):
        raise ValueError(
            f"{_cannot_load(model)}: Keras does not keep all layers shared. In "
            f"particular, {difference}. Call the shared layer itself in both places."
        )
    both = (graph.as_functional(each, "prune_and_retrain") for each in (model, loaded))
    return copy_unsaved_by_place(*both)


def _cannot_load(model):
    return (
        f"'{model.name}' cannot be restored from a saved file, which every round of a "
        "run requires"
    )


def _called_with_weights(model):
    """Names of the operations that are called with a variable as an argument."""
    levels = graph.levels(graph.as_functional(model, "prune_and_retrain"))
    return [
        node.operation.name
        for _, level in levels
        for node in graph.nodes(level)
        if sharing.read_weights(node)
    ]


def _by_path(model):
    """Dict from path to layer or operation, with those of nested models."""
    levels = graph.levels(graph.as_functional(model, "prune_and_retrain"))
    return {
        (*path, operation.name): operation
        for path, level in levels
        for operation in level.operations
    }
