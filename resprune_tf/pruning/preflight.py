"""What is known before a run does any work: that its parts belong together."""

from resprune_tf import criteria, graph
from resprune_tf.data.dataset import Split
from resprune_tf.data.examples import bounds
from resprune_tf.data.fit_data import FitData
from resprune_tf.graph.outputs import probabilities
from resprune_tf.pruning.fit_check import check_fit, check_saving
from resprune_tf.training.fit_recipe import FitRecipe
from resprune_tf.training.trainer import check_batches


def check_run(model, dataset, teacher, strategy, **settings):
    """Checks a model, its data and its recipes against each other.

    Args:
        model, dataset, teacher: as `prune_and_retrain` takes them.
        strategy: a `Strategy`.
        **settings: further arguments of `prune_and_retrain`.

    Returns:
        `(mode, compiled)`: which way the monitored measure is better, and a dict of
        what the models are compiled with, as JSON values; empty for a `Dataset`, whose
        recipe says it.

    Raises:
        ValueError, TypeError: if they do not belong together, or the model cannot be
            loaded as it was saved.
    """
    graph.check_functional(model, "prune_and_retrain")
    own = isinstance(dataset, FitData)
    for recipe in (settings["recipe"], settings["retrain_recipe"]):
        if recipe is not None and isinstance(recipe, FitRecipe) != own:
            raise TypeError(
                "FitData are trained by a FitRecipe, a Dataset by a Recipe. Received: "
                f"a {type(recipe).__name__} for {'FitData' if own else 'a Dataset'}."
            )
    check_saving(model)
    check = _check_fit if own else _check_dataset
    return check(model, dataset, teacher, strategy, **settings)


def check_logits(model):
    """Raises a ValueError if a model gives probabilities where logits are expected."""
    if last := probabilities(model):
        raise ValueError(
            f"'{model.name}' ends in '{last}', which gives probabilities. For a "
            "Dataset it must give logits: leave the activation out. With FitData and a "
            "FitRecipe it may give anything that your loss understands."
        )


def _check_dataset(
    model,
    dataset,
    teacher,
    strategy,
    *,
    recipe,
    retrain_recipe,
    monitor,
    mode,
    **others,
):
    """Checks a run on a `Dataset`; its mode, and no further settings."""
    if monitor != "accuracy" or mode not in (None, "max"):
        raise ValueError(
            "A Dataset is judged by its accuracy; FitData by any metric. "
            f"Received: monitor={monitor!r}, mode={mode!r}."
        )
    check_logits(model)
    classes = model.outputs[0].shape[-1]
    if classes is not None and dataset.num_classes > classes:
        raise ValueError(
            f"'{model.name}' has outputs for {classes} classes. Received: a Dataset of "
            f"{dataset.num_classes}."
        )
    # As floats from 0 to 1 become if they are cast; all black may be a test's.
    if isinstance(dataset.train, Split) and bounds(dataset.train.images)[1] == 1:
        raise ValueError(
            "The training images hold nothing but 0 and 1, and pixels are from 0 to "
            "255: multiply by 255 before a cast to uint8."
        )
    for each in (recipe, retrain_recipe or recipe):
        check_batches(dataset.train, each, strategy.replicas)
    return "max", {}


def _check_fit(
    model,
    data,
    teacher,
    strategy,
    *,
    recipe,
    retrain_recipe,
    monitor,
    mode,
    select_on,
    guidance,
    criterion,
    max_rounds,
    units_per_round,
    **others,
):
    """Checks a run on `FitData`; its mode, and how its models are compiled."""
    for name, given in (
        ("teacher", teacher is not None),
        ("guidance", guidance is not None),
        ("strategy", strategy.name != "none"),
    ):
        if given:
            raise ValueError(f"`{name}` is for a Dataset. FitData do without it.")
    removes = max_rounds != 0 and units_per_round != 0
    if criterion is criteria.importance and removes and not criterion(model):
        raise ValueError(
            f"'{model.name}' has no importance ω by which to remove units. Compile "
            "`rp.add_importance(model)`, a copy with one on each unit, or give a "
            "`criterion` that needs none, such as `rp.criteria.random(0)`."
        )
    if retrain_recipe and retrain_recipe.validation_steps != recipe.validation_steps:
        raise ValueError(
            "Rounds are compared, so both recipes must measure the same batches. "
            f"Received: validation_steps={recipe.validation_steps} in `recipe`, "
            f"{retrain_recipe.validation_steps} in `retrain_recipe`."
        )
    tried = [
        check_fit(model, data, each, monitor, mode, select_on)
        for each in (recipe, retrain_recipe)
        if each is not None
    ]
    first, last = tried[0], tried[-1]
    if first.mode != last.mode:
        raise ValueError(
            f"The two recipes disagree on which way '{monitor}' is better."
        )
    return first.mode, {"compiled": first.compiled, "retrain_compiled": last.compiled}
