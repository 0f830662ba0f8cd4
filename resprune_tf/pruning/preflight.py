"""What is known before a run does any work: that its parts belong together."""

import warnings

from keras.src.saving.serialization_lib import ObjectSharingScope

from resprune_tf import graph
from resprune_tf.graph import sharing


def check_run(model, data, recipe, retrain_recipe, removal, strategy):
    """Checks a model, its data and its recipes against each other.

    Args:
        model, data, recipe, removal: as `prune_and_retrain` takes them.
        retrain_recipe: that of each retraining.
        strategy: a `Strategy`.

    Returns:
        `(removal, settings)`: the `Removal` with its `mode`, and a dict of what else
        the recipes say of the run, as JSON values.

    Raises:
        ValueError, TypeError: if they do not belong together, or the model cannot be
            loaded as it was saved.
    """
    check_saving(model)
    checked = recipe.check(model, data, retrain_recipe, removal, strategy)
    return removal.replace(mode=checked.mode), checked.settings


def check_saving(model):
    """A run loads the net of each round from its file, so that it can be continued.

    Raises:
        ValueError: if Keras cannot make the model from its configuration, or only
            under other names.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # As Keras does in its files, where it does not keep all layers shared.
            with ObjectSharingScope():
                config = model.get_config()
            with ObjectSharingScope():
                loaded = type(model).from_config(config)
    except Exception as error:
        raise ValueError(
            f"'{model.name}' cannot be loaded once it is saved, as a run does after "
            "every round. Register your own layers and functions with "
            "`keras.saving.register_keras_serializable()`, and make layers of Lambdas. "
            f"Keras says: {error}"
        ) from error
    kept = {operation.name for operation in _operations(loaded)}
    lost = [each for each in _operations(model) if each.name not in kept]
    if lost:
        kinds = ", ".join(sorted({type(each).__name__ for each in lost}))
        raise ValueError(
            f"'{model.name}' is loaded with other names once it is saved, as a run "
            f"does after every round: {', '.join(each.name for each in lost)} of type "
            f"{kinds}. Begin the constructor with `def __init__(self, ..., name=None, "
            "**kwargs)` and pass both on to `super().__init__`."
        )
    named = _by_path(loaded)
    own = _by_path(model)
    pairs = [(each, named[path]) for path, each in own.items() if path in named]
    fixed = _called_with_weights(model)
    if len(fixed) > len(_called_with_weights(loaded)):
        raise ValueError(
            f"'{model.name}' cannot be loaded once it is saved, as a run does after "
            f"every round: {', '.join(fixed)} would be called with constants instead "
            "of weights. Make a layer of each that holds its weight."
        )
    if difference := sharing.untied(pairs):
        raise ValueError(
            f"'{model.name}' cannot be loaded once it is saved, as a run does after "
            f"every round: Keras does not keep all layers shared. In particular, "
            f"{difference}. Call the shared layer itself in both places."
        )


def _operations(model):
    """Layers and operations of a model and of those nested in it."""
    return list(_by_path(model).values())


def _called_with_weights(model):
    levels = graph.levels(graph.as_functional(model, "prune_and_retrain"))
    return [
        node.operation.name
        for _, level in levels
        for node in graph.nodes(level)
        if sharing.read_weights(node)
    ]


def _by_path(model):
    levels = graph.levels(graph.as_functional(model, "prune_and_retrain"))
    return {
        (*path, operation.name): operation
        for path, level in levels
        for operation in level.operations
    }
